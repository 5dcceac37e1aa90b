"""Lay the finished runs out as the official submission tree of the round."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.config.system import System
from mlperf_submission.harness.record import ACCURACY_LOG, DETAIL_LOG, SUMMARY_LOG
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.strict_yaml import written_yaml
from mlperf_submission.tree.plan import AuditPlan, Calibration, CodeSource, ResultPlan, RunFolder, TreePlan
from mlperf_submission.tree.write import write_tree
from models.registry import get_benchmark
from tasks.accuracy import ACCURACY_FILE
from tasks.compliance import verdict_of
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.random_network import require_trained
from tasks.versions import files_version

PROJECT = "mlperf-submission"
_PUBLIC = (
    "name",
    "submitter",
    "division",
    "category",
    "round",
    "edition",
    "backend",
    "accelerator",
    "benchmarks",
    "description",
    "rehearsal_seconds",
    "interference",
)
"""What of a system file stands in the tree for everybody: how it was measured, not what is where."""
_SOURCE_FOLDERS = ("models", "mlperf_submission")
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Measured:
    """One result with everything that it was made from; in a plan its records may be pending.

    Attributes:
        backend: what ran it, e.g. `onnxruntime`.
        network: the official or mini network as downloaded; `network_file` is its name.
        quantized: the network in the system's precision.
        engine: the TensorRT engine.
        audits: the finished compliance tests by kind.
        batch_size: the largest batch that it ran with.
        search: the search that found its Server target, if there was one.
    """

    benchmark: str
    scenario: Scenario
    precision: Precision
    backend: str
    network_file: str
    quantized: StepRecord
    engine: StepRecord
    performance: StepRecord
    accuracy: StepRecord
    audits: dict[RunKind, StepRecord]
    batch_size: int
    search: StepRecord | None = None

    @property
    def runs(self) -> dict[str, StepRecord]:
        """All runs of the result by name."""
        audits = {kind.value: record for kind, record in self.audits.items()}
        return {"performance": self.performance, "accuracy": self.accuracy, **audits}

    @property
    def records(self) -> list[StepRecord]:
        """Every step that the result was made from."""
        search = [self.search] if self.search else []
        return [self.quantized, self.engine, *search, *self.runs.values()]


PACKAGE = StepSpec(
    "package", "deliver", ("performance", "accuracy", "audits", "describe"), 1.5, 10.0, asset="tree"
)


def public_settings(system: System) -> dict[str, JsonValue]:
    """Return what everybody may read of a system file, in its own form."""
    return system.model_dump(mode="json", by_alias=True, include={*_PUBLIC}, exclude_none=True)


def package(label: str, system: System, full_length: bool, results: Sequence[Measured]) -> Step:
    """Write the submission tree; the step's folder is its root.

    Raises:
        TreeError: the runs do not make a submission; every reason is named. Random weights never do.
    """

    def inputs() -> dict[str, JsonValue]:
        require_trained(record for one in results for record in one.records)
        return {
            "results": {
                f"{one.benchmark}/{one.scenario}": {
                    **{name: run.key for name, run in one.runs.items()},
                    "quantized": one.quantized.key,
                    "engine": one.engine.key,
                }
                for one in results
            },
            "system": public_settings(system),
            "full_length": full_length,
            "code_version": code_version("mlperf_submission.tree.write"),
            "templates": files_version(_ROOT / "mlperf_submission" / "tree" / "templates"),
            "project": version(PROJECT),
        }

    def produce(folder: Path, _recorder: Recorder) -> dict[str, JsonValue]:
        with tempfile.TemporaryDirectory() as place:
            tuning = Path(place, f"{system.name}.yaml")
            tuning.write_text(written_yaml(public_settings(system)), encoding="utf-8")
            plan = TreePlan(
                round=system.round,
                division=system.division,
                submitter=system.submitter,
                system=system.name,
                system_type=system.category,
                description=system.description,
                results=tuple(_result(system, full_length, one) for one in results),
                project_version=version(PROJECT),
                tuning_file=tuning,
                rehearsal=system.is_rehearsal,
            )
            return {"files": len(write_tree(plan, folder))}

    return Step(PACKAGE, label, inputs, produce)


def _result(system: System, full_length: bool, one: Measured) -> ResultPlan:
    benchmark = get_benchmark(one.benchmark)
    command = ["mlperf-submission", "run", system.name, "--models", one.benchmark]
    command += ["--scenarios", one.scenario.value]
    if full_length and system.is_rehearsal:
        command.append("--full-length")
    figures = one.quantized.figures
    return ResultPlan(
        benchmark=one.benchmark,
        scenario=one.scenario,
        implementation=one.backend,
        input_data_types=benchmark.network.inputs(one.precision)[0].dtype,
        starting_weights_filename=one.network_file,
        weight_data_types=one.precision,
        weight_transformations="quantization, affine fusion" if one.precision == "int8" else "none",
        performance=_run(RunKind.PERFORMANCE, one.performance),
        accuracy=_run(RunKind.ACCURACY, one.accuracy),
        accuracy_txt=one.accuracy.file(ACCURACY_FILE),
        audits=tuple(
            AuditPlan(run=_run(kind, record), verdict=verdict_of(record))
            for kind, record in one.audits.items()
        ),
        command=shlex.join(command),
        engine=tuple(f"{name}: {value}" for name, value in _plain(one.engine.figures).items()),
        calibration=Calibration(method=_method(one.precision), facts=_plain(figures)),
        code=tuple(CodeSource(path=_ROOT / name, name=name) for name in _SOURCE_FOLDERS),
    )


def _run(kind: RunKind, record: StepRecord) -> RunFolder:
    wanted = (DETAIL_LOG, SUMMARY_LOG, ACCURACY_LOG)
    hashes = {entry.path: entry.sha256 for entry in record.files if entry.path in wanted}
    return RunFolder(kind=kind, folder=record.folder, hashes=hashes)


def _method(precision: Precision) -> str:
    if precision == "int8":
        return (
            "Post-training quantisation with onnxruntime.quantization (QDQ): weights symmetric INT8 per "
            "output channel, activations symmetric INT8 per tensor, biases unquantised. Ranges come from the "
            "benchmark's calibration set only. No retraining."
        )
    return f"Nothing was calibrated: the network runs in {precision.upper()}."


def _plain(figures: Mapping[str, JsonValue]) -> dict[str, str]:
    return {name: str(value) for name, value in sorted(figures.items())}
