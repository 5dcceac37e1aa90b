"""The performance side of an audit: does the audit run belong to the result, and is it as fast?

Rules: `compliance/nvidia/TEST0*/verify_performance.py` at the round's tag. Where those scripts are looser
than they say (they never come to compare the Server target latency, and TEST04 relaxes its limit for nearly
all streams, not only for very small latencies), the rule that they state is followed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlperf_submission.errors import LogError
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission.detail_log import DetailLog

LEAST_TARGET_FACTOR = 0.9
"""An audit may ask for a lower rate than its result, but not so low that it shows nothing (TEST04)."""
MOST_TARGET_FACTOR = 1.1
REHEARSAL_LINE = "REHEARSAL: the runs took seconds, so their speed decides nothing"
"""Stands in verify_performance.txt wherever speed did not decide; a submission with it is refused."""

_AGREEMENT = 1e-4
"""Relative: the detail log rounds to six significant digits."""
_SUMMARY_ROUNDING = 0.00501
"""The summary rounds Server's score to two decimals, which is much of a small one."""
_LONGEST_SUMMARY = 1 << 20


@dataclass(frozen=True)
class _ScoreField:
    """Where a scenario's score stands in the summary and in the detail log."""

    summary: re.Pattern[str]
    detail_key: str
    relaxed_below_ns: int = 0
    """Latencies up to this may vary by 20 %."""


_SCORES: Mapping[Scenario, _ScoreField] = {
    Scenario.OFFLINE: _ScoreField(re.compile(r"Samples per second: *(\S+)"), "result_samples_per_second"),
    Scenario.SERVER: _ScoreField(
        re.compile(r"Completed samples per second *: *(\S+)"), "result_completed_samples_per_sec"
    ),
    Scenario.SINGLE_STREAM: _ScoreField(
        re.compile(r".*Early stopping 90(?:\.0)?th percentile estimate: *(\d+)"),
        "early_stopping_latency_ss",
        200_000,
    ),
    Scenario.MULTI_STREAM: _ScoreField(
        re.compile(r".*Early stopping 99(?:\.0)?th percentile estimate: *(\d+)"),
        "early_stopping_latency_ms",
        1_600_000,
    ),
}


@dataclass(frozen=True)
class PerformanceComparison:
    """The performance of an audit against its result.

    Attributes:
        reasons: why the runs do not belong together or, but in a rehearsal, the official rule is not met; one
            line each.
        notices: what a rehearsal takes note of and a submission would be refused for, one line each.
        reference_score: of the result: samples/s, or ns for the streams (TEST04: queries/s).
        audit_score: the same of the audit run.
        text: `verify_performance.txt`.
    """

    reasons: tuple[str, ...]
    notices: tuple[str, ...]
    reference_score: float | None
    audit_score: float | None
    text: str

    @property
    def passed(self) -> bool:
        """Whether nothing is against it."""
        return not self.reasons


def compare_performance(
    kind: RunKind, reference: DetailLog, audit: DetailLog, *, rehearsal: bool = False
) -> PerformanceComparison:
    """Judge the performance of an audit run by the official rule of its test.

    TEST01: within ±10 % of the result; TEST04: less than 1.10 times as fast; TEST05: more than 0.95 times
    as fast. For SingleStream up to 0.2 ms and MultiStream up to 1.6 ms the limits are 20 %.

    Args:
        kind: the test.
        reference: detail log of the result's performance run; the summary is read beside it.
        audit: the same of the audit run.
        rehearsal: the speed of runs of a few seconds says nothing; that they are INVALID, or differ by more
            than the official limit, becomes a notice. The text says what the official script would say.

    Raises:
        LogError: a log has no known scenario or no score, or its summary says another score.
    """
    lines = ["Verifying performance.", *([REHEARSAL_LINE] * rehearsal)]
    unusable = _unusable("the result's run", reference) + _unusable("the audit's run", audit)
    if unusable and not rehearsal:  # the official script prints no score here
        return _comparison(unusable, [], None, None, lines)
    reasons = mismatches(kind, reference, audit)
    scenario = _scenario(reference)
    if _scenario(audit) != scenario:
        return _comparison(reasons, [], None, None, lines)
    score_text, test_text = _score(reference), _score(audit)
    is_latency = scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
    relaxed = is_latency and float(score_text) <= _SCORES[scenario].relaxed_below_ns
    if is_latency and kind is RunKind.TEST04:  # this test counts queries per second
        score_text, test_text = str(1e9 / float(score_text)), str(1e9 / float(test_text))
    lines += [f"reference score = {score_text}", f"test score = {test_text}"]
    score, test = float(score_text), float(test_text)
    threshold = 0.20 if relaxed else (0.05 if kind is RunKind.TEST05 else 0.10)
    too_low, too_high = test <= score * (1 - threshold), test >= score * (1 + threshold)
    failed = {
        RunKind.TEST01: too_low or too_high,
        RunKind.TEST04: too_high,
        RunKind.TEST05: too_high if is_latency else too_low,
    }.get(kind, True)
    of_speed = [
        f"{kind} gave {test_text}, {test / score - 1:+.1%} against the result's {score_text}; "
        f"allowed is less than {threshold:.0%} {_direction(kind, is_latency)}"
    ] * failed
    passes = not (reasons or of_speed or unusable)
    lines.append("TEST PASS" if passes else "TEST FAIL: Test score invalid")
    if rehearsal:
        return _comparison(reasons, of_speed, score, test, lines)
    return _comparison(reasons + of_speed, [], score, test, lines)


