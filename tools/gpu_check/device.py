"""The parts that need a GPU but no TensorRT: copies, waiting, backend and harness around a small kernel."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import JsonValue

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.errors import SettingError
from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.backends.onnxruntime import cpu_model, usable_cores
from mlperf_submission.harness.backends.tensorrt.backend import TensorRTBackend
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts, import_cuda, visible_gpus
from mlperf_submission.harness.backends.tensorrt.device import GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo, gpu_facts
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.rounds import Scenario
from models.registry import get_benchmark
from tools.benchmarks.ceilings import harness_runner, offline_rate, server_probe, settings_of
from tools.gpu_check.parts import Bench, NotRunError, bare_loop, rate_of

STAND_IN = Path(__file__).parent / "stand_in"
BATCH, STREAMS, ROWS = 64, 2, 2048
BUSY_NS = round(1e9 * STREAMS * BATCH / 44_145)
"""A batch of two streams then takes as long as the published rate per L40S allows (132,436 / 3)."""
PACKAGES = ("cuda-bindings", "nvidia-cuda-nvrtc", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "torch")


def machine(_: Bench) -> dict[str, JsonValue]:
    """Say what is here."""
    versions: dict[str, JsonValue] = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    driver, seen = gpu_facts()
    try:
        gpus: JsonValue = [f"{gpu.name} ({gpu.compute_capability})" for gpu in visible_gpus(import_cuda())]
    except SettingError as error:
        gpus = error.what
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "driver": driver,
        "gpus of the driver": [gpu.name for gpu in seen],
        "gpus of CUDA": gpus,
        "packages": versions,
    }


def copies(bench: Bench) -> dict[str, JsonValue]:
    """Copy a batch of resnet50 to the device: in one piece, scattered in one call, scattered one by one."""
    cuda, gpus = gpus_here()
    device = GpuDevice(0, info_for(gpus[0]), cuda, None)
    device.use()
    row = 3 * 224 * 224
    source, target, stream = (
        device.allocate_host(ROWS * row),
        device.allocate(BATCH * row),
        device.make_stream(),
    )
    source[:] = np.random.default_rng(0).integers(0, 256, source.size, np.uint8)
    back = device.allocate_host(BATCH * row)
    places = np.random.default_rng(1).permutation(ROWS)[:BATCH]
    begin, firsts = source.ctypes.data, [int(place) * row for place in places]
    found: dict[str, JsonValue] = {"batches_copies": device.batches_copies}

    def together() -> None:
        device.copy(target, begin, BATCH * row, stream)
        device.wait(stream)

    def scattered() -> None:
        targets = [target + number * row for number in range(BATCH)]
        device.copy_each(targets, [begin + first for first in firsts], [row] * BATCH, stream)
        device.wait(stream)

    def one_by_one() -> None:
        kept, device.batches_copies = device.batches_copies, False
        scattered()
        device.batches_copies = kept

    for call in (together, scattered, one_by_one):
        rate = rate_of(call, bench.seconds / 3)
        found[call.__name__] = {"us": round(1e6 / rate, 1), "GB/s": round(rate * BATCH * row / 1e9, 2)}
        device.copy(back.ctypes.data, target, BATCH * row, stream)
        device.wait(stream)
        rows = np.arange(BATCH) if call is together else places
        found[f"{call.__name__} arrived"] = bool(
            np.array_equal(back.reshape(BATCH, row), source.reshape(ROWS, row)[rows])
        )
    device.free_stream(stream)
    device.free(target)
    for memory in (source, back):
        device.free_host(memory)
    return found


def waiting(bench: Bench) -> dict[str, JsonValue]:
    """See whether a thread that waits for the device sleeps, or takes a core."""
    with stand_in_backend(bench, busy_ns=200_000_000, streams=1) as backend:
        backend.load(np.arange(BATCH))
        started, before = time.perf_counter(), time.thread_time()
        backend.run(0, np.arange(BATCH))
        passed, used = time.perf_counter() - started, time.thread_time() - before
    return {"waited_ms": round(1e3 * passed, 1), "cpu_ms": round(1e3 * used, 2), "sleeps": used < passed / 4}


def backend(bench: Bench) -> dict[str, JsonValue]:
    """Run the whole backend with the kernel as engine, on every GPU and on two devices of one."""
    _, gpus = gpus_here()
    found: dict[str, JsonValue] = {}
    for name, ordinals in (
        ("one device", (0,)),
        ("two devices on one GPU", (0, 0)),
        ("all", range(len(gpus))),
    ):
        with stand_in_backend(bench, ordinals=tuple(ordinals)) as made:
            samples = get_benchmark("resnet50").data.open(bench.scratch / "samples")
            rows = cast(StackedSamples, samples).rows(np.arange(ROWS))
            right = import_module("tensorrt").expected(next(iter(rows.values())))
            random, wrong = np.random.default_rng(0), 0
            made.load(np.arange(ROWS))
            for stream in range(made.streams):
                for count in range(1, BATCH + 1):
                    for indices in (np.arange(count) + stream, random.integers(0, ROWS, count)):
                        answers = made.run(stream, indices).data.view(np.int32)
                        wrong += int((answers != right[indices]).sum())
            rate = bare_loop(made, ROWS, BATCH, bench.seconds)
            found[name] = {**made.details, "wrong answers": wrong, "samples/s": round(rate)}
    return found


def harness(bench: Bench) -> dict[str, JsonValue]:
    """Measure the harness with LoadGen against a bare loop of the same backend, with the kernel as engine."""
    _, gpus = gpus_here()
    with stand_in_backend(bench) as made:
        bare = bare_loop(made, ROWS, BATCH, bench.seconds)
    with stand_in_on_path():
        request = RunRequest(
            settings=settings_of(Scenario.OFFLINE, bare, bench.seconds),
            benchmark="resnet50",
            precision="int8",
            edition="mini",
            backend="tensorrt",
            engine=engine_of(bench, gpus[0], BUSY_NS),
            samples=bench.scratch / "samples",
            batch_size=BATCH,
            streams=STREAMS,
            devices=(0,),
            lock=bench.scratch / "lock",
        )
        return against(request, bare, bench)


def against(
    request: RunRequest, bare: float, bench: Bench, *, in_server: bool = True
) -> dict[str, JsonValue]:
    """Return Offline rate of the harness beside that of a bare loop, and latencies in Server below it.

    A run of seconds says nothing about a latency limit of 20 s: leave Server out then.
    """
    runner = harness_runner(request)
    offline = offline_rate(runner, bench.seconds, bench.scratch, guess=bare)
    found: dict[str, JsonValue] = {
        "bare loop, samples/s": round(bare, 2),
        "harness Offline, samples/s": round(offline, 2),
        "ratio": round(offline / bare, 3),
    }
    for share in (0.5, 0.8) if in_server else ():
        probe = server_probe(runner, share * offline, bench.seconds, bench.scratch)
        found[f"99th percentile at {share:.0%}, ms"] = round(probe.p99_ns / 1e6, 2)
    return found


def gpus_here() -> tuple[Any, tuple[GpuFacts, ...]]:
    """Return CUDA's runtime and the GPUs.

    Raises:
        NotRunError: there is none.
    """
    try:
        cuda = import_cuda()
        return cuda, visible_gpus(cuda)
    except SettingError as error:
        raise NotRunError(error.what) from error


def info_for(gpu: GpuFacts) -> EngineInfo:
    """Return the description of the stand-in's engine."""
    return EngineInfo(
        library="tensorrt",
        version="0.stand-in",
        compute_capability=gpu.compute_capability,
        precision="int8",
        max_batch_size=BATCH,
    )


