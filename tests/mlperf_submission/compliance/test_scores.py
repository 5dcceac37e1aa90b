"""The performance side of an audit: limits, and whether it belongs to its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.compliance.audits import prove_applied
from mlperf_submission.compliance.scores import REHEARSAL_LINE, compare_performance
from mlperf_submission.errors import LogError
from mlperf_submission.rounds import V4_1, RunKind, Scenario
from mlperf_submission.submission.detail_log import DetailLog

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
TESTS = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)


@pytest.fixture
def run_with_score(tmp_path: Path) -> Callable[..., DetailLog]:
    """A performance run with a summary, as far as an audit's comparison reads it."""
    count = iter(range(100))

    def make(scenario: Scenario, score: float, **changes: Any) -> DetailLog:
        keys = {
            OFFLINE: ("result_samples_per_second", "Samples per second: {}"),
            SERVER: ("result_completed_samples_per_sec", "Completed samples per second    : {}"),
            Scenario.SINGLE_STREAM: (
                "early_stopping_latency_ss",
                " * Early stopping 90.0th percentile estimate: {}",
            ),
            Scenario.MULTI_STREAM: (
                "early_stopping_latency_ms",
                " * Early stopping 99.0th percentile estimate: {}",
            ),
        }
        key, line = keys[scenario]
        folder = tmp_path / f"run{next(count)}"
        folder.mkdir()
        said = changes.pop("summary", score)
        (folder / "mlperf_log_summary.txt").write_text(f"Scenario : {scenario}\n{line.format(said)}\n")
        values = {
            "effective_scenario": str(scenario),
            "effective_test_mode": "PerformanceOnly",
            "effective_target_qps": 1000,
            "effective_min_duration_ms": 600_000,
            "result_validity": "VALID",
            key: score,
        }
        return DetailLog(folder / "mlperf_log_detail.txt", {**values, **changes})

    return make


def test_published_verdicts_are_found_again_byte_for_byte(published: Any) -> None:
    count = 0
    for benchmark, scenario in published.results():
        for kind in TESTS:
            folder = published.root / "compliance" / published.system / benchmark / scenario / kind
            if not folder.is_dir():
                continue
            audit = published.log(benchmark, scenario, kind)
            prove_applied(kind, audit, V4_1, benchmark)
            found = compare_performance(kind, published.log(benchmark, scenario), audit)
            assert found.text == (folder / "verify_performance.txt").read_text()
            assert found.passed
            count += 1
    assert count == 16


@pytest.mark.parametrize(
    ("kind", "scenario", "score", "passed"),
    [
        (RunKind.TEST01, OFFLINE, 1099, True),
        (RunKind.TEST01, OFFLINE, 1101, False),
        (RunKind.TEST01, OFFLINE, 901, True),
        (RunKind.TEST01, OFFLINE, 899, False),
        (RunKind.TEST04, SERVER, 1099, True),
        (RunKind.TEST04, SERVER, 1100.0001, False),
        (RunKind.TEST04, SERVER, 500, True),
        (RunKind.TEST05, SERVER, 951, True),
        (RunKind.TEST05, SERVER, 950, False),
        (RunKind.TEST05, OFFLINE, 5000, True),
        (RunKind.TEST05, Scenario.SINGLE_STREAM, 500, True),
        (RunKind.TEST05, Scenario.SINGLE_STREAM, 1199, True),
        (RunKind.TEST05, Scenario.SINGLE_STREAM, 1201, False),
        (RunKind.TEST01, Scenario.MULTI_STREAM, 801, True),
        (RunKind.TEST01, Scenario.MULTI_STREAM, 799, False),
        (RunKind.TEST04, Scenario.SINGLE_STREAM, 800, False),
        (RunKind.TEST04, Scenario.SINGLE_STREAM, 900, True),
    ],
)
def test_each_test_has_its_own_limits(
    run_with_score: Callable[..., DetailLog], kind: RunKind, scenario: Scenario, score: float, passed: bool
) -> None:
    found = compare_performance(kind, run_with_score(scenario, 1000), run_with_score(scenario, score))
    assert found.passed is passed, found
    assert found.text.endswith("TEST PASS\n" if passed else "TEST FAIL: Test score invalid\n")


def test_large_latencies_have_the_narrow_limits(run_with_score: Callable[..., DetailLog]) -> None:
    slow = run_with_score(Scenario.SINGLE_STREAM, 1_000_000)
    assert not compare_performance(
        RunKind.TEST01, slow, run_with_score(Scenario.SINGLE_STREAM, 1_110_000)
    ).passed


@pytest.mark.parametrize(
    "changes",
    [
        {"effective_target_qps": 890},
        {"effective_target_qps": 1101},
        {"effective_target_qps": None},
        {"effective_min_duration_ms": 2000},
        {"effective_target_latency_ns": 30_000_000},
        {"effective_performance_sample_count": 5},
        {"loadgen_version": "other"},
    ],
)
def test_an_audit_of_another_result_is_refused(
    run_with_score: Callable[..., DetailLog], changes: dict[str, Any]
) -> None:
    found = compare_performance(
        RunKind.TEST04, run_with_score(SERVER, 1000), run_with_score(SERVER, 1000, **changes)
    )
    assert not found.passed
    assert next(iter(changes)) in found.reasons[0]
    assert "TEST PASS" not in found.text


def test_another_scenario_and_an_invalid_run_give_no_score(run_with_score: Callable[..., DetailLog]) -> None:
    reference = run_with_score(SERVER, 1000)
    invalid = run_with_score(SERVER, 1000, result_validity="INVALID", result_invalid_reason="too slow")
    for audit in (run_with_score(OFFLINE, 1000), invalid):
        found = compare_performance(RunKind.TEST01, reference, audit)
        assert not found.passed
        assert found.text == "Verifying performance.\n"
    assert "too slow" in found.reasons[0]


def test_a_summary_of_another_run_is_refused(run_with_score: Callable[..., DetailLog]) -> None:
    with pytest.raises(LogError, match="the summary says 1200"):
        compare_performance(
            RunKind.TEST01, run_with_score(OFFLINE, 1000), run_with_score(OFFLINE, 1000, summary=1200)
        )


def test_a_small_score_may_be_rounded_by_the_summary(run_with_score: Callable[..., DetailLog]) -> None:
    reference, audit = (
        run_with_score(SERVER, score, summary=round(score, 2)) for score in (27.4933, 27.1161)
    )
    assert compare_performance(RunKind.TEST01, reference, audit).passed
    with pytest.raises(LogError, match=r"the summary says 27\.6"):
        compare_performance(RunKind.TEST01, reference, run_with_score(SERVER, 27.4933, summary=27.6))


def test_the_speed_of_a_rehearsal_is_a_notice_and_its_text_says_what_the_official_script_says(
    run_with_score: Callable[..., DetailLog],
) -> None:
    reference, slower = run_with_score(OFFLINE, 1000), run_with_score(OFFLINE, 300)
    assert not compare_performance(RunKind.TEST01, reference, slower).passed
    found = compare_performance(RunKind.TEST01, reference, slower, rehearsal=True)
    assert found.passed
    assert [text for text in found.notices if "-70.0% against the result's 1000" in text]
    assert f"{REHEARSAL_LINE}\n" in found.text
    assert found.text.endswith("TEST FAIL: Test score invalid\n")
    alike = compare_performance(RunKind.TEST01, reference, run_with_score(OFFLINE, 950), rehearsal=True)
    assert (alike.passed, alike.notices) == (True, ())
    assert alike.text.endswith("TEST PASS\n")
