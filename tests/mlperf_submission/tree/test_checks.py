"""What a tree is refused for: every reason at once, and nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.compliance.scores import REHEARSAL_LINE
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.submission.detail_log import read_detail
from mlperf_submission.submission.times import moment
from mlperf_submission.tree.plan import RunFolder, TreePlan

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
Changed = Callable[[Path], None]


def shown(folder: Path, name: str = "mlperf_log_detail.txt") -> Path:
    return folder / name


def replace_in_log(pattern: str, by: str) -> Changed:
    def change(folder: Path) -> None:
        text = shown(folder).read_text()
        changed, count = re.subn(pattern, by, text)
        assert count
        shown(folder).write_text(changed)

    return change


SPOILED_AFTER = [
    (
        RunKind.PERFORMANCE,
        replace_in_log('"value": "Offline"', '"value": "Server"'),
        "is of scenario 'Server'",
    ),
    (RunKind.PERFORMANCE, replace_in_log('"value": "PerformanceOnly"', '"value": "AccuracyOnly"'), "of mode"),
    (RunKind.PERFORMANCE, replace_in_log('"is_error": false', '"is_error": true'), "LoadGen logged"),
    (RunKind.PERFORMANCE, replace_in_log("", " "), "the verdict was not given on"),
    (RunKind.PERFORMANCE, lambda folder: shown(folder).unlink(), "mlperf_log_detail.txt is missing"),
    (RunKind.PERFORMANCE, lambda folder: shown(folder).write_text(":::MLLOG {"), "no LoadGen message"),
    (RunKind.ACCURACY, replace_in_log('"AccuracyOnly"', '"PerformanceOnly"'), "not AccuracyOnly"),
    (
        RunKind.ACCURACY,
        lambda folder: shown(folder, "mlperf_log_accuracy.json").write_text("[\n]\n"),
        "accuracy.txt is not that of",
    ),
    (RunKind.ACCURACY, lambda folder: (folder.parent / "accuracy.txt").write_text("x\n"), "no hash line"),
    (RunKind.ACCURACY, lambda folder: (folder.parent / "accuracy.txt").unlink(), "cannot be read"),
    (
        RunKind.TEST01,
        lambda folder: shown(folder, "mlperf_log_summary.txt").unlink(),
        "summary.txt is missing",
    ),
    (
        RunKind.TEST01,
        lambda folder: shown(folder, "mlperf_log_accuracy.json").write_text("[\n]\n"),
        "TEST01: the verdict was not given on",
    ),
    (
        RunKind.TEST04,
        replace_in_log('performance_issue_same", "value": true', 'performance_issue_same", "value": false'),
        "does not prove that TEST04 was applied",
    ),
]


@pytest.mark.parametrize(("kind", "spoil", "said"), SPOILED_AFTER)
def test_a_run_that_does_not_fit_its_place_is_refused(
    plan_of: Callable[..., TreePlan],
    refused: Callable[[TreePlan], str],
    kind: RunKind,
    spoil: Changed,
    said: str,
) -> None:
    text = refused(plan_of(OFFLINE, after={(OFFLINE, kind): spoil}))
    assert said in text
    assert "resnet50/Offline" in text


def test_an_audit_in_the_place_of_the_result_is_refused(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    plan = plan_of(OFFLINE)
    result = plan.results[0]
    for audit in result.audits:
        run = RunFolder(kind=RunKind.PERFORMANCE, folder=audit.run.folder)
        wrong = plan.model_copy(update={"results": (result.model_copy(update={"performance": run}),)})
        text = refused(wrong)
        assert f"the log shows the settings of {audit.run.kind}" in text
        assert f"performance and resnet50/Offline {audit.run.kind} are one and the same run" in text


def test_files_other_than_the_recorded_ones_are_refused(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    plan = plan_of(OFFLINE)
    run = plan.results[0].performance
    recorded = run.model_copy(update={"hashes": {"mlperf_log_detail.txt": "0" * 64}})
    wrong = plan.results[0].model_copy(update={"performance": recorded})
    text = refused(plan.model_copy(update={"results": (wrong,)}))
    assert "is not the file that was recorded" in text


def test_a_failed_missing_or_foreign_audit_is_refused(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    plan = plan_of(OFFLINE)
    result = plan.results[0]
    first, second, _third = result.audits
    failed = first.verdict.model_copy(update={"passed": False, "reasons": ("7 responses differ",)})
    foreign = second.model_copy(update={"verdict": first.verdict})
    audits = (first.model_copy(update={"verdict": failed}), foreign)
    text = refused(plan.model_copy(update={"results": (result.model_copy(update={"audits": audits}),)}))
    assert "TEST01 did not pass: 7 responses differ" in text
    assert "TEST04: the verdict is that of TEST01" in text
    assert "TEST05 is missing" in text


def test_an_invalid_run_is_refused_in_a_submission_and_kept_in_a_rehearsal(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    invalid = replace_in_log('"value": "VALID"', '"value": "INVALID"')
    plan = plan_of(OFFLINE, before={(OFFLINE, RunKind.TEST05): invalid})
    assert "TEST05: the run is INVALID" in refused(plan.model_copy(update={"rehearsal": False}))
    assert "TEST05: the run is INVALID" not in refused(plan)


def test_a_verdict_of_a_rehearsal_is_refused_in_a_submission(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    plan = plan_of(OFFLINE)
    result = plan.results[0]
    first, *others = result.audits
    text = f"Verifying performance.\n{REHEARSAL_LINE}\nTEST PASS\n"
    lenient = first.verdict.model_copy(update={"verify_performance": text})
    audits = (first.model_copy(update={"verdict": lenient}), *others)
    results = (result.model_copy(update={"audits": audits}),)
    said = refused(plan.model_copy(update={"results": results, "rehearsal": False}))
    assert "TEST01 was judged as in a rehearsal" in said


def timed(text: str) -> datetime:
    found = moment(text)
    assert found
    return found


def test_runs_that_overlapped_are_refused(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    def began_a_minute_earlier_and_took_an_hour(folder: Path) -> None:
        # A minute, since the corpus has runs that share a second.
        end = timed(read_detail(shown(folder)).values["power_end"]) - timedelta(minutes=1)
        replace_in_log(r'("power_end", "value": ")[^"]+', rf"\g<1>{end:%m-%d-%Y %H:%M:%S.%f}")(folder)
        lines = shown(folder).read_text().rstrip("\n").split("\n")
        lines[-1] = re.sub(r'"time_ms": [0-9.]+', '"time_ms": 3600000.5', lines[-1])
        shown(folder).write_text("\n".join(lines) + "\n")

    changed = {(OFFLINE, RunKind.PERFORMANCE): began_a_minute_earlier_and_took_an_hour}
    plan = plan_of(OFFLINE, SERVER, before=changed)
    text = refused(plan)
    first, *others = [f"{result.place} {run.kind}" for result in plan.results for run in result.runs]
    assert first == "resnet50/Offline performance"
    assert len(others) == 9
    for other in others:
        assert f"{first} and {other} overlap" in text


def test_the_local_time_of_a_log_does_not_count(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    # As in the night when summer time ends: the clock on the wall shows an hour twice, the runs do not.
    local = replace_in_log(r'("test_datetime", "value": ")[^"]+', r"\g<1>2026-10-25T02:30:00Z")
    kinds = [RunKind.PERFORMANCE, RunKind.ACCURACY, *get_round("v4.1").model("resnet50").audits]
    plan = plan_of(OFFLINE, before={(OFFLINE, kind): local for kind in kinds})
    spoilt = plan.model_copy(update={"system": "a rehearsal with blanks"})
    assert "overlap" not in refused(spoilt)


def test_a_description_is_refused_for_all_of_its_mistakes(
    plan_of: Callable[..., TreePlan], description: dict[str, Any], refused: Callable[[TreePlan], str]
) -> None:
    wrong = {
        **description,
        "submitter": "Them",
        "status": "soon",
        "system_type": "laptop",
        "accelerators_per_node": 0,
        "cooling": "",
        "framework": 5,
        "is_network": "true",
        "colour": "blue",
    }
    text = refused(plan_of(OFFLINE, description=wrong))
    for said in (
        "submitter is 'Them'",
        "status is 'soon'",
        "system_type is 'laptop'",
        'accelerators_per_node is missing or empty (write the text "0" for none)',
        "cooling is missing or empty",
        "framework must be text",
        "is_network is set",
        "unknown field 'colour'",
    ):
        assert said in text


def test_names_are_refused_that_the_checker_refuses_or_misreads(
    plan_of: Callable[..., TreePlan], refused: Callable[[TreePlan], str]
) -> None:
    text = refused(
        plan_of(OFFLINE, system="my TEST05 box", submitter="Us", result={"implementation": "../x"})
    )
    assert "'my TEST05 box' is no directory name" in text
    assert "holds the name of an audit" in text
    assert "'../x' is no directory name" in text
    assert "a rehearsal must be named so" in text


def test_a_benchmark_or_scenario_that_the_round_lacks_is_refused(
    plan_of: Callable[..., TreePlan], description: dict[str, Any], refused: Callable[[TreePlan], str]
) -> None:
    assert "no model 'alexnet'" in refused(plan_of(OFFLINE, result={"benchmark": "alexnet"}))
    edge = plan_of(SERVER, description={**description, "system_type": "edge"})
    assert "no Server for this benchmark on a edge system" in refused(edge)
