"""What one LoadGen run is asked to do, from the round's table; and whether its log says that it did so.

Every attribute of LoadGen's `TestSettings` that matters is set from here, none from a configuration file:
LoadGen from 5.0 on has its own round's `mlperf.conf` compiled in, and only attributes overrule it. Two of the
audits come through `audit.config`, which LoadGen reads itself (TEST01, TEST04).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission.detail_log import DetailLog
from mlperf_submission.submission.results import STREAMS

MIN_QUERIES: Mapping[Scenario, int] = MappingProxyType(
    {Scenario.SERVER: 100, Scenario.SINGLE_STREAM: 100, Scenario.MULTI_STREAM: 662}
)
"""Queries of a timed run: LoadGen's default, and in MultiStream that of every round's `mlperf.conf`.
Offline has one query, of at least so many samples as the round says."""
PERCENTILES: Mapping[Scenario, float] = MappingProxyType(
    {
        Scenario.SERVER: 0.99,
        Scenario.SINGLE_STREAM: 0.9,
        Scenario.MULTI_STREAM: 0.99,
        Scenario.OFFLINE: 0.99,
    }
)
"""`*.<scenario>.target_latency_percentile` of every round's `mlperf.conf`; of Offline LoadGen logs 0.99."""
EARLY_STOPPING_QUERIES: Mapping[Scenario, int] = MappingProxyType(
    {Scenario.SINGLE_STREAM: 64, Scenario.MULTI_STREAM: 662}
)
"""So many queries LoadGen needs to estimate the percentile, which is the result (early_stopping.cc: with a
confidence of 0.99, one query may lie above the 90th or the 99th percentile). Without them there is none."""
SAMPLES_PER_QUERY: Mapping[Scenario, int] = MappingProxyType({Scenario.MULTI_STREAM: 8})
"""`*.MultiStream.samples_per_query` of every round's `mlperf.conf`; else 1, but for Offline's only query."""
OFFLINE_SLACK = 1.1
"""LoadGen issues this much more than target_qps x min_duration in Offline (test_settings_internal.cc)."""
EQUAL_ISSUE_SLACK = 2.0
"""And so many times the queries that are expected in SingleStream with equal issue mode (likewise)."""
SUPPORTED_SCENARIOS = (Scenario.OFFLINE, Scenario.SERVER, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)

_TOKEN_FACTOR_OFF = 0
_NO_LIMIT_NS = 10_000_000


class RunLength(BaseModel):
    """How long a timed run takes: as the round says, or shortened for a rehearsal.

    Attributes:
        seconds: minimum duration of a rehearsal's run; None for the official one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float | None = Field(default=None, gt=0)

    @classmethod
    def official(cls) -> Self:
        """Return the durations and counts of the round."""
        return cls()

    @classmethod
    def rehearsal(cls, seconds: float) -> Self:
        """Return a shortened run, which can never be a result."""
        return cls(seconds=seconds)

    @property
    def is_official(self) -> bool:
        """Whether the run keeps the durations and counts of the round."""
        return self.seconds is None


class RunSettings(BaseModel):
    """Everything that LoadGen is told about one run: latencies in ns, durations in ms, rates in samples/s.

    Attributes:
        round_name: the round that the values come from.
        benchmark: directory name of the benchmark.
        kind: performance, accuracy or an audit.
        scenario: the scenario.
        official: False for a rehearsal.
        target_qps: expected samples/s (Offline), rate of the Poisson arrivals (Server), or one over the
            expected latency of a query (SingleStream, MultiStream): queries/s.
        min_query_count: queries; in Offline samples of its one query.
        samples_per_query: of each query; unused in Offline, whose query has all samples.
        performance_sample_count: samples that are resident during a performance run.
        target_latency_ns: latency limit of Server; unused in the others.
        target_latency_percentile: of Server's limit; in the streams the one that is the result.
        test05: use the three test05 seeds instead of the others.
        token_latency_scaling_factor: tokens per sample for LoadGen's inferred tokens/s; 0 is off.
        use_token_latencies: LoadGen is told each sample's number of tokens, and in Server its first token.
        first_token_latency_ns: with that, the limit of the time to the first token; 0 where there is none.
        per_token_latency_ns: with that, the limit of the time per token after the first; 0 likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    round_name: str
    benchmark: str
    kind: RunKind
    scenario: Scenario
    official: bool
    target_qps: float = Field(gt=0, allow_inf_nan=False)
    min_duration_ms: int = Field(ge=1)
    min_query_count: int = Field(ge=1)
    samples_per_query: int = Field(default=1, ge=1)
    performance_sample_count: int = Field(ge=1)
    target_latency_ns: int = Field(ge=1)
    target_latency_percentile: float = Field(gt=0, lt=1)
    qsl_rng_seed: int
    sample_index_rng_seed: int
    schedule_rng_seed: int
    test05: bool = False
    test05_qsl_rng_seed: int = 0
    test05_sample_index_rng_seed: int = 0
    test05_schedule_rng_seed: int = 0
    sample_concatenate_permutation: bool = False
    token_latency_scaling_factor: int = Field(default=_TOKEN_FACTOR_OFF, ge=0)
    use_token_latencies: bool = False
    first_token_latency_ns: int = Field(default=0, ge=0)
    per_token_latency_ns: int = Field(default=0, ge=0)

    @property
    def is_accuracy(self) -> bool:
        """Whether every sample of the data set is answered once and its response logged."""
        return self.kind is RunKind.ACCURACY

    @property
    def is_stream(self) -> bool:
        """Whether the next query comes when the last one was answered; the result is then a latency."""
        return self.scenario in STREAMS

    @property
    def expected_latency_ns(self) -> float:
        """The latency of a query that a stream's target stands for."""
        return 1e9 / self.target_qps

    @property
    def expected_queries(self) -> int:
        """Queries that LoadGen issues in a timed run, in Server on average; in Offline so many samples."""
        slack = OFFLINE_SLACK if self.scenario is Scenario.OFFLINE else 1.0
        if _raises_its_count(self):
            slack = EQUAL_ISSUE_SLACK
        return max(math.floor(slack * self.target_qps * self.min_duration_ms / 1000), self.min_query_count)

    def expected_samples(self, dataset_size: int) -> int:
        """Return how many samples LoadGen will issue; in Server the mean of what it draws."""
        return dataset_size if self.is_accuracy else self.expected_queries * self.samples_per_query

    def expected_seconds(self, dataset_size: int, samples_per_second: float | None = None) -> float:
        """Return how long the timed part takes at a rate that the system reaches (default: the target)."""
        if self.scenario is Scenario.SERVER and not self.is_accuracy:
            return max(self.min_duration_ms / 1000, self.min_query_count / self.target_qps)
        rate = samples_per_second or self.target_qps * self.samples_per_query
        return self.expected_samples(dataset_size) / rate


