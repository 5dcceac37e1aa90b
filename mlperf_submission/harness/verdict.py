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
from mlperf_submission.submission.logs import DetailLog, read_accuracy, read_detail

_LATENCY_KEYS = {
    "minimum": "result_min_latency_ns",
    "mean": "result_mean_latency_ns",
    "p50": "result_50.00_percentile_latency_ns",
    "p90": "result_90.00_percentile_latency_ns",
    "p95": "result_95.00_percentile_latency_ns",
    "p97": "result_97.00_percentile_latency_ns",
    "p99": "result_99.00_percentile_latency_ns",
    "p99_9": "result_99.90_percentile_latency_ns",
    "maximum": "result_max_latency_ns",
}

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
        issued = sum(1 for _ in read_accuracy(folder / ACCURACY_LOG))
        if issued != child.dataset_size:
            reasons.append(
                Reason(
                    text=f"the accuracy log holds {issued} responses of {child.dataset_size} samples",
                    remedy="run it again; if it happens again, look into harness.log",
                    code="accuracy-log-incomplete",
                )
            )
    else:
        latencies = Latencies(**{name: int(log.require(key)) for name, key in _LATENCY_KEYS.items()})
        key = result_key(settings)
        value = float(log.require(key))
        units = "Tokens/s" if "token" in key else "Samples/s"
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


def result_key(settings: RunSettings) -> str:
    """Return the log key of the result in the round's metric."""
    round_ = get_round(settings.round_name)
    rules = round_.model(settings.benchmark)
    return rules.result_fields.get(settings.scenario) or round_.result_fields[settings.scenario]


def _error_reason(text: str, log: DetailLog) -> Reason:
    speed = "LoadGen had no more queries to issue" if any(sign in text for sign in _SPEED_ERRORS) else ""
    return Reason(text=f"LoadGen reports an error: {text}", remedy=f"see {log.path}", speed=speed)


def _samples_issued(settings: RunSettings, log: DetailLog) -> int:
    queries = int(log.require("result_query_count"))
    if settings.scenario is Scenario.OFFLINE:
        asked = log.require("effective_samples_per_query")
        # Equal issue rounds the query up to whole permutations of the set; LoadGen 5.0 and later log it.
        return queries * int(log.values.get("generated_samples_per_query", asked))
    return queries


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
        rate = float(log.require(result_key(settings)))
        remedy = (
            f"raise target_qps: the system reached {rate:.6g}/s, the target is {settings.target_qps:.6g}/s"
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
                remedy="raise target_qps, or let the run take longer",
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


__all__ = ["LogError", "outcome_of", "result_key"]
