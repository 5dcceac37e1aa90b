"""The rehearsal of the official networks with random weights: building, memory and speed, never a result.

Nothing is packaged, validated or uploaded: there is no accuracy, and the figures only say what to expect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.deliver import lay_out
from flows.measure import bench_of, expected_rate, label_of
from flows.needs import in_bytes
from flows.prepare import Prepared, prepare
from flows.request import SubmissionRequest
from flows.runner import runner_of
from mlperf_submission.steps.cache import StepRecord
from tasks.artifacts import publish_table
from tasks.engine.runner import Live, Runner
from tasks.performance import performance

LABEL = "RANDOM WEIGHTS, NOT A RESULT"
_NOT_MEASURED = (
    "so the engines were built but not run; `backend: onnxruntime` in the system file runs the full networks "
    "on the CPU, which takes long"
)


class Speed(BaseModel):
    """What one scenario of a benchmark reached."""

    model_config = ConfigDict(frozen=True)
    scenario: str
    value: float
    units: str


class NetworkLine(BaseModel):
    """What it took to bring one full network to the accelerator.

    Attributes:
        layers: of a network that was shortened; None: all official layers.
        network_bytes: size of the network in its precision.
        convert_seconds, convert_peak_bytes: of the process that converted it, and its memory.
        build_seconds, build_peak_bytes: of the process that built the engine.
        engine_bytes: size of the engine.
        device_bytes: weights and scratch memory on the accelerator, as TensorRT states them; None: unknown.
    """

    model_config = ConfigDict(frozen=True)
    benchmark: str
    precision: str
    layers: int | None
    network_bytes: int
    convert_seconds: float
    convert_peak_bytes: int
    build_seconds: float
    build_peak_bytes: int
    engine_bytes: int
    device_bytes: int | None
    speeds: list[Speed]


class NetworksOutcome(BaseModel):
    """What the flow hands back after a run with random weights.

    Attributes:
        label: says that nothing of this is a result.
        built_for: the accelerator, and what built the engines.
        notice: what ran the networks, or why nothing did.
        engines: the folder with each benchmark's engine.
    """

    model_config = ConfigDict(frozen=True)
    system: str
    label: str = LABEL
    built_for: str
    notice: str
    networks: list[NetworkLine]
    engines: Path


def build_and_time(
    run: Runner, request: SubmissionRequest
) -> Iterator[tuple[Prepared, dict[str, StepRecord]]]:
    """Write, convert and build each full network; measure its performance where something can run it.

    Yields:
        What was built, and its performance runs by scenario.

    Raises:
        PipelineError: a step failed; without a GPU nothing is measured, which is no failure.
    """
    for benchmark in request.benchmarks:
        prepared, runs = prepare(run, request, benchmark), {}
        for result in request.results if runner_of(request).backend else ():
            if result.benchmark == benchmark.name:
                bench = bench_of(request, prepared, result, expected_rate(run, request, prepared, result))
                runs[result.scenario.value] = run(performance(label_of(request, result), bench))
        yield prepared, runs


def rehearse_networks(run: Live, request: SubmissionRequest) -> NetworksOutcome:
    """Build and time each network, and say what it took.

    Raises:
        PipelineError: see `build_and_time`.
    """
    lines, built = [], ""
    engines = run.workspace.random_weights(request.system.name)
    for prepared, runs in build_and_time(run, request):
        lines.append(_line(prepared, runs))
        lay_out(engines, {prepared.benchmark: prepared.engine})
        figures = prepared.engine.figures
        built = (
            f"{request.system.accelerator.name}, compute capability {figures['compute_capability']}, "
            f"by {figures['library']} {figures['version']}"
        )
    runner = runner_of(request)
    outcome = NetworksOutcome(
        system=request.system.name,
        built_for=built,
        notice=f"run by {runner.backend}" if runner.backend else f"{runner.obstacle}, {_NOT_MEASURED}",
        networks=lines,
        engines=engines,
    )
    publish_table(
        f"{request.system.name}-random-weights",
        [line.model_dump(mode="json") for line in lines],
        f"{LABEL}. Built for {built}; {outcome.notice}",
    )
    return outcome


def show_networks(console: Console, outcome: NetworksOutcome, time_taken: str) -> None:
    """Print what each network took, and that nothing of it is a result."""
    table = Table(title=f"{LABEL}: {outcome.system}", title_justify="left", header_style="bold")
    headings = (
        "benchmark",
        "network",
        "convert",
        "its memory",
        "build",
        "its memory",
        "engine",
        "on the device",
        "speed",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("benchmark", "network", "speed") else "right")
    for line in outcome.networks:
        speeds = [f"{one.scenario} {one.value:,.2f} {one.units}" for one in line.speeds]
        layers = "" if line.layers is None else f", {line.layers} layers"
        table.add_row(
            line.benchmark,
            f"{line.precision}{layers}, {in_bytes(line.network_bytes)}",
            f"{line.convert_seconds:.1f} s",
            in_bytes(line.convert_peak_bytes),
            f"{line.build_seconds:.1f} s",
            in_bytes(line.build_peak_bytes),
            in_bytes(line.engine_bytes),
            in_bytes(line.device_bytes),
            "\n".join(speeds) or "not measured",
        )
    console.print()
    console.print(table)
    for name, value in (
        ("Built for", outcome.built_for),
        ("Backend", outcome.notice),
        ("Engines", str(outcome.engines)),
        ("Time", time_taken),
    ):
        console.print(Text.assemble((f"{name:<10}", "bold"), value), soft_wrap=True)


def _line(prepared: Prepared, runs: Mapping[str, StepRecord]) -> NetworkLine:
    network, engine = prepared.quantized.figures, prepared.engine.figures
    on_device = (engine["weights_bytes"], engine["activation_bytes"])
    known = [one for one in on_device if isinstance(one, int)]
    layers = next(step.figures["layers"] for step in prepared.steps if step.step == "random_network")
    return NetworkLine.model_validate(
        {
            "benchmark": prepared.benchmark,
            "precision": network["precision"],
            "layers": layers,
            "network_bytes": network["bytes"],
            "convert_seconds": network["seconds"],
            "convert_peak_bytes": network["peak_bytes"],
            "build_seconds": engine["seconds"],
            "build_peak_bytes": engine["peak_host_bytes"],
            "engine_bytes": engine["bytes"],
            "device_bytes": sum(known) if known else None,
            "speeds": [
                {"scenario": name, "value": run.figures["value"], "units": run.figures["units"]}
                for name, run in runs.items()
            ],
        }
    )