def settings_for(
    round_: Round,
    benchmark: str,
    kind: RunKind,
    scenario: Scenario,
    *,
    target_qps: float,
    performance_sample_count: int | None,
    length: RunLength,
) -> RunSettings:
    """Return the settings of one run under the rules of a round.

    Args:
        round_: the round.
        benchmark: directory name or checker name of the model.
        kind: what the run is for.
        scenario: the scenario.
        target_qps: see `RunSettings`.
        performance_sample_count: samples kept resident; None for the round's minimum.
        length: official, or a rehearsal. A rehearsal shortens the minimum duration and asks for one sample or
            query, so that nothing but its seconds says how long a run takes; the streams keep as many queries
            as their result needs. Latency limits, seeds and the performance sample count stay.

    Raises:
        SettingError: the round has no such model, scenario or audit, a latency limit is missing, or a number
            is impossible.
    """
    rules = round_.model(benchmark)
    _require_known(round_, rules, kind, scenario)
    if not (target_qps > 0 and math.isfinite(target_qps)):
        raise SettingError(
            f"target_qps is {target_qps}",
            where=f"{benchmark} {scenario}",
            remedy="give the rate that the system is expected to reach, above 0",
        )
    count = performance_sample_count or rules.performance_sample_count
    if length.is_official and count < rules.performance_sample_count:
        raise SettingError(
            f"performance_sample_count is {count}, the round asks for at least "
            f"{rules.performance_sample_count}",
            where=f"{round_.name} {benchmark}",
            remedy="raise it in the system file, or leave it out",
        )
    official_count = MIN_QUERIES.get(scenario, rules.offline_min_samples or 1)
    test05 = kind is RunKind.TEST05
    seeds, audit_seeds = round_.seeds, round_.test05_seeds
    limits = rules.token_limits.get(scenario)
    if test05 and audit_seeds is None:
        raise SettingError(f"round {round_.name} has no TEST05", remedy="leave this audit out")
    return RunSettings(
        round_name=round_.name,
        benchmark=benchmark,
        kind=kind,
        scenario=scenario,
        official=length.is_official,
        target_qps=target_qps,
        min_duration_ms=round_.min_duration_ms
        if length.seconds is None
        else max(1, round(length.seconds * 1000)),
        min_query_count=official_count if length.is_official else EARLY_STOPPING_QUERIES.get(scenario, 1),
        samples_per_query=SAMPLES_PER_QUERY.get(scenario, 1),
        performance_sample_count=count,
        target_latency_ns=rules.server_target_latency_ns or _NO_LIMIT_NS,
        target_latency_percentile=PERCENTILES[scenario],
        qsl_rng_seed=seeds.qsl,
        sample_index_rng_seed=seeds.sample_index,
        schedule_rng_seed=seeds.schedule,
        test05=test05,
        test05_qsl_rng_seed=audit_seeds.qsl if test05 and audit_seeds else 0,
        test05_sample_index_rng_seed=audit_seeds.sample_index if test05 and audit_seeds else 0,
        test05_schedule_rng_seed=audit_seeds.schedule if test05 and audit_seeds else 0,
        sample_concatenate_permutation=rules.equal_issue,
        token_latency_scaling_factor=rules.tokens_per_sample or _TOKEN_FACTOR_OFF,
        use_token_latencies=rules.token_latencies,
        first_token_latency_ns=limits.first_token_ns if limits else 0,
        per_token_latency_ns=limits.per_token_ns if limits else 0,
    )


