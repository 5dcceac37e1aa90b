"""The rows of LoadGen runs: what the log of each says, beside what the round asks of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError
from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission.conf import LOG_KEYS
from mlperf_submission.submission.files import DETAIL, Tree, shown
from mlperf_submission.submission.logs import DetailLog, read_detail
from mlperf_submission.submission.results import Value, is_number, logged_scenario, number, read_value
from mlperf_submission.submission.round import SEED_KEYS, round_by_seeds
from mlperf_submission.submission.times import timed_span
from mlperf_submission.validation.rules import Row

_UNMODIFIED = ("", "NA")
"""LoadGen of a package index does not know its sources' state, and says NA."""
_TTFT = "result_first_token_99.00_percentile_latency_ns"
_TPOT = "result_time_per_output_token_99.00_percentile_ns"
EARLY_STOPPING = (Scenario.SERVER, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
NETWORK_SUT = "Network SUT"


@dataclass(frozen=True)
class RunRow(Row):
    """One LoadGen run. Numbers that a log lacks are NaN, texts empty.

    Attributes:
        kind: `performance`, `accuracy` or the compliance test.
        judged: `error` if a damaged log refuses the result, `warning` if the checker overlooks it (T-08).
        division: closed, network or open.
        errors_count: errors in the log of an accuracy run refuse the result (open forgives them in v4.1).
        errors_refuse: the same of a timed run; compliance runs are forgiven from v6.0 on.
        model: the model that the round judges it as.
        directory_scenario: the scenario that the folder stands for.
        exists: the log is there.
        damage: why the log cannot be read.
        missing: keys that the checker needs and that are absent or of another type.
        no_token_metric: the token metric is missing that is the model's result.
        first_line_is_message: the log begins with the marker.
        scenario: the logged scenario.
        seeds, expected_seeds: the three effective seeds, joined.
        needed_*, limit_*: what the round asks; NaN where it asks nothing.
        tokens_decide: the checker takes the token latencies for LoadGen's verdict (L-05).
        must_count_samples: an accuracy log has to say how many samples it covers.
        round_by_seeds: the round that has these seeds; empty: none.
        result: in the unit of the CSV, inferred if `inferred`.
        begin, end: when the timed part began and ended, in seconds since 1970 (UTC).
    """

    kind: str
    judged: str
    division: str
    errors_count: bool
    errors_refuse: bool
    model: str
    directory_scenario: str
    exists: bool
    damage: str
    missing: str
    no_token_metric: str
    first_line_is_message: bool
    scenario: str
    validity: str
    later_validity: str
    error_count: float
    first_error: str
    performance_samples: float
    needed_performance_samples: float
    seeds: str
    expected_seeds: str
    min_duration_ms: float
    needed_duration_ms: float
    measured_duration_ms: float
    min_query_count: float
    samples_per_query: float
    needed_samples_per_query: float
    target_latency_ns: float
    limit_latency_ns: float
    measured_latency_ns: float
    limit_measured_ns: float
    target_percentile: float
    early_stopping_met: bool
    uses_early_stopping: bool
    token_model: bool
    tokens_decide: bool
    token_latencies_on: bool
    first_token_ns: float
    per_token_ns: float
    limit_first_token_ns: float
    limit_per_token_ns: float
    network: bool
    sut_name: str
    round_by_seeds: str
    result: float
    has_power: bool
    inferred: bool
    edge: bool
    test_mode: str
    target_qps: float
    total_samples: float
    needed_total_samples: float
    library_samples: float
    must_count_samples: bool
    equal_issue: str
    loadgen: str
    modified: bool
    begin: float
    end: float
    issue_unique: bool
    issue_same: bool
    accuracy_log_probability: float
    accuracy_log_target: float


_KEYS = {
    "effective_scenario",
    "effective_test_mode",
    "requested_use_token_latencies",
    "sut_name",
    "result_validity",
    "early_stopping_met",
    "test_datetime",
    "power_begin",
    "power_end",
    "loadgen_version",
    "loadgen_git_status_message",
    "qsl_reported_total_count",
    "result_query_count",
}


@cache
def wanted(key: str) -> bool:
    """Whether a key of the log is kept."""
    return key in _KEYS or key in LOG_KEYS or key.startswith(("effective_", "result_", "early_stopping_"))


@dataclass(frozen=True)
class Place:
    """Where a run lies and what it is judged as."""

    scope: str
    folder: str
    kind: RunKind
    division: str
    model: ModelRules
    scenario: Scenario | None
    directory_scenario: str
    network: bool
    has_power: bool
    edge: bool


def read_log(tree: Tree, folder: str) -> tuple[DetailLog | None, str]:
    """Read the detail log of a run.

    Returns:
        The log, or None and why it cannot be read; the reason is empty if there is no log.
    """
    path = f"{folder}/{DETAIL}"
    if not tree.is_file(path):
        return None, "it is no regular file" if tree.exists(path) else ""
    try:
        return read_detail(Path(tree.full(path)), wanted=wanted, bookkeeping=False), ""
    except LogError as error:
        return None, shown(error.what)


def run_row(round_: Round, tree: Tree, place: Place) -> tuple[RunRow, DetailLog | None]:
    """Return the row of a run, and its log where it can be read."""
    log, damage = read_log(tree, place.folder)
    values: Mapping[str, Any] = log.values if log else {}
    facts = _Facts(values)
    path = f"{place.folder}/{DETAIL}"
    scenario = values.get("effective_scenario")
    logged = logged_scenario(values)
    logged = logged if logged in round_.result_fields else None
    is_performance = place.kind is not RunKind.ACCURACY
    model = place.model
    result = Value(math.nan, "", "")
    if is_performance and log and logged:
        result = read_value(round_, model, place.scenario or logged, values)
        facts.missing.extend(result.missing)
    seeds = round_.test05_seeds if "TEST05" in path and round_.test05_seeds else round_.seeds
    tokens = place.model.token_limits
    limits = tokens.get(place.scenario or Scenario.SERVER) or tokens.get(Scenario.SERVER)
    online = place.scenario is not Scenario.OFFLINE and (
        not round_.is_newer or place.scenario in (Scenario.SERVER, Scenario.INTERACTIVE)
    )
    limit = model.server_target_latency_ns if logged is Scenario.SERVER else None
    if logged is Scenario.OFFLINE and is_performance:
        facts.needed("effective_min_query_count", "effective_samples_per_query")
    if is_performance and log:
        facts.needed("effective_performance_sample_count", *SEED_KEYS)
        facts.needed(*(["effective_min_duration_ms"] if model.has_min_duration else []))
        facts.needed(*(["effective_target_latency_ns"] if limit else []))
        if place.network and not isinstance(values.get("sut_name"), str):
            facts.missing.append("sut_name")
        if model.token_latencies and online and values.get("requested_use_token_latencies") and limits:
            facts.needed(_TTFT, _TPOT)
        if logged is None:
            facts.missing.insert(0, "effective_scenario")
    later = (log.later_values or {}) if log else {}
    span = timed_span(log) if log else None
    begin, end = (span.begin.timestamp(), span.end.timestamp()) if span else (math.nan, math.nan)
    row = RunRow(
        scope=place.scope,
        path=shown(path),
        kind=str(place.kind),
        judged="error",
        division=place.division,
        errors_count=place.division != "open" or round_.is_newer,
        errors_refuse=not (round_.by_module and place.kind.is_audit),
        model=model.name,
        directory_scenario=place.directory_scenario,
        exists=log is not None or bool(damage),
        damage=damage,
        missing=", ".join(dict.fromkeys(facts.missing)),
        no_token_metric=result.missing_tokens,
        first_line_is_message=log.first_line_is_message if log else True,
        scenario=str(logged or shown(str(scenario or ""))),
        validity=shown(str(values.get("result_validity", ""))),
        later_validity=shown(str(later.get("result_validity", ""))),
        error_count=log.error_count if log else 0,
        first_error=shown(log.errors[0][:200]) if log and log.errors else "",
        performance_samples=facts.number("effective_performance_sample_count"),
        needed_performance_samples=model.performance_sample_count,
        seeds=" ".join(shown(json.dumps(values.get(key))) for key in SEED_KEYS),
        expected_seeds=f"{seeds.qsl} {seeds.sample_index} {seeds.schedule}",
        min_duration_ms=facts.number("effective_min_duration_ms"),
        needed_duration_ms=round_.min_duration_ms if model.has_min_duration else math.nan,
        measured_duration_ms=(end - begin) * 1000,
        min_query_count=facts.number("effective_min_query_count"),
        samples_per_query=facts.number("effective_samples_per_query"),
        needed_samples_per_query=_or_nan(
            None if round_.by_module and place.division != "closed" else model.offline_min_samples
        ),
        target_latency_ns=facts.number("effective_target_latency_ns"),
        limit_latency_ns=_or_nan(limit),
        measured_latency_ns=facts.number("result_99.00_percentile_latency_ns"),
        limit_measured_ns=_or_nan(_limit_measured(place, limit)),
        target_percentile=facts.number("effective_target_latency_percentile"),
        early_stopping_met=bool(values.get("early_stopping_met")),
        uses_early_stopping=logged in EARLY_STOPPING,
        token_model=model.token_latencies,
        tokens_decide=model.token_latencies and not round_.is_newer,
        token_latencies_on=bool(values.get("requested_use_token_latencies")),
        first_token_ns=facts.number(_TTFT),
        per_token_ns=facts.number(_TPOT),
        limit_first_token_ns=limits.first_token_ns if limits and online else math.nan,
        limit_per_token_ns=limits.per_token_ns if limits and online else math.nan,
        network=place.network,
        sut_name=shown(str(values.get("sut_name", ""))),
        round_by_seeds=found_round.name if (found_round := round_by_seeds(values)) else "",
        result=result.value,
        has_power=place.has_power,
        inferred=result.inferred,
        edge=place.edge,
        test_mode=shown(str(values.get("effective_test_mode", ""))),
        target_qps=facts.number("effective_target_qps"),
        total_samples=facts.number(
            "effective_accuracy_sample_count"
            if "effective_accuracy_sample_count" in values
            else "qsl_reported_total_count"
        ),
        library_samples=facts.number("qsl_reported_total_count"),
        needed_total_samples=model.accuracy_sample_count(place.scenario),
        must_count_samples=round_.is_newer,
        equal_issue=str(values.get("effective_sample_concatenate_permutation", "")),
        loadgen=shown(str(values.get("loadgen_version", ""))),
        modified=str(values.get("loadgen_git_status_message") or "") not in _UNMODIFIED,
        begin=begin,
        end=end,
        issue_unique=bool(values.get("effective_performance_issue_unique")),
        issue_same=bool(values.get("effective_performance_issue_same")),
        accuracy_log_probability=facts.number("effective_accuracy_log_probability"),
        accuracy_log_target=facts.number("effective_accuracy_log_sampling_target"),
    )
    return row, log


class _Facts:
    """Numbers of a log, and which of the needed ones are missing."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.missing: list[str] = []

    def number(self, key: str) -> float:
        """Return a number that can be compared with others, or NaN."""
        return number(self.values.get(key))

    def needed(self, *keys: str) -> None:
        """Note the keys that are absent or no numbers."""
        self.missing.extend(
            key for key in keys if key not in SEED_KEYS and not is_number(self.values.get(key))
        )


def _limit_measured(place: Place, limit: int | None) -> int | None:
    if place.scenario is Scenario.INTERACTIVE and place.model.interactive_latency_ns:
        return place.model.interactive_latency_ns
    return None if place.model.token_limits else limit


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
