"""The mini editions: made, and run through the harness beside what bounds it."""

from __future__ import annotations

import os
import statistics
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.benchmark.answer import LoopAnswer
from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import Benchmark, Preprocessing, ignore_progress
from mlperf_submission.files import inside
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.harness.run import measure
from mlperf_submission.rounds import Scenario, get_round
from models.network.quantization import quantize
from tools.benchmarks.bounds import BareRate, measure_backend
from tools.benchmarks.ceilings import harness_runner, server_ceiling, settings_of

SAMPLES = 256
FEWER_SAMPLES: Mapping[str, int] = {"retinanet": 64, "3d-unet-99": 16}
"""Of large ones; 64 are as many as retinanet has to keep resident."""
BATCHES: Mapping[str, int] = {"resnet50": 8, "retinanet": 2, "bert-99": 8, "gptj-99": 8, "3d-unet-99": 2}
"""Samples; of gptj-99 slots, of 3d-unet-99 windows. Larger ones gain nothing on two cores."""


@dataclass(frozen=True)
class PreparedEdition:
    """A mini edition on disk: its data set, its network and its preprocessed samples."""

    benchmark: Benchmark
    edition: Edition
    dataset: Path
    network: Path
    samples: Path


@dataclass(frozen=True)
class Shape:
    """How a network is run: the largest batch, streams, and threads per stream (None: all cores divided)."""

    batch: int
    streams: int
    threads: int | None = None


@dataclass(frozen=True)
class PairedRates:
    """Rates of two things that were measured in turn: medians, and the median of second / first."""

    first: float
    second: float
    ratio: float


@dataclass(frozen=True)
class OfflineRates:
    """What a network does in Offline, in samples/s; medians, and medians of ratios taken in turn.

    Attributes:
        loop: a bare loop over the backend, fed as the harness feeds it.
        plain: one that takes the samples as they are listed, in batches that are finished together; None
            where all samples take equally long.
        harness: LoadGen's result.
        ratio: harness / loop.
        cpu_ratio: of the processor times per sample, loop / harness: what the ratio would be if nobody else
            used the machine.
        gain: harness / plain.
    """

    loop: float
    plain: float | None
    harness: float
    ratio: float
    cpu_ratio: float
    gain: float | None


@dataclass(frozen=True)
class ServerRates:
    """The highest Server rate within the limit, in samples/s, and what bounds it.

    Attributes:
        rate: of the harness.
        beside: what a bare loop over the same backend reaches while LoadGen alone, with a callback that
            completes at once, runs beside it at that rate: no harness could go beyond both.
    """

    rate: float
    beside: float


def prepare(benchmark: Benchmark, work: Path) -> PreparedEdition:
    """Make a mini edition below `work` and preprocess it in FP32."""
    made, dataset, samples = work / "made", work / "dataset", work / "samples"
    for folder in (made, dataset, samples):
        folder.mkdir(parents=True)
    count = FEWER_SAMPLES.get(benchmark.name, SAMPLES)
    edition = benchmark.data.mini_edition(benchmark.data.make_mini(made, count, ignore_progress))
    for source in edition.data:
        if source.unpack:
            with tarfile.open(inside(made, source.name)) as archive:
                archive.extractall(inside(dataset, source.unpack), filter="data")
        else:
            os.link(inside(made, source.name), inside(dataset, source.name))
    benchmark.data.preprocess(
        Preprocessing(
            dataset,
            samples,
            edition=edition,
            subset="validation",
            precision="fp32",
            workers=os.cpu_count() or 1,
        )
    )
    network = work / "network.onnx"
    quantize(made / edition.network.name, network, benchmark=benchmark, precision="fp32")
    return PreparedEdition(benchmark, edition, dataset, network, samples)


