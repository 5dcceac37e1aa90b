"""From the log of one LoadGen run to its row: the log's own keys, beside what the round asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError
from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission.conf import LOG_KEYS
from mlperf_submission.submission.detail_log import DetailLog, read_detail
from mlperf_submission.submission.files import DETAIL, Tree
from mlperf_submission.submission.results import Value, is_number, logged_scenario, read_value
from mlperf_submission.submission.round import SEED_KEYS, round_by_seeds
from mlperf_submission.submission.times import timed_span
from mlperf_submission.validation.frames import Needs, Runs, columns_of
from mlperf_submission.validation.reader import At, Place, Reader

NO_LOG = "no log"
"""The problem of a run whose log is missing."""
_TOKEN_LATENCIES = (
    "result_first_token_99.00_percentile_latency_ns",
    "result_time_per_output_token_99.00_percentile_ns",
)
KEYS = LOG_KEYS | {
    *("effective_", "result_", "early_stopping_"),
    *("requested_use_token_latencies", "sut_name", "test_datetime", "power_begin", "power_end"),
    *("loadgen_version", "loadgen_git_status_message", "qsl_reported_total_count"),
}
"""The keys of the log that are kept."""


@cache
def _column(key: str) -> str:
    """Return the column that a key of the log has; empty if no rule looks at it."""
    name = key.replace(".", "_")
    return name if name in columns_of(Runs) else ""


@dataclass(frozen=True)
class Run:
    """A run that was read.

    Attributes:
        log: what its log says; None if it is missing or cannot be read.
        problem: why it gives no result; empty if it does.
    """

    log: DetailLog | None
    problem: str
    result: Value

    @property
    def values(self) -> Mapping[str, Any]:
        """The values of the log."""
        return self.log.values if self.log else {}


def read_run(reader: Reader, place: Place, kind: RunKind, folder: str, *, forgiven: bool = False) -> Run:
    """Read a run in `folder` and add its rows; one that is `forgiven` if it cannot be read is overlooked."""
    round_, at = reader.round, At(place.at.scope, f"{folder}/{DETAIL}")
    limits = _limits(round_, place.model, place.scenario)
    log, damage = _read_log(reader.tree, at.path)
    values = log.values if log else {}
    logged = logged_scenario(values)
    logged = logged if logged in round_.result_fields else None
    result = Value(float("nan"), "", "")
    needs: dict[str, bool] = {}
    if kind is not RunKind.ACCURACY and log:
        if logged:
            result = read_value(round_, place.model, place.scenario, values)
        needs = _needs(place, limits, logged, values, result)
    missing = [key for key, found in needs.items() if not found]
    problem = damage or ", ".join(missing) or result.missing_tokens or ("" if log else NO_LOG)
    overlooked = forgiven and bool(problem)
    mark = "" if kind in (RunKind.PERFORMANCE, RunKind.ACCURACY) else f" ({kind})"
    if damage and not overlooked:
        role = "accuracy log" if kind is RunKind.ACCURACY else "log"
        reader.reading(at, damage, role=role, name=mark)
    about = {"kind": str(kind), "place": mark}
    if not overlooked:
        for key, exists in needs.items():
            reader.add(Needs, at, **about, key=key, exists=exists)
        if result.missing_tokens:
            reader.add(Needs, at, **about, key=result.missing_tokens, is_token_metric=True)
    own = {name: value for key, value in values.items() if (name := _column(key))}
    own["effective_scenario"] = logged or values.get("effective_scenario") or ""
    reader.add(
        Runs,
        at,
        **own,
        **limits,
        **_stated(round_, place, kind, at.path, log, values),
        **about,
        folder=place.at.path,
        readable=log is not None,
        timed=log is not None and kind is not RunKind.ACCURACY and not overlooked,
        overlooked=problem if overlooked else "",
        complete=not problem,
        result=result.value,
        inferred=result.inferred,
    )
    return Run(log, problem, result)


def _read_log(tree: Tree, path: str) -> tuple[DetailLog | None, str]:
    """Return the log, or None and why it cannot be read; the reason is empty if there is no log."""
    if not tree.is_file(path):
        return None, "it is no regular file" if tree.exists(path) else ""
    try:
        found = Path(tree.full(path))
        return read_detail(found, keys=KEYS, memory=tree.log_memory), ""
    except LogError as error:
        return None, error.what


def _needs(
    place: Place,
    limits: Mapping[str, Any],
    logged: Scenario | None,
    values: Mapping[str, Any],
    result: Value,
) -> dict[str, bool]:
    """Return the keys that the rules compare in a timed run, and whether the log has them."""
    model = place.model
    keys = ["effective_performance_sample_count"]
    if logged is Scenario.OFFLINE:
        keys = ["effective_min_query_count", "effective_samples_per_query", *keys]
    if model.has_min_duration:
        keys.append("effective_min_duration_ms")
    if logged is Scenario.SERVER and model.server_target_latency_ns:
        keys.append("effective_target_latency_ns")
    needs = {} if logged else {"effective_scenario": False}
    needs |= dict.fromkeys(result.missing, False) | {key: is_number(values.get(key)) for key in keys}
    if place.network:
        needs["sut_name"] = isinstance(values.get("sut_name"), str)
    if model.token_latencies and values.get("requested_use_token_latencies") and limits["max_per_token_ns"]:
        needs |= {key: is_number(values.get(key)) for key in _TOKEN_LATENCIES}
    return needs


def _stated(
    round_: Round, place: Place, kind: RunKind, path: str, log: DetailLog | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    seeds = round_.test05_seeds if "TEST05" in path and round_.test05_seeds else round_.seeds
    span = timed_span(log) if log else None
    found = round_by_seeds(values) if kind is RunKind.PERFORMANCE else None
    total = values.get("qsl_reported_total_count")
    return {
        "model": place.model.name,
        "folder_scenario": place.scenario,
        "errors_refuse": not (round_.by_module and kind.is_audit),
        "errors_count": place.at.closed or round_.is_newer,
        "error_count": log.error_count if log else 0,
        "first_error": log.errors[0][:200] if log and log.errors else "",
        "first_line_is_message": log is None or log.first_line_is_message,
        "later_validity": (log.later_values or {}).get("result_validity", "") if log else "",
        "seeds": " ".join(json.dumps(values.get(key)) for key in SEED_KEYS),
        "expected_seeds": f"{seeds.qsl} {seeds.sample_index} {seeds.schedule}",
        "round_by_seeds": found.name if found else "",
        "network": place.network,
        "edge": place.edge,
        "counts_samples": not round_.by_module or place.at.division == "closed",
        "must_count_samples": round_.is_newer,
        "accuracy_samples": values.get("effective_accuracy_sample_count", total),
        "begin": span.begin.timestamp() if span else None,
        "end": span.end.timestamp() if span else None,
    }


def _limits(round_: Round, model: ModelRules, scenario: Scenario) -> Mapping[str, Any]:
    """Return what a round asks of a run of a model: the columns of `Runs` that come from there."""
    online = scenario is not Scenario.OFFLINE and (
        not round_.is_newer or scenario in (Scenario.SERVER, Scenario.INTERACTIVE)
    )
    tokens = model.token_limits.get(scenario) or model.token_limits.get(Scenario.SERVER) if online else None
    latency = None if model.token_limits else model.server_target_latency_ns
    if scenario is Scenario.INTERACTIVE:
        latency = model.interactive_latency_ns or latency
    return {
        "min_accuracy_samples": model.accuracy_sample_count(scenario),
        "min_duration_ms": round_.min_duration_ms if model.has_min_duration else None,
        "min_loaded_samples": model.performance_sample_count,
        "min_samples_per_query": model.offline_min_samples,
        "max_target_latency_ns": model.server_target_latency_ns,
        "max_measured_latency_ns": latency,
        "max_first_token_ns": tokens and tokens.first_token_ns,
        "max_per_token_ns": tokens and tokens.per_token_ns,
        "token_model": model.token_latencies,
        "tokens_decide": model.token_latencies and not round_.is_newer,
    }
