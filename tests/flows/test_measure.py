"""What `measure_again` repeats; lower targets of Server; and a result that was disturbed under its audit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import JsonValue

from flows import measure
from flows.measure import at_first_target, benches_of, probed_result, rate_from
from flows.request import SubmissionRequest
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import InvalidRunError
from mlperf_submission.rounds import Scenario
from mlperf_submission.steps.cache import StepRecord
from tasks.engine.perform import perform
from tasks.engine.runner import Dry, Live
from tasks.engine.spec import Step, Work
from tasks.measurement import Bench
from tasks.performance import PERFORMANCE
from tasks.workspace import Workspace

MODEL_SYSTEM = "SR650_V3_3xL40S_TRT"


def made_with(**inputs: JsonValue) -> Step:
    """Return a performance run that is made of nothing and leaves nothing."""
    return Step(PERFORMANCE, "resnet50 Server", lambda: inputs, lambda _folder, _recorder: {})


def test_a_run_forgets_what_was_measured_before_it_and_keeps_what_it_measured_itself(tmp_path: Path) -> None:
    workspace, step = Workspace.at(tmp_path), made_with(target_qps=1)
    made = perform(workspace, step).value
    for start in (None, made.created - timedelta(seconds=1)):
        assert Live(workspace, forget_before=start).finds(step)
    prepared = replace(step, spec=replace(PERFORMANCE, part="prepare"))
    assert Live(workspace, forget_before=made.created + timedelta(seconds=1)).finds(prepared)
    assert not Live(workspace, forget_before=made.created + timedelta(seconds=1)).finds(step)
    assert not Live(workspace).finds(step)


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
    rehearsal = SubmissionRequest.checked("rehearsal", ["resnet50"])
    assert ladder(rehearsal, "Server", monkeypatch) == [1000.0]


def test_where_the_target_says_how_long_a_run_is_a_longer_one_may_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edge = SubmissionRequest.checked("rehearsal_edge", ["resnet50"], full_length=True)
    for scenario in ("Offline", "SingleStream", "MultiStream"):
        assert ladder(edge, scenario, monkeypatch) == [1000.0, 1500.0, 3000.0]
    rehearsal = SubmissionRequest.checked("rehearsal", ["resnet50"])
    assert ladder(rehearsal, "Offline", monkeypatch) == [1000.0], "its runs are as long as its file says"


class Measuring(Dry):
    """Does performance runs, which are valid up to a rate; without Prefect."""

    def __init__(self, workspace: Workspace, most_qps: float, *, wrong: str = "over_latency") -> None:
        super().__init__(workspace, lambda _spec, _label: 0.0)
        self.most_qps, self.wrong = most_qps, wrong
        self.asked: list[float] = []

    def __call__(self, step: Work[Any]) -> Any:
        assert isinstance(step, Step)
        rate = cast(float, step.inputs()["target_qps"])
        self.asked.append(rate)
        if rate > self.most_qps:
            error = InvalidRunError(f"INVALID at {rate}")
            setattr(error, self.wrong, True)
            raise error
        return perform(self.workspace, step).value


def at(bench: Bench, **more: JsonValue) -> Step:
    """Return a run of a bench that is its rate alone."""
    return made_with(target_qps=cast(float, bench), **more)


BENCHES = cast("list[Bench]", [1000, 975, 950])


def test_a_target_that_is_missed_by_a_little_is_lowered_and_the_lower_one_is_found_again(
    tmp_path: Path,
) -> None:
    run = Measuring(Workspace.at(tmp_path), 975)
    for _ in range(2):
        bench, record = at_first_target(run, "resnet50 Server", BENCHES, at)
        assert bench == BENCHES[1]
        assert record.inputs["target_qps"] == 975
    assert run.asked == [1000, 975, 975], "what was missed is not measured again"


@pytest.mark.parametrize(
    ("wrong", "asked"),
    [("over_latency", [1000, 975, 950]), ("too_short", [1000, 975, 950]), ("disturbed", [1000])],
)
def test_a_run_is_given_up_at_the_last_target_or_where_the_target_is_not_what_is_wrong(
    tmp_path: Path, wrong: str, asked: list[float]
) -> None:
    run = Measuring(Workspace.at(tmp_path), 900, wrong=wrong)
    with pytest.raises(InvalidRunError):
        at_first_target(run, "resnet50 Server", BENCHES, at)
    assert run.asked == asked


def test_a_rehearsal_takes_its_server_target_from_the_probe_however_slow_the_machine_is() -> None:
    request = SubmissionRequest.checked("rehearsal", ["retinanet"])
    offline, server = request.results

    def probed(rate: float) -> StepRecord:
        return cast(StepRecord, SimpleNamespace(figures={"value": rate}))

    assert rate_from(request, offline, probed(65.0)) == 65
    assert rate_from(request, server, probed(64.0)) == 16
    assert rate_from(request, server, probed(0.3)) * request.system.rehearsal_seconds == 2


def test_a_stream_is_probed_by_its_own_queries_and_the_others_by_offline() -> None:
    request = SubmissionRequest.checked("rehearsal_edge", ["resnet50"])
    probed = {one.scenario: probed_result(request, one).scenario for one in request.results}
    assert probed == {"Offline": "Offline", "SingleStream": "SingleStream", "MultiStream": "MultiStream"}
    found = cast(StepRecord, SimpleNamespace(figures={"value": 123.456}))
    assert [rate_from(request, one, found) for one in request.results] == [123.0, 123.0, 123.0]


def test_a_stream_is_told_the_rate_of_its_expected_latency() -> None:
    system = load_system("SE455i_V3_2xL4_TRT")
    tuning = system.benchmarks["3d-unet-99"].scenarios[Scenario.SINGLE_STREAM]
    assert tuning.rate == pytest.approx(1 / 0.65)


@pytest.mark.parametrize(
    ("scenario", "asked"),
    [("Offline", [("TEST01", 1000), ("TEST01", 1500)]), ("Server", [("TEST01", 1000)])],
)
def test_an_audit_that_ends_too_soon_is_made_longer_where_the_target_says_how_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str, asked: list[tuple[str, int]]
) -> None:
    """A result may last just long enough; its audits, a little faster, may not."""
    request = SubmissionRequest.checked("rehearsal", ["resnet50"], full_length=True)
    result = next(one for one in request.results if one.scenario == scenario)
    edition = SimpleNamespace(network_for=lambda _precision: Path("network.onnx"))
    nothing = dict.fromkeys(("dataset", "dataset_hash", "quantized", "engine"))
    prepared = cast(Any, SimpleNamespace(edition=edition, **nothing))
    tried: list[tuple[str, int]] = []

    class Audited(Measuring):
        def __call__(self, step: Work[Any]) -> Any:
            kind, rate = (cast(Step, step).inputs()[name] for name in ("kind", "target_qps"))
            if kind == "TEST01":
                tried.append((kind, cast(int, rate)))
                if rate == 1000:
                    error = InvalidRunError("the run is too short")
                    error.too_short = True
                    raise error
            return perform(self.workspace, cast(Step, step)).value

    monkeypatch.setattr(measure, "expected_rate", lambda *_: 1000)
    monkeypatch.setattr(measure, "bench_of", lambda *arguments: arguments[3])
    monkeypatch.setattr(measure, "performance", lambda _label, bench: at(bench, kind="performance"))
    monkeypatch.setattr(measure, "accuracy", lambda _label, bench, *_: at(bench, kind="accuracy"))
    monkeypatch.setattr(measure, "audit", lambda _label, bench, kind, *_: at(bench, kind=kind))
    run = Audited(Workspace.at(tmp_path), 1000)
    if scenario == "Server":
        with pytest.raises(InvalidRunError):
            measure.measure(run, request, prepared, result)
    else:
        measured = measure.measure(run, request, prepared, result)
        targets = {kind: record.inputs["target_qps"] for kind, record in measured.audits.items()}
        assert targets == {"TEST01": 1500, "TEST04": 1000, "TEST05": 1000}
        assert measured.performance.inputs["target_qps"] == 1000
    assert tried == asked