def request_of(
    prepared: PreparedEdition, scenario: Scenario, shape: Shape, *, rate: float, seconds: float, lock: Path
) -> RunRequest:
    """Return a run of a mini edition with ONNX Runtime, all of its samples resident."""
    name = prepared.benchmark.name
    return RunRequest(
        settings=settings_of(scenario, rate, seconds, prepared.edition.sample_count, benchmark=name),
        benchmark=name,
        backend="onnxruntime",
        engine=prepared.network.absolute(),
        samples=prepared.samples.absolute(),
        batch_size=shape.batch,
        streams=shape.streams,
        threads_per_stream=shape.threads,
        lock=lock,
    )


def offline(
    prepared: PreparedEdition, work: Path, shape: Shape, *, seconds: float, repeats: int
) -> OfflineRates:
    """Measure Offline through the harness against bare loops over the same backend, in turn."""
    work.mkdir(parents=True, exist_ok=True)
    is_unequal = _has_costs(prepared)
    loops: list[BareRate] = []
    plain: list[BareRate] = []
    runs: list[BareRate] = []
    for number in range(repeats):

        def asked(rate: float) -> RunRequest:
            return request_of(
                prepared, Scenario.OFFLINE, shape, rate=rate, seconds=seconds, lock=work / "lock"
            )

        loops.append(measure_backend(asked(1000.0), seconds, work / f"loop-{number}"))
        if is_unequal:
            plain.append(measure_backend(asked(1000.0), seconds, work / f"plain-{number}", what="plain"))
        outcome = measure(asked(loops[-1].samples_per_second), work / f"run-{number}", timeout_seconds=300)
        child = outcome.child
        cpu_seconds = child.after.own_seconds - child.before.own_seconds - child.load_cpu_seconds
        value = child.completed_samples / (outcome.latencies.maximum / 1e9) if outcome.latencies else 0.0
        runs.append(BareRate(value, cpu_seconds / child.completed_samples))
    pairs = list(zip(loops, runs, strict=True))
    return OfflineRates(
        loop=_median(loops),
        plain=_median(plain) if plain else None,
        harness=_median(runs),
        ratio=statistics.median(run.samples_per_second / loop.samples_per_second for loop, run in pairs),
        cpu_ratio=statistics.median(
            loop.cpu_seconds_per_sample / run.cpu_seconds_per_sample for loop, run in pairs
        ),
        gain=statistics.median(
            run.samples_per_second / one.samples_per_second for one, run in zip(plain, runs, strict=True)
        )
        if plain
        else None,
    )


def server(
    prepared: PreparedEdition, work: Path, shape: Shape, *, seconds: float, offline_rate: float
) -> ServerRates | None:
    """Return the highest Server rate within the limit, and its bound; None where neither can be measured.

    That is where the round has no Server, or where a short run tells nothing about the limit: queries that
    are only ever issued for less time than they may take are never too late.
    """
    name = prepared.benchmark.name
    if Scenario.SERVER not in get_round("v4.1").model(name).datacenter:
        return None
    work.mkdir(parents=True, exist_ok=True)

    def asked(rate: float) -> RunRequest:
        return request_of(prepared, Scenario.SERVER, shape, rate=rate, seconds=seconds, lock=work / "lock")

    request = asked(offline_rate)
    if 4 * request.settings.target_latency_ns > seconds * 1e9:
        return None
    ceiling = server_ceiling(
        harness_runner(request), seconds, work, start=0.9 * offline_rate, tolerance=0.01, benchmark=name
    )
    if not ceiling.rate:
        return ServerRates(0.0, offline_rate)
    beside = measure_backend(asked(ceiling.rate), seconds, work / "beside", what="beside")
    return ServerRates(ceiling.rate, beside.samples_per_second)


def _has_costs(prepared: PreparedEdition) -> bool:
    return (
        isinstance(prepared.benchmark.answer, LoopAnswer)
        or prepared.benchmark.data.open(prepared.samples).costs is not None
    )


def _median(rates: list[BareRate]) -> float:
    return statistics.median(one.samples_per_second for one in rates)
