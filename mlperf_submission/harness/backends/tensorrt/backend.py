"""TensorRT on one or several GPUs: samples in pinned memory, one execution context per stream, CUDA graphs.

A batch is copied to the device, run and answered in the order of one CUDA stream; several streams per device
let copies and kernels of different batches overlap. Everything is allocated before the first batch.

A benchmark's own loop (in-flight batching, shared sub-volumes) runs on a stream as on any session: a slot of
a decoder is a row of its cache in device memory; a prompt is read by letting the context see that row alone.

It has not run on a GPU yet: it is tested on GPUs that live in host memory. Where there is one,
tests/mlperf_submission/harness/test_tensorrt_gpu.py runs; tensorrt/device.py says what to check first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import (
    Arrays,
    BatchAnswer,
    LoopAnswer,
    Responses,
    SampleLoop,
    StackedSamples,
)
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.errors import NetworkFileError, SettingError, StepFailedError
from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.backends.tensorrt.cuda import gpus_like, import_cuda, visible_gpus
from mlperf_submission.harness.backends.tensorrt.device import EngineTensor, GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo, import_library
from mlperf_submission.harness.backends.tensorrt.stream import Lane
from mlperf_submission.harness.samples import ResidentSamples


def open_backend(options: BackendOptions) -> TensorRTBackend:
    """Open the GPUs that the options name, or all that the engine was built for.

    Raises:
        SettingError: no driver, no GPU, no library, or an engine for another GPU or version.
        StepFailedError: TensorRT or CUDA refused, e.g. for lack of memory.
    """
    _, engine, _ = options.require("tensorrt")
    info = EngineInfo.beside(engine)
    trt = import_library(info.library)
    if str(trt.__version__) != info.version:
        raise SettingError(
            f"the engine was built by {info.library} {info.version}, but {trt.__version__} is installed",
            where=engine,
            remedy="build the engine again",
        )
    cuda = import_cuda()
    ordinals = options.devices or gpus_like(visible_gpus(cuda), info.compute_capability)
    return TensorRTBackend(options, [GpuDevice(ordinal, info, cuda, trt) for ordinal in ordinals])


class TensorRTBackend:
    """Runs an engine; `streams` is the number of streams per device times the number of devices.

    Stream s is on device s modulo the number of devices, so that neighbouring batches go to different ones.
    """

    def __init__(self, options: BackendOptions, devices: Sequence[GpuDevice]) -> None:
        """Load the engine on every device, make the streams and capture their graphs."""
        benchmark, engine, samples = options.require("tensorrt")
        info = EngineInfo.beside(engine)
        _check(options, info, devices, engine)
        self._answer = benchmark.answer
        self.devices = tuple(devices)
        self._samples = samples
        self._lanes: list[Lane] = []
        self._resident: ResidentSamples | None = None
        if isinstance(samples, StackedSamples):
            self._resident = ResidentSamples(samples, devices[0].allocate_host, devices[0].free_host)
        self.name = f"{'TensorRT for RTX' if info.library == 'tensorrt_rtx' else 'TensorRT'} {info.version}"
        self.device_names = tuple(device.name for device in devices)
        self.streams = options.streams * len(devices)
        try:
            with engine.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                loaded = [device.load_engine(content, engine) for device in devices]
            self._tensors = loaded[0]
            _check_tensors(self._tensors, benchmark, options.precision, engine)
            for stream in range(self.streams):
                self._lanes.append(Lane(devices[stream % len(devices)], self._tensors, options.batch_size))
        except BaseException:
            with suppress(StepFailedError):  # of a GPU that failed, every later call fails too
                self.close()
            raise
        graphs = sum(len(lane.graphs) for lane in self._lanes)
        self.details: Mapping[str, str] = {
            "compute_capability": info.compute_capability,
            "engine_precision": info.precision,
            "cuda_graphs": str(graphs) if graphs else f"none: {self._lanes[0].no_graphs}",
            "profiles": str(len(devices[0].profiles)),
            "scattered_samples": "one batched copy"
            if all(device.batches_copies for device in devices)
            else "a copy each",
        }

    def load(self, indices: NDArray[np.int64]) -> None:
        """Copy these samples into pinned memory; a benchmark with a loop of its own reads them itself.

        Raises:
            NetworkFileError: the samples have another dtype or shape than the engine's inputs.
        """
        if self._resident:
            _check_samples(cast(StackedSamples, self._samples).rows(indices[:1]), self._tensors)
            self._resident.load(indices)

    def unload(self) -> None:
        """Free the resident samples."""
        if self._resident:
            self._resident.unload()

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        """Answer one batch; the responses may lie in memory that the stream's next batch overwrites.

        Raises:
            SettingError: a sample is not loaded, or the batch is empty or too large.
        """
        lane = self._lanes[stream]
        lane.device.use()
        answer = cast(BatchAnswer, self._answer)
        if self._resident is None:
            return answer.batch(lane, self._samples, indices)
        slots = self._resident.slots(indices)
        lane.begin(len(slots))
        for name, rows in self._resident.arrays.items():
            lane.feed(name, rows, slots)
        return answer.respond(lane.finish(len(slots)), self._samples, indices)

    def open_loop(self, stream: int) -> SampleLoop:
        """Return a loop of the benchmark on this stream, for the calling thread."""
        lane = self._lanes[stream]
        lane.device.use()
        return cast(LoopAnswer, self._answer).open(lane, self._samples)

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        self.unload()
        while self._lanes:
            self._lanes.pop().close()
        for device in self.devices:
            device.close()


def _check(options: BackendOptions, info: EngineInfo, devices: Sequence[GpuDevice], engine: Path) -> None:
    remedy = "build the engine again for this machine and these settings"
    if not devices:
        raise SettingError(
            f"the engine is for compute capability {info.compute_capability}, and no GPU here has that",
            where=engine,
            remedy=remedy,
        )
    for device in devices:
        if device.compute_capability != info.compute_capability:
            raise SettingError(
                f"the engine is for compute capability {info.compute_capability}, but {device.name} has "
                f"{device.compute_capability}",
                where=engine,
                remedy=remedy,
            )
    if not 1 <= options.batch_size <= info.max_batch_size:
        raise SettingError(
            f"batches of {options.batch_size} are asked for, the engine takes 1 to {info.max_batch_size}",
            where=engine,
            remedy=remedy,
        )
    if options.precision != info.precision:
        raise SettingError(
            f"the run is {options.precision}, the engine {info.precision}", where=engine, remedy=remedy
        )


def _check_tensors(
    tensors: tuple[EngineTensor, ...], benchmark: Benchmark, precision: Precision, engine: Path
) -> None:
    found = {tensor.name: tensor for tensor in tensors}
    specs = (*benchmark.network.inputs(precision), *benchmark.network.outputs)
    for spec in specs:
        tensor = found.get(spec.name)
        if tensor is None and spec.optional:
            continue
        wanted = f"{spec.name} {spec.dtype} {spec.shape[1:]}"
        if tensor is None or tensor.dtype != spec.dtype or not _fits(tensor.shape, spec.shape[1:]):
            have = f"{tensor.dtype} {tensor.shape}" if tensor else "missing"
            raise NetworkFileError(
                f"{benchmark.name} needs {wanted}, but in the engine it is {have}",
                where=engine,
                remedy="build the engine again from this benchmark's network",
                code="engine-other-samples",
            )


def _check_samples(samples: Arrays, tensors: tuple[EngineTensor, ...]) -> None:
    for tensor in tensors:
        if not tensor.is_input:
            continue
        rows = samples.get(tensor.name)
        if rows is None or rows.dtype != tensor.dtype or rows.shape[1:] != tensor.shape:
            found = f"{rows.dtype} {rows.shape[1:]}" if rows is not None else "missing"
            raise NetworkFileError(
                f"the samples' {tensor.name} is {found}, the engine takes {tensor.dtype} {tensor.shape}",
                remedy="preprocess the samples in the precision that the engine was built for",
                code="engine-other-samples",
            )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        want in (None, have) for have, want in zip(shape, wanted, strict=True)
    )