def engine_of(bench: Bench, gpu: GpuFacts, busy_ns: int) -> Path:
    """Write the stand-in's engine and its samples, if they are not there; return the engine."""
    engine = bench.scratch / f"engine-{busy_ns}"
    engine.write_text(str(busy_ns))
    EngineInfo.path(engine).write_text(info_for(gpu).model_dump_json())
    samples = bench.scratch / "samples" / "samples.npy"
    if not samples.is_file():
        samples.parent.mkdir()
        random = np.random.default_rng(0)
        np.save(samples, random.integers(-128, 128, (ROWS, 3, 224, 224), np.int8))
    return engine


@contextlib.contextmanager
def stand_in_on_path() -> Iterator[None]:
    """Let the stand-in be imported in place of TensorRT, here and in child processes."""
    kept, path = os.environ.get("PYTHONPATH"), str(STAND_IN)
    os.environ["PYTHONPATH"] = path if kept is None else f"{path}{os.pathsep}{kept}"
    sys.path.insert(0, path)
    loaded = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "tensorrt"}
    try:
        yield
    finally:
        sys.path.remove(path)
        sys.modules.pop("tensorrt", None)
        sys.modules.update(loaded)
        os.environ.pop("PYTHONPATH")
        if kept is not None:
            os.environ["PYTHONPATH"] = kept


@contextlib.contextmanager
def stand_in_backend(
    bench: Bench,
    *,
    busy_ns: int = BUSY_NS,
    streams: int = STREAMS,
    ordinals: tuple[int, ...] = (0,),
) -> Iterator[TensorRTBackend]:
    """Open the backend with the kernel as its engine."""
    cuda, gpus = gpus_here()
    engine = engine_of(bench, gpus[0], busy_ns)
    samples = get_benchmark("resnet50").data.open(engine.parent / "samples")
    options = BackendOptions(get_benchmark("resnet50"), "int8", engine, samples, BATCH, streams=streams)
    with stand_in_on_path():
        library = import_module("tensorrt")
        try:
            devices = [GpuDevice(ordinal, info_for(gpus[0]), cuda, library) for ordinal in ordinals]
            made = TensorRTBackend(options, devices)
        except RuntimeError as error:
            raise NotRunError(f"the small kernel cannot be made: {error}") from error
        try:
            yield made
        finally:
            made.close()


PARTS: dict[str, Callable[[Bench], dict[str, JsonValue]]] = {
    "machine": machine,
    "copies": copies,
    "waiting": waiting,
    "backend": backend,
    "harness": harness,
}