def mismatches(kind: RunKind, reference: DetailLog, audit: DetailLog) -> list[str]:
    """Name everything that shows that an audit run does not belong to a result (rules T-14, X-10).

    Compared are scenario, mode, LoadGen version, data set size, loaded samples, duration, Server latency and
    percentile; the target rate must be within 0.9 to 1.1 times the rate of the result.
    """
    found = []
    for key in _SAME:
        ours, theirs = reference.values.get(key), audit.values.get(key)
        if ours != theirs:
            found.append(f"{kind} ran with {key} = {theirs}, the result with {ours}")
    wanted, rate = reference.values.get("effective_target_qps"), audit.values.get("effective_target_qps")
    if not _is_positive(wanted) or not _is_positive(rate):
        found.append(f"{kind} or its result has no effective_target_qps")
    elif not LEAST_TARGET_FACTOR <= rate / wanted <= MOST_TARGET_FACTOR:  # type: ignore[operator]
        found.append(
            f"{kind} ran with effective_target_qps = {rate}, the result with {wanted}; "
            f"allowed is {LEAST_TARGET_FACTOR} to {MOST_TARGET_FACTOR} times as much"
        )
    return found


_SAME = (
    "effective_scenario",
    "effective_test_mode",
    "loadgen_version",
    "qsl_reported_total_count",
    "effective_performance_sample_count",
    "effective_min_duration_ms",
    "effective_target_latency_ns",
    "effective_target_latency_percentile",
)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _direction(kind: RunKind, is_latency: bool) -> str:
    if kind is RunKind.TEST01:
        return "up or down"
    return "up" if kind is RunKind.TEST04 or is_latency else "down"


def _comparison(
    reasons: list[str], notices: list[str], score: float | None, test: float | None, lines: list[str]
) -> PerformanceComparison:
    return PerformanceComparison(tuple(reasons), tuple(notices), score, test, "\n".join(lines) + "\n")


def _unusable(which: str, log: DetailLog) -> list[str]:
    found = []
    if not log.valid:
        reason = str(log.values.get("result_invalid_reason", "")).strip()
        found.append(f"{which} is INVALID{': ' + reason if reason else ''} ({log.path})")
    if log.error_count:
        found.append(f"{which} logged {log.error_count} errors: {'; '.join(log.errors[:3])} ({log.path})")
    return found


def _scenario(log: DetailLog) -> Scenario:
    text = log.require("effective_scenario")
    try:
        scenario = Scenario(text)
        _SCORES[scenario]
    except (ValueError, KeyError) as error:
        raise LogError(
            f"audits do not know the scenario {text!r}", where=log.path, remedy="take LoadGen's own log"
        ) from error
    return scenario


def _score(log: DetailLog) -> str:
    """Return the score as the summary prints it; it has more digits than the detail log of older LoadGens."""
    field = _SCORES[_scenario(log)]
    detail = log.require(field.detail_key)
    if not _is_positive(detail):
        raise LogError(
            f"{field.detail_key} is {detail!r}, which is no score", where=log.path, remedy="run it again"
        )
    summary = log.path.with_name("mlperf_log_summary.txt")
    try:
        with summary.open(encoding="utf-8") as stream:
            text = stream.read(_LONGEST_SUMMARY)
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(
            f"the summary cannot be read: {error}", where=summary, remedy="keep all files of the run together"
        ) from error
    for line in text.split("\n"):
        if match := field.summary.match(line):
            return _agreeing(match[1], float(detail), log)
    raise LogError("the summary has no score", where=summary, remedy="run it again")


def _agreeing(text: str, detail: float, log: DetailLog) -> str:
    try:
        agrees = abs(float(text) - detail) <= _AGREEMENT * detail + _SUMMARY_ROUNDING
    except ValueError:
        agrees = False
    if not agrees:
        raise LogError(
            f"the summary says {text}, the detail log {detail}",
            where=log.path.parent,
            remedy="the two files are of different runs or were edited; run it again",
        )
    return text
