"""Reads a run's logs and says whether it is valid and, if not, why and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError
from mlperf_submission.harness.record import (
    ACCURACY_LOG,
    DETAIL_LOG,
    ChildReport,
    Latencies,
    Reason,
    RunOutcome,
)
from mlperf_submission.harness.settings import RunSettings, differences
from mlperf_submission.rounds import Scenario, get_round
from mlperf_submission.submission.accuracy_log import read_accuracy
from mlperf_submission.submission.detail_log import DetailLog, read_detail
from mlperf_submission.submission.results import Value, read_value

_PERCENTILES = {"p50": "50", "p90": "90", "p95": "95", "p97": "97", "p99": "99", "p99_9": "99.9"}

_SPEED_ERRORS = ("Ran out of generated queries", "Too many outstanding queries")
"""Signs of the errors that LoadGen logs because a system was slower or faster than it was said to be
(loadgen.cc, `IssueQueries`)."""


def outcome_of(
    folder: Path, settings: RunSettings, child: ChildReport, *, total_seconds: float = 0.0
) -> RunOutcome:
    """Read the logs of a finished run and judge it.

    Raises:
        LogError: a log is missing, damaged, or lacks what every run's log has.
    """
    log = read_detail(folder / DETAIL_LOG)
    reasons = [_error_reason(text, log) for text in log.errors]
    reasons += [
        Reason(
            text=text,
            remedy="another LoadGen, or an audit.config that does not belong here",
            code="settings-not-applied",
        )
        for text in differences(settings, log)
    ]
    latencies: Latencies | None = None
    value: float | None = None
    units = "Samples/s"
    if settings.is_accuracy:
        answered = [entry.qsl_idx for entry in read_accuracy(folder / ACCURACY_LOG)]
        issued, distinct = len(answered), len(set(answered))  # MultiStream fills up its last query
        if distinct != child.dataset_size:
            reasons.append(
                Reason(
                    text=f"the accuracy log holds responses to {distinct} of {child.dataset_size} samples",
                    remedy="run it again; if it happens again, look into harness.log",
                    code="accuracy-log-incomplete",
                )
            )
    else:
        latencies = _latencies(settings, log)
        found = _result(settings, log)
        value, units = found.value, found.units
        issued = _samples_issued(settings, log)
        reasons += _invalid_reasons(settings, log, latencies, child)
    return RunOutcome(
        folder=folder,
        settings=settings,
        valid=not reasons,
        reasons=tuple(reasons),
        value=value,
        units=units,
        latencies=latencies,
        samples_issued=issued,
        loadgen_version=str(log.values.get("loadgen_version", "unknown")),
        warnings=log.warnings,
        child=child,
        total_seconds=total_seconds,
    )


def _result(settings: RunSettings, log: DetailLog) -> Value:
    """Return the result as the round asks for it."""
    round_ = get_round(settings.round_name)
    found = read_value(round_, round_.model(settings.benchmark), settings.scenario, log.values)
    for key in (*found.missing, found.missing_tokens):
        if key:
            log.require(key)
    return found


def _latencies(settings: RunSettings, log: DetailLog) -> Latencies:
    """Return the latencies of samples; in MultiStream, whose result is one of queries, those of queries."""
    query, per_query = ("_query", "_per_query") if settings.scenario is Scenario.MULTI_STREAM else ("", "")
    keys = {
        "minimum": f"result_min{query}_latency_ns",
        "mean": f"result_mean{query}_latency_ns",
        "maximum": f"result_max{query}_latency_ns",
        **{
            name: f"result_{float(of):.2f}_percentile{per_query}_latency_ns"
            for name, of in _PERCENTILES.items()
        },
    }
    return Latencies(**{name: int(log.require(key)) for name, key in keys.items()})


def _error_reason(text: str, log: DetailLog) -> Reason:
    speed = "LoadGen had no more queries to issue" if any(sign in text for sign in _SPEED_ERRORS) else ""
    return Reason(text=f"LoadGen reports an error: {text}", remedy=f"see {log.path}", speed=speed)


def _samples_issued(settings: RunSettings, log: DetailLog) -> int:
    queries = int(log.require("result_query_count"))
    if settings.scenario is Scenario.OFFLINE:
        asked = log.require("effective_samples_per_query")
        # Equal issue rounds the query up to whole permutations of the set; LoadGen 5.0 and later log it.
        return queries * int(log.values.get("generated_samples_per_query", asked))
    return queries * settings.samples_per_query


def _invalid_reasons(
    settings: RunSettings, log: DetailLog, latencies: Latencies, child: ChildReport
) -> list[Reason]:
    """Say in words why LoadGen calls a performance run INVALID; empty if it calls it VALID.

    LoadGen judges nothing but duration, counts and latencies here (results.cc, `PerformanceSummary`).
    """
    if log.require("result_validity") == "VALID":
        return []
    values = log.values
    reasons: list[Reason] = []
    limit = settings.target_latency_ns
    slow = settings.scenario is Scenario.SERVER and latencies.p99 > limit
    if slow:
        remedy = "lower target_qps in the system file, or tune batch_size and max_wait_us"
        if child.batch_seconds * 1e9 > limit / 2:
            remedy = (
                f"lower batch_size: a full batch alone takes {child.batch_seconds * 1e3:.1f} ms, and a "
                "sample waits for up to two"
            )
        reasons.append(
            Reason(
                text=f"the latency is over the limit: {_ms(latencies.p99)} at the 99th percentile, "
                f"{_ms(limit)} are allowed",
                remedy=remedy,
                speed="the latency is over the limit",
                code="latency-over-limit",
            )
        )
    if _is_false(values, "result_min_duration_met"):
        seconds = latencies.maximum / 1e9 if settings.scenario is Scenario.OFFLINE else child.loadgen_seconds
        remedy = (
            f"lower expected_latency_ms: a query took {_ms(latencies.mean)} on average, "
            f"{_ms(settings.expected_latency_ns)} were expected"
            if settings.is_stream
            else f"raise target_qps: the system reached {_result(settings, log).value:.6g}/s, the target is "
            f"{settings.target_qps:.6g}/s"
        )
        reasons.append(
            Reason(
                text=f"the run is too short: {seconds:.2f} s of {settings.min_duration_ms / 1000:g} s",
                remedy=remedy,
                speed="the run is too short",
                code="run-too-short",
            )
        )
    if _is_false(values, "result_min_queries_met"):
        reasons.append(
            Reason(
                text=f"too few queries: {values.get('result_query_count')} of "
                f"{values.get('effective_min_query_count')}",
                remedy="let the run take longer"
                if settings.is_stream
                else "raise target_qps, or let the run take longer",
                speed="too few queries",
                code="run-too-short",
            )
        )
    if _is_false(values, "early_stopping_met"):
        advice = str(values.get("early_stopping_result", "")).replace("*", "").strip()
        remedy = "lower target_qps" if slow else "let the run take longer: more queries are needed"
        reasons.append(
            Reason(
                text=f"early stopping is not satisfied: {' '.join(advice.split())}",
                remedy=remedy,
                speed="early stopping is not satisfied",
            )
        )
    if not reasons:
        advice = values.get("result_invalid_reason", "it gives no reason")
        said = "LoadGen calls the run INVALID"
        reasons.append(Reason(text=f"{said}: {advice}", remedy=f"see {log.path}", speed=said))
    return reasons


def _is_false(values: Any, key: str) -> bool:
    return values.get(key) is False


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.2f} ms"


__all__ = ["LogError", "outcome_of"]
