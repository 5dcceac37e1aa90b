"""The mini editions: made, preprocessed beside the reference's plain steps, and run beside a bare loop."""

from __future__ import annotations

import os
import statistics
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bounds import BareRate, measure_backend
from benchmarks.ceilings import harness_runner, server_ceiling, settings_of
from common.files import inside
from harness.record import RunRequest
from harness.run import measure
from mlperf.rounds import Scenario, get_round
from models.benchmark import Benchmark, Edition, ignore_progress

SAMPLES = 256


@dataclass(frozen=True)
class PreparedEdition:
    """A mini edition on disk: its data set, its network and its preprocessed samples."""

    benchmark: Benchmark
    edition: Edition
    dataset: Path
    network: Path
    samples: Path


@dataclass(frozen=True)
class PairedRates:
    """Rates of two things that were measured in turn.

    Attributes:
        first: median rate of what bounds ours.
        second: median rate of ours.
        ratio: median of second / first.
        cpu_ratio: median of the processor times per unit, first / second: what the ratio would be if nobody
            else used the machine; None where it was not taken.
    """

    first: float
    second: float
    ratio: float
    cpu_ratio: float | None = None


def prepare(benchmark: Benchmark, work: Path) -> PreparedEdition:
    """Make a mini edition of SAMPLES samples below `work` and preprocess it in FP32."""
    made, dataset, samples = work / "made", work / "dataset", work / "samples"
    for folder in (made, dataset, samples):
        folder.mkdir(parents=True)
    edition = benchmark.mini_edition(benchmark.make_mini(made, SAMPLES, ignore_progress))
    for source in edition.data:
        if source.unpack:
            with tarfile.open(inside(made, source.name)) as archive:
                archive.extractall(inside(dataset, source.unpack), filter="data")
        else:
            os.link(inside(made, source.name), inside(dataset, source.name))
    benchmark.preprocess(
        dataset,
        samples,
        edition=edition,
        subset="validation",
        precision="fp32",
        workers=os.cpu_count() or 1,
        on_progress=ignore_progress,
    )
    return PreparedEdition(benchmark, edition, dataset, made / edition.network.name, samples)


def harness_against_loop(
    prepared: PreparedEdition, work: Path, *, seconds: float, repeats: int, batch_size: int, streams: int
) -> PairedRates:
    """Measure Offline through the harness against a bare loop over the same backend, in turn."""
    name = prepared.benchmark.name
    guess = 1000.0
    loops: list[BareRate] = []
    runs: list[BareRate] = []
    for number in range(repeats):
        request = RunRequest(
            settings=settings_of(Scenario.OFFLINE, guess, seconds, SAMPLES, benchmark=name),
            benchmark=name,
            backend="onnxruntime",
            engine=prepared.network.absolute(),
            samples=prepared.samples.absolute(),
            batch_size=batch_size,
            streams=streams,
            lock=work / "lock",
        )
        work.mkdir(parents=True, exist_ok=True)
        loops.append(measure_backend(request, seconds, work / f"{name}-loop-{number}"))
        guess = loops[-1].samples_per_second
        outcome = measure(
            request.model_copy(
                update={"settings": settings_of(Scenario.OFFLINE, guess, seconds, SAMPLES, benchmark=name)}
            ),
            work / f"{name}-run-{number}",
            timeout_seconds=300,
        )
        child = outcome.child
        cpu_seconds = child.after.own_seconds - child.before.own_seconds - child.load_cpu_seconds
        runs.append(BareRate(outcome.value or 0.0, cpu_seconds / child.completed_samples))
    pairs = list(zip(loops, runs, strict=True))
    return PairedRates(
        statistics.median(loop.samples_per_second for loop in loops),
        statistics.median(run.samples_per_second for run in runs),
        statistics.median(run.samples_per_second / loop.samples_per_second for loop, run in pairs),
        statistics.median(loop.cpu_seconds_per_sample / run.cpu_seconds_per_sample for loop, run in pairs),
    )


def server_against_offline(
    prepared: PreparedEdition, work: Path, *, seconds: float, offline: float, batch_size: int, streams: int
) -> float | None:
    """Return the highest Server rate within the limit as a share of the Offline rate; None: no Server."""
    name = prepared.benchmark.name
    if Scenario.SERVER not in get_round("v4.1").model(name).datacenter:
        return None
    request = RunRequest(
        settings=settings_of(Scenario.SERVER, offline, seconds, SAMPLES, benchmark=name),
        benchmark=name,
        backend="onnxruntime",
        engine=prepared.network.absolute(),
        samples=prepared.samples.absolute(),
        batch_size=batch_size,
        max_wait_us=0,
        streams=streams,
        lock=work / "lock",
    )
    ceiling = server_ceiling(
        harness_runner(request), seconds, work, start=0.8 * offline, tolerance=0.01, benchmark=name
    )
    return ceiling.rate / offline


def preprocessing_against_reference(prepared: PreparedEdition, work: Path, *, repeats: int) -> PairedRates:
    """Measure our preprocessing against the reference's steps one image after the other, in turn."""
    plain: list[float] = []
    ours: list[float] = []
    for number in range(repeats):
        output = work / f"preprocessed-{number}"
        output.mkdir(parents=True)
        started = time.perf_counter()
        count = sum(1 for _ in _reference_steps(prepared.dataset))
        plain.append(count / (time.perf_counter() - started))
        started = time.perf_counter()
        prepared.benchmark.preprocess(
            prepared.dataset,
            output,
            edition=prepared.edition,
            subset="validation",
            precision="fp32",
            workers=os.cpu_count() or 1,
            on_progress=ignore_progress,
        )
        ours.append(prepared.edition.sample_count / (time.perf_counter() - started))
    ratio = statistics.median(our / one for one, our in zip(plain, ours, strict=True))
    return PairedRates(statistics.median(plain), statistics.median(ours), ratio)


def _reference_steps(dataset: Path) -> Iterator[object]:
    """Yield each image after the steps of MLPerf's reference (vision/classification_and_detection)."""
    import cv2
    import numpy as np

    for path in sorted((dataset / "validation").rglob("*.JPEG")):
        image = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        height, width, _ = image.shape
        short = 256
        size = (
            (short, int(short * height / width)) if height > width else (int(short * width / height), short)
        )
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        pixels = image[top : top + 224, left : left + 224].astype(np.float32)
        pixels -= np.array([123.68, 116.78, 103.94], np.float32)
        yield pixels.transpose(2, 0, 1).copy()
