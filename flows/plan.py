"""The plan: every step of a request in its order, what is finished, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from flows.console import clock
from flows.measure import bench_of, can_measure, probe_bench, rate_from, target_from
from flows.prepare import Prepared
from flows.request import ResultRequest, SubmissionRequest
from harness.settings import OFFLINE_SLACK
from mlperf.rounds import RunKind, Scenario
from models.benchmark import Benchmark, Edition
from storage.cache import StepRecord
from tasks.accuracy import accuracy_step
from tasks.build_engine import build_engine_step
from tasks.compliance import audit_step
from tasks.download import DOWNLOADS, download_step, verify_step
from tasks.mini import listing_of, make_mini_step
from tasks.performance import performance_step
from tasks.preprocess import SUBSETS, preprocess_step
from tasks.probe import probe_step
from tasks.quantize import quantize_step
from tasks.random_network import random_network_step, weights_label
from tasks.search import search_seconds, search_step
from tasks.step import Step
from tasks.workspace import Workspace

RUN_OVERHEAD_SECONDS = 3.0
"""Start of the child, warm-up and reading the logs, beside LoadGen's own time."""
UNKNOWN_RATE = 1000.0
"""Samples/s that an accuracy run is planned with before a probe knows better."""
_FIRST_GUESS_SECONDS = {
    "probe": 4.0,
    "make_mini": 20.0,
    "download": 2.0,
    "verify_data": 300.0,
    "preprocess": 10.0,
    "random_network": 5.0,
    "quantize": 12.0,
    "build_engine": 8.0,
    "package": 2.0,
    "validate": 5.0,
    "report": 2.0,
    "upload": 3.0,
}
"""Seconds of a step that was never done here; from then on its last duration counts."""


@dataclass(frozen=True)
class PlannedStep:
    """One step of the plan.

    Attributes:
        seconds: how long it is expected to take, whether finished or not.
        done: whether it is finished already.
    """

    name: str
    label: str
    seconds: float
    done: bool


@dataclass(frozen=True)
class Plan:
    """The steps of a request in their order."""

    steps: tuple[PlannedStep, ...]

    @property
    def finished(self) -> int:
        """How many steps are finished."""
        return sum(step.done for step in self.steps)

    @property
    def seconds_left(self) -> float:
        """Expected seconds of the steps that are not finished."""
        return sum(step.seconds for step in self.steps if not step.done)

    def expected(self) -> list[tuple[tuple[str, str], float]]:
        """Return (name, label) and the seconds that are still to be spent on it, for the progress display."""
        return [((step.name, step.label), 0.0 if step.done else step.seconds) for step in self.steps]


class _Planner:
    """Follows the chain of steps as far as it is finished; what comes after an unfinished step is not."""

    def __init__(self, workspace: Workspace) -> None:
        self._cache = workspace.cache
        self._durations = {
            (record.step, record.label): record.seconds
            for record in sorted(self._cache.records(), key=lambda record: record.created)
        }
        self.steps: list[PlannedStep] = []

    def add(
        self, name: str, label: str, step: Step | None, seconds: float | None = None
    ) -> StepRecord | None:
        found = self._cache.find(step.name, step.label, step.inputs, sizes_only=True) if step else None
        guess = _FIRST_GUESS_SECONDS.get(name, 5.0) if seconds is None else seconds
        expected = found.seconds if found else self._durations.get((name, label), guess)
        self.steps.append(PlannedStep(name, label, expected, found is not None))
        return found


def make_plan(workspace: Workspace, request: SubmissionRequest) -> Plan:
    """Return every step of a request; reads the work folder, changes nothing, starts nothing."""
    planner = _Planner(workspace)
    prepared = {one.name: _plan_preparation(planner, request, one) for one in request.benchmarks}
    random = request.weights == "random"
    for result in () if random and not can_measure(request.system) else request.results:
        ready = prepared[result.benchmark]
        label = weights_label(f"{result.benchmark} {result.scenario}", request.weights)
        rate = result.tuning.target_qps
        if rate is None:
            probing = probe_step(probe_bench(request, ready, result)) if ready else None
            probed = planner.add("probe", label, probing)
            rate = rate_from(request, probed) if probed else None
        bench = bench_of(request, ready, result, rate) if ready and rate else None
        if result.scenario is Scenario.SERVER and request.search_seconds is not None and not random:
            searching = search_step(bench, request.search_seconds) if bench else None
            seconds = (
                search_seconds(workspace, bench, request.search_seconds) if bench else request.search_seconds
            )
            found = planner.add("search", label, searching, seconds)
            bench = bench_of(request, ready, result, target_from(found)) if ready and found else None
        kinds: tuple[RunKind, ...] = (RunKind.PERFORMANCE,)
        if not random:
            kinds = (*kinds, RunKind.ACCURACY, *request.rules_of(result.benchmark).audits)
        done: dict[RunKind, StepRecord | None] = {}
        for kind in kinds:
            step: Step | None = None
            measured, scored = done.get(RunKind.PERFORMANCE), done.get(RunKind.ACCURACY)
            if bench and ready and kind is RunKind.PERFORMANCE:
                step = performance_step(bench)
            elif bench and ready and kind is RunKind.ACCURACY:
                step = accuracy_step(bench, ready.dataset_hash)
            elif bench and measured and scored:
                step = audit_step(bench, kind, measured, scored)
            done[kind] = planner.add(kind.value.lower(), label, step, _run_seconds(request, result, kind))
    for name in () if random else ("package", "validate", "report", "upload"):
        planner.add(name, request.system.name, None)
    return Plan(tuple(planner.steps))


