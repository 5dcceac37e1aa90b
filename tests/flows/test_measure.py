"""What `measure_again` repeats; lower targets of Server; and a result that was disturbed under its audit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows import measure
from flows.measure import benches_of, forget, measure_performance, rate_from, reached_bench
from flows.request import SubmissionRequest
from mlperf_submission.errors import InvalidRunError
from mlperf_submission.steps.cache import StepRecord
from tasks.measurement import Bench
from tasks.performance import performance_step
from tasks.step import Step
from tasks.workspace import Workspace

MODEL_SYSTEM = "SR650_V3_3xL40S_TRT"


def test_a_run_forgets_what_was_measured_before_it_and_keeps_what_it_measured_itself(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    step = Step(name="performance", label="resnet50 Offline", inputs={"target_qps": 1})
    made = workspace.cache.run(step.name, step.label, step.inputs, lambda _folder: {})
    for start in (None, made.created - timedelta(seconds=1)):
        forget(workspace, step, start)
        assert workspace.cache.find(step.name, step.label, step.inputs)
    forget(workspace, step, made.created + timedelta(seconds=1))
    assert workspace.cache.find(step.name, step.label, step.inputs) is None


def ladder(request: SubmissionRequest, scenario: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the targets that a result of resnet50 may be measured at."""
    monkeypatch.setattr(measure, "bench_of", lambda *arguments: arguments[3])
    result = next(one for one in request.results if one.scenario == scenario)
    return cast("list[float]", benches_of(request, cast(Any, None), result, 1000.0))


def test_a_server_result_of_a_submission_may_be_measured_a_little_lower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submission = SubmissionRequest.checked(MODEL_SYSTEM, ["resnet50"])
    assert ladder(submission, "Server", monkeypatch) == [1000.0, 975.0, 950.0]
    assert ladder(submission, "Offline", monkeypatch) == [1000.0]
    rehearsal = SubmissionRequest.checked("rehearsal", ["resnet50"])
    assert ladder(rehearsal, "Server", monkeypatch) == [1000.0]


class Measuring:
    """Stands for the performance task: valid up to a rate; disturbed if it is said to be."""

    def __init__(self, workspace: Workspace, most_qps: float, *, over_latency: bool = True) -> None:
        self.workspace, self.most_qps, self.over_latency = workspace, most_qps, over_latency
        self.asked: list[float] = []

    def with_options(self, retries: int) -> Callable[[Workspace, Bench], StepRecord]:
        return lambda _workspace, bench: self.run(bench)

    def run(self, bench: Bench) -> StepRecord:
        rate = cast(float, bench.rate)  # type: ignore[attr-defined]
        self.asked.append(rate)
        step = performance_step(bench)
        if rate > self.most_qps:
            error = InvalidRunError(f"INVALID at {rate}")
            error.over_latency = self.over_latency
            raise error
        return self.workspace.cache.run(step.name, step.label, step.inputs, lambda _folder: {})


def benches(*rates: float) -> list[Bench]:
    return [cast(Bench, SimpleNamespace(rate=rate, label=lambda: "resnet50 Server")) for rate in rates]


@pytest.fixture
def steps_by_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_of(bench: Any) -> Step:
        return Step(name="performance", label="resnet50 Server", inputs={"target_qps": bench.rate})

    monkeypatch.setattr(measure, "performance_step", step_of)
    monkeypatch.setitem(globals(), "performance_step", step_of)


REQUEST = cast(SubmissionRequest, SimpleNamespace(full_length=True))


@pytest.mark.usefixtures("steps_by_rate")
def test_a_target_that_is_missed_by_a_little_is_lowered_and_the_lower_one_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.at(tmp_path)
    task = Measuring(workspace, 975)
    monkeypatch.setattr(measure, "performance", task)
    tried = benches(1000, 975, 950)
    assert reached_bench(workspace, tried) is None
    for _ in range(2):
        bench, run = measure_performance(workspace, REQUEST, tried, None)
        assert (bench, run.inputs["target_qps"]) == (tried[1], 975)
    assert task.asked == [1000, 975, 975], "what was missed is not measured again"
    assert reached_bench(workspace, tried) is tried[1]


@pytest.mark.usefixtures("steps_by_rate")
@pytest.mark.parametrize(("over_latency", "asked"), [(True, [1000, 975, 950]), (False, [1000])])
def test_a_run_is_given_up_at_the_floor_or_where_its_latency_is_not_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over_latency: bool, asked: list[float]
) -> None:
    task = Measuring(Workspace.at(tmp_path), 900, over_latency=over_latency)
    monkeypatch.setattr(measure, "performance", task)
    with pytest.raises(InvalidRunError):
        measure_performance(task.workspace, REQUEST, benches(1000, 975, 950), None)
    assert task.asked == asked


def test_a_rehearsal_takes_its_server_target_from_the_probe_however_slow_the_machine_is() -> None:
    request = SubmissionRequest.checked("rehearsal", ["retinanet"])
    offline, server = request.results

    def probed(rate: float) -> StepRecord:
        return cast(StepRecord, SimpleNamespace(figures={"value": rate}))

    assert rate_from(request, offline, probed(65.0)) == 65
    assert rate_from(request, server, probed(64.0)) == 16
    assert rate_from(request, server, probed(0.3)) * request.system.rehearsal_seconds == 2
