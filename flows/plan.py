"""The plan: every step of a request in its order, what is finished, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table

from cli.console import clock
from flows.durations import first_guess, floor_seconds, run_seconds
from flows.measure import (
    bench_of,
    benches_of,
    probe_bench,
    probed_result,
    rate_from,
    reached_bench,
    target_from,
)
from flows.needs import Needs, needs_of, show_needs
from flows.prepare import Prepared
from flows.request import SubmissionRequest
from flows.runner import runner_of
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.triage.steps import RUNS
from models.benchmark import Benchmark, Edition
from tasks.accuracy import accuracy_step
from tasks.build_engine import build_engine_step
from tasks.compliance import audit_step
from tasks.describe import describe_step
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
    """The steps of a request in their order.

    Attributes:
        timed: number of timed runs, performance and audits; `untimed`: of accuracy runs.
        floor: seconds that LoadGen takes at the least for all of them as a submission, by the round's rules.
        official: whether the runs have the round's lengths.
        needs: disk space and memory.
    """

    steps: tuple[PlannedStep, ...]
    timed: int
    untimed: int
    floor: float
    official: bool
    needs: Needs

    @property
    def finished(self) -> int:
        """How many steps are finished."""
        return sum(step.done for step in self.steps)

    @property
    def seconds_left(self) -> float:
        """Expected seconds of the steps that are not finished."""
        return sum(step.seconds for step in self.steps if not step.done)

    def seconds_of(self, measuring: bool) -> float:
        """Return the expected seconds of the runs, or of everything else, whether finished or not."""
        return sum(step.seconds for step in self.steps if (step.name in RUNS) is measuring)

    def expected(self) -> list[tuple[tuple[str, str], float]]:
        """Return (name, label) and the seconds that are still to be spent on it, for the progress display."""
        return [((step.name, step.label), 0.0 if step.done else step.seconds) for step in self.steps]


class _Planner:
    """Follows the chain of steps as far as it is finished; what comes after an unfinished step is not."""

    def __init__(self, workspace: Workspace, request: SubmissionRequest) -> None:
        self._request = request
        self._cache = workspace.cache
        self._durations = {
            (record.step, record.label): record.seconds
            for record in sorted(self._cache.records(), key=lambda record: record.created)
        }
        self.steps: list[PlannedStep] = []

    def add(
        self, name: str, label: str, step: Step | None, seconds: float | None = None
    ) -> StepRecord | None:
        """Plan a step; one that is planned already, like a probe for two scenarios, is done once."""
        found = self._cache.find(step.name, step.label, step.inputs, sizes_only=True) if step else None
        guess = first_guess(self._request, name, label) if seconds is None else seconds
        expected = found.seconds if found else self._durations.get((name, label), guess)
        planned = PlannedStep(name, label, expected, found is not None)
        if planned not in self.steps:
            self.steps.append(planned)
        return found


def make_plan(workspace: Workspace, request: SubmissionRequest) -> Plan:
    """Return every step of a request; reads the work folder, changes nothing, starts nothing."""
    planner = _Planner(workspace, request)
    prepared = {one.name: _plan_preparation(planner, request, one) for one in request.benchmarks}
    floors: dict[RunKind, list[float]] = {}
    random = request.weights == "random"
    for result in () if random and not runner_of(request).backend else request.results:
        ready = prepared[result.benchmark]
        label = weights_label(f"{result.benchmark} {result.scenario}", request.weights)
        rate = result.tuning.rate
        if rate is None:
            probing = probe_step(probe_bench(request, ready, result)) if ready else None
            scenario = probed_result(request, result).scenario
            of = weights_label(f"{result.benchmark} {scenario}", request.weights)
            probed = planner.add("probe", of, probing)
            rate = rate_from(request, result, probed) if probed else None
        if result.scenario is Scenario.SERVER and request.search_seconds is not None and not random:
            bench = bench_of(request, ready, result, rate) if ready and rate else None
            searching = search_step(bench, request.search_seconds) if bench else None
            seconds = (
                search_seconds(workspace, bench, request.search_seconds) if bench else request.search_seconds
            )
            found = planner.add("search", label, searching, seconds)
            rate = target_from(found) if found else None
        benches = benches_of(request, ready, result, rate) if ready and rate else []
        bench = reached_bench(workspace, benches) or next(iter(benches), None)
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
            floors.setdefault(kind, []).append(floor_seconds(request, result, kind))
            done[kind] = planner.add(kind.value.lower(), label, step, run_seconds(request, result, kind))
    if request.system.is_rehearsal and not random:
        planner.add("describe", request.system.name, describe_step(request.system))
    for name in () if random else ("package", "validate", "report", "upload"):
        planner.add(name, request.system.name, None)
    finished = frozenset((step.name, step.label) for step in planner.steps if step.done)
    engines = {name: ready.engine for name, ready in prepared.items() if ready}
    untimed = len(floors.get(RunKind.ACCURACY, ()))
    return Plan(
        steps=tuple(planner.steps),
        timed=sum(map(len, floors.values())) - untimed,
        untimed=untimed,
        floor=sum(map(sum, floors.values())),
        official=request.full_length,
        needs=needs_of(request, workspace.root, finished, engines),
    )


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
    show_needs(console, plan.needs)
    measuring, rest = plan.seconds_of(measuring=True), plan.seconds_of(measuring=False)
    console.print(
        f"{plan.timed + plan.untimed} runs of LoadGen, {plan.timed} of them timed: "
        f"{'' if plan.official else 'as a submission '}at least {clock(plan.floor)} by the round's rules at "
        f"these targets, expected {clock(measuring)}; {clock(rest)} for everything else (a guess where it "
        "was never done here)"
    )
    end = datetime.now().astimezone() + timedelta(seconds=plan.seconds_left)
    console.print(
        f"{plan.finished} of {len(plan.steps)} steps finished; about {clock(plan.seconds_left)} to go, "
        f"until {end:%a %H:%M %Z} if started now"
    )


def _plan_preparation(planner: _Planner, request: SubmissionRequest, benchmark: Benchmark) -> Prepared | None:
    """Follow `flows.prepare.prepare`, with what is finished; None if something of it is not."""
    name, precision = benchmark.name, request.settings_of(benchmark.name).precision
    edition: Edition | None = benchmark.facts.full
    edition_name = "mini" if request.on_mini_data else "full"
    if request.on_mini_data:
        making = make_mini_step(name, request.sample_count(name))
        made = planner.add(making.name, making.label, making)
        edition = benchmark.data.mini_edition(listing_of(made, "")) if made else None
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
