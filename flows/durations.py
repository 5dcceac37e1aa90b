"""How long runs take: the least that LoadGen allows by the round's rules, and what is to be expected."""

from __future__ import annotations

import math

from flows.request import ResultRequest, SubmissionRequest
from mlperf_submission.harness.settings import (
    EQUAL_ISSUE_SLACK,
    MIN_QUERIES,
    OFFLINE_SLACK,
    SAMPLES_PER_QUERY,
)
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission.results import STREAMS
from models.registry import benchmark_names, get_benchmark
from tasks.engine.spec import StepSpec
from tasks.measurement import RUN_OVERHEAD_SECONDS

MINI_OVERHEAD_SECONDS = 0.8
"""Start of the child, warm-up and reading the logs of a rehearsal's run, beside LoadGen's own time."""
UNKNOWN_RATE = 1000.0
"""Samples/s that an accuracy run is planned with before a probe knows better."""
_DOWNLOAD_BYTES_PER_SECOND = 50e6
_PREPROCESSED_BYTES_PER_SECOND = 50e6
"""Those of the full edition are guesses, not measurements: none was prepared where this was written."""


def run_of(request: SubmissionRequest, step: str, label: str) -> tuple[ResultRequest, RunKind] | None:
    """Return the result and the kind of run that a step is; None if it is none."""
    kinds = {kind.lower(): kind for kind in RunKind}
    results = {f"{one.benchmark} {one.scenario}": one for one in request.results}
    of = label.partition(",")[0]
    return (results[of], kinds[step]) if step in kinds and of in results else None


def first_guess(request: SubmissionRequest, spec: StepSpec, label: str) -> float:
    """Return the seconds of a step that was never done here; from then on its last duration counts."""
    step = spec.name
    if run := run_of(request, step, label):
        return run_seconds(request, *run)
    if step == "search" and request.search_seconds:
        return request.search_seconds
    if request.on_mini_data:
        return spec.mini_seconds
    name, *rest = label.split()
    sizes = get_benchmark(name).facts.sizes if name in benchmark_names() else None
    if sizes and step == "download" and rest[-1:] == ["network"]:
        return sizes.network / _DOWNLOAD_BYTES_PER_SECOND
    if sizes and step == "preprocess" and rest[-1:] == ["validation"]:
        samples = request.rules_of(name).dataset_size * sizes.sample_values
        return max(samples / _PREPROCESSED_BYTES_PER_SECOND, spec.full_seconds)
    return spec.full_seconds


def floor_seconds(request: SubmissionRequest, result: ResultRequest, kind: RunKind) -> float:
    """Return the least time that LoadGen allows for a run at the result's target rate.

    A timed run takes the round's minimum duration, or as long as its minimum count takes (inference rules,
    `mlperf_submission.rounds`); an accuracy run answers the data set once. Without a target rate an accuracy
    run counts nothing.
    """
    rules, rate = request.rules_of(result.benchmark), result.tuning.rate
    if kind is RunKind.ACCURACY:
        return rules.dataset_size / (rate * SAMPLES_PER_QUERY.get(result.scenario, 1)) if rate else 0.0
    seconds = request.round.min_duration_ms / 1000
    count = MIN_QUERIES.get(result.scenario, rules.offline_min_samples or 1)
    if rate and result.scenario is Scenario.SINGLE_STREAM and rules.equal_issue:
        count = max(count, math.floor(EQUAL_ISSUE_SLACK * seconds * rate))
    return max(seconds, count / rate if rate else 0.0)


def issued_samples(request: SubmissionRequest, result: ResultRequest, rate: float) -> int:
    """Return how many samples LoadGen makes for a timed run at a rate: more than the least.

    That is 10 % more in Offline, twice as many in the streams, which may be faster than was said, and whole
    passes over the data set where the round asks for equal issue.
    """
    rules = request.rules_of(result.benchmark)
    least = 1
    if request.full_length:
        least = MIN_QUERIES.get(result.scenario, rules.offline_min_samples or 1)
    spare = 2 if result.scenario in STREAMS else 1
    queries = max(math.floor(spare * _timed_seconds(request, result) * rate), least)
    samples = queries * SAMPLES_PER_QUERY.get(result.scenario, 1)
    if rules.equal_issue and request.full_length:
        samples = math.ceil(samples / rules.performance_sample_count) * rules.performance_sample_count
    return samples


def run_seconds(request: SubmissionRequest, result: ResultRequest, kind: RunKind) -> float:
    """Return how long a run is expected to take, with its start and the reading of its logs."""
    rate = result.tuning.rate
    overhead = MINI_OVERHEAD_SECONDS if request.on_mini_data else RUN_OVERHEAD_SECONDS
    if kind is RunKind.ACCURACY:
        dataset = request.rules_of(result.benchmark).dataset_size
        samples = dataset if request.full_length else request.sample_count(result.benchmark)
        per_query = SAMPLES_PER_QUERY.get(result.scenario, 1)
        return samples / (rate * per_query if rate else UNKNOWN_RATE) + overhead
    if result.scenario in STREAMS and request.full_length:
        return floor_seconds(request, result, kind) + overhead
    if rate is None or result.scenario in STREAMS:
        return _timed_seconds(request, result) + overhead
    return issued_samples(request, result, rate) / rate + overhead


def _timed_seconds(request: SubmissionRequest, result: ResultRequest) -> float:
    official = request.round.min_duration_ms / 1000
    seconds = official if request.full_length else request.system.rehearsal_seconds
    return seconds * (OFFLINE_SLACK if result.scenario is Scenario.OFFLINE else 1.0)