def _require_known(round_: Round, rules: ModelRules, kind: RunKind, scenario: Scenario) -> None:
    where = f"{round_.name} {rules.name}"
    if scenario not in SUPPORTED_SCENARIOS:
        raise SettingError(
            f"the scenario {scenario} cannot be run",
            where=where,
            remedy=f"choose one of {', '.join(SUPPORTED_SCENARIOS)}",
        )
    if scenario not in rules.datacenter | rules.edge:
        raise SettingError(
            f"{rules.name} has no scenario {scenario} in round {round_.name}",
            where=where,
            remedy=f"its scenarios are: {', '.join(sorted(rules.datacenter | rules.edge))}",
        )
    if scenario is Scenario.SERVER and rules.server_target_latency_ns is None:
        raise SettingError(f"{rules.name} has no latency limit for Server", where=where)
    if kind.is_audit and kind not in rules.audits:
        raise SettingError(
            f"round {round_.name} does not ask for {kind} of {rules.name}",
            where=where,
            remedy=f"its audits are: {', '.join(rules.audits) or 'none'}",
        )


def differences(settings: RunSettings, log: DetailLog) -> list[str]:
    """Return what the log of a run shows to be otherwise than was asked for, one sentence each.

    The log's `effective_*` values are what LoadGen used (test_settings_internal.cc). In Offline the minimum
    count is one of samples in the single query, and a larger count is as asked; so it is in SingleStream with
    equal issue mode, where LoadGen raises it to whole permutations of the set.

    Raises:
        LogError: the log lacks one of the values.
    """
    seeds = (settings.qsl_rng_seed, settings.sample_index_rng_seed, settings.schedule_rng_seed)
    if settings.test05:
        seeds = (
            settings.test05_qsl_rng_seed,
            settings.test05_sample_index_rng_seed,
            settings.test05_schedule_rng_seed,
        )
    offline = settings.scenario is Scenario.OFFLINE
    raised = "effective_samples_per_query" if offline else ""
    if _raises_its_count(settings):
        raised = "effective_min_query_count"
    expected: dict[str, object] = {
        "effective_scenario": settings.scenario.value,
        "effective_test_mode": "AccuracyOnly" if settings.is_accuracy else "PerformanceOnly",
        "effective_target_qps": settings.target_qps,
        "effective_min_duration_ms": settings.min_duration_ms,
        "effective_max_duration_ms": 0,
        "effective_max_query_count": 0,
        "effective_min_query_count": 1 if offline else settings.min_query_count,
        "effective_samples_per_query": settings.samples_per_query,
        "effective_qsl_rng_seed": seeds[0],
        "effective_sample_index_rng_seed": seeds[1],
        "effective_schedule_rng_seed": seeds[2],
        "effective_performance_sample_count": settings.performance_sample_count,
        "effective_performance_issue_same": settings.kind is RunKind.TEST04,
        "effective_sample_concatenate_permutation": settings.sample_concatenate_permutation,
    }
    if settings.use_token_latencies:
        expected["requested_use_token_latencies"] = True
    if settings.scenario is Scenario.SERVER:
        expected["effective_target_latency_ns"] = settings.target_latency_ns
    if not offline:
        expected["effective_target_latency_percentile"] = settings.target_latency_percentile
    expected.pop(raised, None)
    found = [
        f"{key} is {log.require(key)!r} in the log, {value!r} was asked for"
        for key, value in expected.items()
        if not _same(log.require(key), value)
    ]
    if raised and log.require(raised) < settings.min_query_count:
        least = settings.min_query_count
        found.append(f"{raised} is {log.require(raised)} in the log, at least {least} were asked for")
    sampling = log.require("effective_accuracy_log_sampling_target")
    if (settings.kind is RunKind.TEST01) != (sampling > 0):
        found.append(f"effective_accuracy_log_sampling_target is {sampling} in a {settings.kind} run")
    return found


def _raises_its_count(settings: RunSettings) -> bool:
    return settings.scenario is Scenario.SINGLE_STREAM and settings.sample_concatenate_permutation


def _same(found: object, asked: object) -> bool:
    if isinstance(asked, float) and isinstance(found, int | float):
        return math.isclose(found, asked, rel_tol=1e-5)  # LoadGen logs six significant digits
    return type(found) is type(asked) and found == asked