def show_plan(console: Console, plan: Plan) -> None:
    """Print the plan as a table, with the time left and when it would end."""
    table = Table(header_style="bold")
    for heading in ("step", "for", "expected", ""):
        table.add_column(heading, justify="right" if heading == "expected" else "left")
    for step in plan.steps:
        table.add_row(
            step.name, step.label, clock(step.seconds), "[green]finished[/]" if step.done else "to do"
        )
    console.print(table)
    end = datetime.now() + timedelta(seconds=plan.seconds_left)
    console.print(
        f"{plan.finished} of {len(plan.steps)} steps finished; about {clock(plan.seconds_left)} to go, "
        f"until {end:%a %H:%M} if started now"
    )


def _run_seconds(request: SubmissionRequest, result: ResultRequest, kind: RunKind) -> float:
    if kind is RunKind.ACCURACY:
        rules = request.rules_of(result.benchmark)
        samples = rules.dataset_size if request.full_length else request.sample_count(result.benchmark)
        return samples / (result.tuning.target_qps or UNKNOWN_RATE) + RUN_OVERHEAD_SECONDS
    seconds = (
        request.round.min_duration_ms / 1000 if request.full_length else request.system.rehearsal_seconds
    )
    slack = OFFLINE_SLACK if result.scenario is Scenario.OFFLINE else 1.0
    return seconds * slack + RUN_OVERHEAD_SECONDS


def _plan_preparation(planner: _Planner, request: SubmissionRequest, benchmark: Benchmark) -> Prepared | None:
    """Follow `flows.prepare.prepare`, with what is finished; None if something of it is not."""
    name, precision = benchmark.name, request.settings_of(benchmark.name).precision
    edition: Edition | None = benchmark.full_edition()
    edition_name = "mini" if request.on_mini_data else "full"
    if request.on_mini_data:
        making = make_mini_step(name, request.sample_count(name))
        made = planner.add(making.name, making.label, making)
        edition = benchmark.mini_edition(listing_of(made, "")) if made else None
    network, data = (
        _plan_random_network(planner, request, name)
        if what == "network" and request.weights == "random"
        else planner.add(
            "download",
            f"{name} {edition_name} {what}",
            download_step(name, edition, what) if edition else None,
        )
        for what in DOWNLOADS
    )
    dataset, dataset_hash = (data.folder, data.content_hash) if data else (None, None)
    if edition and edition.licensed:
        own = request.system.licensed_data.get(edition.licensed.key)
        verifying = verify_step(name, edition, own) if own and own.is_dir() else None
        verified = planner.add("verify_data", f"{name} {edition.name}", verifying)
        dataset_hash = verified.key if verified else None
    samples, calibration = (
        planner.add(
            "preprocess",
            f"{name} {edition_name} {subset}",
            preprocess_step(name, edition, subset, precision, dataset_hash)
            if edition and dataset_hash
            else None,
        )
        for subset in SUBSETS
    )
    quantizing = (
        quantize_step(name, precision, network, calibration, samples)
        if network and calibration and samples
        else None
    )
    label = weights_label(f"{name} {precision}", request.weights)
    quantized = planner.add("quantize", label, quantizing)
    building = (
        build_engine_step(name, precision, quantized, request.largest_batch(name), request.system.accelerator)
        if quantized
        else None
    )
    engine = planner.add("build_engine", label, building)
    if not (edition and dataset and dataset_hash and samples and quantized and engine):
        return None
    return Prepared(
        benchmark=name,
        edition=edition,
        dataset=dataset,
        dataset_hash=dataset_hash,
        samples=samples,
        quantized=quantized,
        engine=engine,
        steps=[],
    )


def _plan_random_network(planner: _Planner, request: SubmissionRequest, name: str) -> StepRecord | None:
    layers = request.layers_of(name)
    step = random_network_step(name, request.settings_of(name).precision, layers)
    return planner.add(step.name, step.label, step)
