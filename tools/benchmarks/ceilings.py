"""Rates of one system under test: Offline samples/s, and the highest Server rate within the latency limit."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.harness.record import DETAIL_LOG, RunRequest
from mlperf_submission.harness.run import measure
from mlperf_submission.harness.search_logic import Probe, SearchLimits, bracket_of, decide
from mlperf_submission.harness.settings import RunLength, RunSettings, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.submission.detail_log import read_detail
from tools.benchmarks.bounds import measure_loadgen

Runner = Callable[[RunSettings, Path], None]
"""Runs LoadGen with these settings into a folder."""


@dataclass(frozen=True)
class ServerCeiling:
    """The highest rate that kept the limit, and how many probes it took."""

    rate: float
    probes: int
    seconds: float


def settings_of(
    scenario: Scenario, rate: float, seconds: float, samples: int | None = None, benchmark: str = "resnet50"
) -> RunSettings:
    """Return a benchmark's settings of round v4.1 at a rate, shortened to `seconds`."""
    return settings_for(
        get_round("v4.1"),
        benchmark,
        RunKind.PERFORMANCE,
        scenario,
        target_qps=rate,
        performance_sample_count=samples,
        length=RunLength.rehearsal(seconds),
    )


def harness_runner(request: RunRequest) -> Runner:
    """Return a runner for the harness with everything of a request but its rate and length."""
    kept = request.settings.model_dump(include={"benchmark", "performance_sample_count", "target_latency_ns"})

    def run(settings: RunSettings, folder: Path) -> None:
        settings = settings.model_copy(update=kept)
        measure(request.model_copy(update={"settings": settings}), folder, timeout_seconds=300)

    return run


def loadgen_runner(request: RunRequest) -> Runner:
    """Return a runner for LoadGen with a callback that completes at once."""

    def run(settings: RunSettings, folder: Path) -> None:
        measure_loadgen(request.model_copy(update={"settings": settings}), folder)

    return run


def offline_rate(runner: Runner, seconds: float, work: Path, *, guess: float) -> float:
    """Return Offline samples/s: one run at the guess, then one that lasts about `seconds`."""
    for _ in range(2):
        with _scratch(work) as folder:
            runner(settings_of(Scenario.OFFLINE, guess, seconds), folder)
            guess = float(read_detail(folder / DETAIL_LOG).require("result_samples_per_second"))
    return guess


def stream_latency(
    runner: Runner, scenario: Scenario, expected_ns: float, seconds: float, work: Path
) -> float:
    """Return the median latency of a stream's query in ns; enough queries of `expected_ns` are prepared."""
    with _scratch(work) as folder:
        runner(settings_of(scenario, 1e9 / expected_ns, seconds), folder)
        key = "result_50.00_percentile_latency_ns"
        if scenario is Scenario.MULTI_STREAM:
            key = "result_50.00_percentile_per_query_latency_ns"
        return float(read_detail(folder / DETAIL_LOG).require(key))


def server_probe(runner: Runner, rate: float, seconds: float, work: Path) -> Probe:
    """Return what a Server run of `seconds` at a rate shows."""
    with _scratch(work) as folder:
        runner(settings_of(Scenario.SERVER, rate, seconds), folder)
        log = read_detail(folder / DETAIL_LOG)
    return Probe(
        target_qps=rate,
        seconds=seconds,
        p99_ns=float(log.require("result_99.00_percentile_latency_ns")),
        completed_qps=float(log.require("result_completed_samples_per_sec")),
        valid=log.valid,
    )


def server_ceiling(
    runner: Runner,
    seconds: float,
    work: Path,
    *,
    start: float,
    tolerance: float = 0.02,
    benchmark: str = "resnet50",
) -> ServerCeiling:
    """Return the highest Server rate within the limit, by the search's own logic with its probes alone.

    The machine may be shared: a rate counts as too high only if it fails three times.
    """
    limits = SearchLimits(
        budget_seconds=1e6,
        latency_ns=settings_of(Scenario.SERVER, start, seconds, benchmark=benchmark).target_latency_ns,
        probe_seconds=seconds,
        confirm_seconds=10 * seconds,
        tolerance=tolerance,
        setup_seconds=0,
    )
    probes: list[Probe] = []
    while len(probes) < 40:
        decision = decide(probes, limits, start, 1e6)
        if decision.action != "probe":
            break
        probe = server_probe(runner, decision.target_qps, decision.seconds, work)
        failed = probe.p99_ns > limits.latency_ns
        probes.append(probe.model_copy(update={"disturbed": failed}))
    rate = bracket_of(probes, limits).low or 0.0
    return ServerCeiling(rate, len(probes), sum(probe.seconds for probe in probes))


def in_turn(
    first: Callable[[], float], second: Callable[[], float], repeats: int
) -> tuple[float, float, float]:
    """Measure two things in turn; return both medians and the median of the ratios second / first.

    What else happens on the machine then meets both alike.
    """
    pairs = [(first(), second()) for _ in range(repeats)]
    ratio = statistics.median(b / a for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


@contextmanager
def _scratch(work: Path) -> Iterator[Path]:
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
