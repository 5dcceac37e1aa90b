"""The search against a null backend whose true limit a simulation of its queue tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlperf_submission.harness.record import NullTiming, RunRequest
from mlperf_submission.harness.search import find_server_qps, limits_for
from mlperf_submission.rounds import Scenario
from tools.benchmarks.ceilings import settings_of

_QUERIES = 400_000


@dataclass(frozen=True)
class FoundLimit:
    """What the search found beside the truth; rates in queries per second."""

    truth: float
    found: float
    confirmed: float | None
    probes: int
    seconds: float


def simulated_p99(rate: float, batch_size: int, batch_seconds: float) -> float:
    """Return the 99th percentile of the latency, in seconds, of one stream that takes whatever waits.

    Poisson arrivals; a batch of up to `batch_size` takes `batch_seconds`, full or not.
    """
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / rate, _QUERIES))
    ends = np.empty(_QUERIES)
    free, first = 0.0, 0
    while first < _QUERIES:
        start = max(free, float(arrivals[first]))
        waiting = int(np.searchsorted(arrivals, start, "right"))
        last = max(min(waiting, first + batch_size), first + 1)
        free = start + batch_seconds
        ends[first:last] = free
        first = last
    return float(np.percentile(ends - arrivals, 99))


def simulated_limit(batch_size: int, batch_seconds: float, limit_seconds: float) -> float:
    """Return the rate at which the simulated latency reaches the limit."""
    capacity = batch_size / batch_seconds
    low, high = 0.1 * capacity, 1.05 * capacity
    while high / low > 1.0005:
        middle = (low * high) ** 0.5
        if simulated_p99(middle, batch_size, batch_seconds) <= limit_seconds:
            low = middle
        else:
            high = middle
    return low


def search_known_limit(work: Path, *, probe_seconds: float, confirm_seconds: float) -> FoundLimit:
    """Search the limit of a null backend with batches of 16 in 2 ms, from far below."""
    batch_size, batch_seconds = 16, 0.002
    settings = settings_of(Scenario.SERVER, 2000, confirm_seconds)
    request = RunRequest(
        settings=settings,
        benchmark=settings.benchmark,
        backend="null",
        batch_size=batch_size,
        max_wait_us=0,
        null=NullTiming(batch_seconds=batch_seconds),
        lock=work / "lock",
    )
    limits = limits_for(request, 600, probe_seconds=probe_seconds, setup_seconds=1)
    found = find_server_qps(request, limits, work / "search")
    return FoundLimit(
        truth=simulated_limit(batch_size, batch_seconds, settings.target_latency_ns / 1e9),
        found=found.limit_qps[0] or 0.0,
        confirmed=found.target_qps if found.confirmed else None,
        probes=found.new_probes,
        seconds=found.seconds,
    )
