"""TensorRT on one or several GPUs: samples in pinned memory, one execution context per stream, CUDA graphs.

A batch is copied to the device, run and answered in the order of one CUDA stream; several streams per device
let copies and kernels of different batches overlap. Everything is allocated before the first batch.

A benchmark's own loop (in-flight batching, shared sub-volumes) runs on a stream as on any session: a slot of
a decoder is a row of its cache in device memory; a prompt is read by letting the context see that row alone.

It has not run on a GPU yet: its logic is tested with a device that lives in host memory, and
tests/harness/test_tensorrt_gpu.py runs where there is a GPU; tensorrt_device.py says what to check first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from common.errors import NetworkFileError, SettingError
from harness.backends.base import BackendOptions
from harness.backends.cuda import device_count
from harness.backends.tensorrt_device import Device, EngineTensor, GpuDevice
from harness.backends.tensorrt_library import EngineInfo, import_library
from harness.backends.tensorrt_stream import Lane, Table
from models.benchmark import (
    BatchAnswer,
    Benchmark,
    LoopAnswer,
    Precision,
    Responses,
    SampleLoop,
    StackedSamples,
)

_LOAD_BLOCK = 256


def open_backend(options: BackendOptions) -> TensorRTBackend:
    """Open the GPUs that the options name, or all.

    Raises:
        SettingError: no driver, no GPU, no library, or an engine for another GPU or version.
        StepFailedError: TensorRT or CUDA refused, e.g. for lack of memory.
    """
    _, engine, _ = options.require("tensorrt")
    info = EngineInfo.beside(engine)
    version = str(import_library(info.library).__version__)
    if version != info.version:
        raise SettingError(
            f"the engine was built by {info.library} {info.version}, but {version} is installed",
            where=engine,
            remedy="build the engine again",
        )
    count = device_count()
    ordinals = options.devices or tuple(range(count))
    return TensorRTBackend(options, [GpuDevice(ordinal, info) for ordinal in ordinals])


class TensorRTBackend:
    """Runs an engine; `streams` is the number of streams per device times the number of devices.

    Stream s is on device s modulo the number of devices, so that neighbouring batches go to different ones.
    """

    def __init__(
        self, options: BackendOptions, devices: Sequence[Device], *, samples_on_device: bool = False
    ) -> None:
        """Load the engine on every device, make the streams and capture their graphs.

        Args:
            options: what to run.
            devices: where.
            samples_on_device: keep the samples in device memory. In a closed submission this is allowed only
                where data can reach the GPU without the host (MLPerf inference_rules, start from device).
        """
        benchmark, engine, samples = options.require("tensorrt")
        info = EngineInfo.beside(engine)
        _check(options, info, devices, engine)
        self._answer = benchmark.answer
        self._devices = tuple(devices)
        self._samples = samples
        self._lanes: list[Lane] = []
        self._tables: dict[str, Table] = {}
        self._on_device = samples_on_device
        self._slots = np.full(len(samples), -1, np.int64)
        self._stacked = samples if isinstance(samples, StackedSamples) else None
        self.name = f"{'TensorRT for RTX' if info.library == 'tensorrt_rtx' else 'TensorRT'} {info.version}"
        self.device_names = tuple(device.name for device in devices)
        self.streams = options.streams * len(devices)
        try:
            tensors = [device.load_engine(engine) for device in devices]
            self._tensors = _check_tensors(tensors[0], benchmark, options.precision, engine)
            for stream in range(self.streams):
                self._lanes.append(Lane(devices[stream % len(devices)], self._tensors, options.batch_size))
        except BaseException:
            self.close()
            raise
        graphs = sum(len(lane.graphs) for lane in self._lanes)
        self.details: Mapping[str, str] = {
            "compute_capability": info.compute_capability,
            "engine_precision": info.precision,
            "cuda_graphs": str(graphs),
            "scattered_samples": "one batched copy"
            if all(device.batches_copies for device in devices)
            else "a copy each",
            "samples": "device memory" if samples_on_device else "pinned host memory",
        }

    def load(self, indices: NDArray[np.int64]) -> None:
        """Copy these samples into pinned memory (and on to the devices), one contiguous piece per input.

        Raises:
            NetworkFileError: the samples have another dtype or shape than the engine's inputs.
        """
        self.unload()
        if self._stacked is None:
            return  # samples of unequal shapes are read where the batch is made
        unique = np.unique(indices)
        inputs = {tensor.name: tensor for tensor in self._tensors if tensor.is_input}
        self._tables = {name: Table(self._devices, tensor, len(unique)) for name, tensor in inputs.items()}
        for start in range(0, len(unique), _LOAD_BLOCK):
            block = self._stacked.rows(unique[start : start + _LOAD_BLOCK])
            for name, tensor in inputs.items():
                rows = block.get(name)
                if rows is None or rows.dtype != tensor.dtype or rows.shape[1:] != tensor.shape:
                    found = f"{rows.dtype} {rows.shape[1:]}" if rows is not None else "missing"
                    raise NetworkFileError(
                        f"the samples' {name} is {found}, the engine takes {tensor.dtype} {tensor.shape}",
                        remedy="preprocess the samples in the precision that the engine was built for",
                    )
                self._tables[name].rows[start : start + len(rows)] = rows
        if self._on_device:
            for table in self._tables.values():
                table.move_to_devices()
        self._slots[unique] = np.arange(len(unique))

    def unload(self) -> None:
        """Free the resident samples."""
        self._slots.fill(-1)
        for table in self._tables.values():
            table.close()
        self._tables = {}

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        """Answer one batch; the responses may lie in memory that the stream's next batch overwrites.

        Raises:
            SettingError: a sample is not loaded, or the batch is empty or too large.
        """
        lane = self._lanes[stream]
        lane.device.use()
        answer = cast(BatchAnswer, self._answer)
        if self._stacked is None:
            return answer.batch(lane, self._samples, indices)
        slots = self._slots[indices]
        if len(slots) == 0 or slots.min() < 0:
            raise SettingError(
                "the batch is empty, or one of its samples is not loaded",
                remedy="report this to the project: LoadGen loads samples before it asks for them",
            )
        lane.begin(len(slots))
        for name, table in self._tables.items():
            lane.feed(name, table, slots)
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
        for device in self._devices:
            device.close()


def _check(options: BackendOptions, info: EngineInfo, devices: Sequence[Device], engine: Path) -> None:
    remedy = "build the engine again for this machine and these settings"
    if not devices:
        raise SettingError("no device is named", where=engine, remedy="name at least one GPU")
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
) -> tuple[EngineTensor, ...]:
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
            )
    return tensors


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        want in (None, have) for have, want in zip(shape, wanted, strict=True)
    )
