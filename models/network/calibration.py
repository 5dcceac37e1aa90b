"""Samples for the ranges of an INT8 network: as many at a time as fit, in the dtype that it takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from mlperf_submission.benchmark.answer import Arrays, BatchAnswer, Samples, StackedSamples
from mlperf_submission.benchmark.parts import Benchmark, OnProgress, Progress, TensorSpec
from mlperf_submission.errors import SettingError
from models.network.checks import dimensions

_BATCH_BYTES = 8 << 20
_MOST_PER_BATCH = 32


def as_input(values: NDArray[np.generic], dtype: str, spec: TensorSpec | None) -> NDArray[np.generic]:
    """Return samples in the dtype that a network takes; `spec` is the benchmark's INT8 input."""
    if values.dtype == dtype:
        return values
    scale = np.float32(spec.scale if spec else 1.0)
    if dtype == "int8":
        steps = np.rint(normalised(values, spec) / scale)
        return np.asarray(np.clip(steps, -128, 127).astype(np.int8))
    if values.dtype == np.int8 and np.issubdtype(np.dtype(dtype), np.floating):
        means, deviations = _per_channel(spec)
        return (values.astype(np.float32) * scale * deviations + means).astype(dtype)
    return values.astype(dtype)


def normalised(values: NDArray[np.generic], spec: TensorSpec | None) -> NDArray[np.float32]:
    """Return samples of either dtype as the INT8 network sees them, but not rounded."""
    if values.dtype == np.int8:
        return values.astype(np.float32) * np.float32(spec.scale if spec else 1.0)
    means, deviations = _per_channel(spec)
    return (values.astype(np.float32) - means) / deviations


def _per_channel(spec: TensorSpec | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if spec is None or not spec.means:
        return np.zeros((), np.float32), np.ones((), np.float32)
    shape = (1, -1, *[1] * (len(spec.shape) - 2))
    means, deviations = (np.array(one, np.float32).reshape(shape) for one in (spec.means, spec.deviations))
    return means, deviations


def int8_inputs(benchmark: Benchmark) -> dict[str, TensorSpec]:
    """Return the inputs of the benchmark's INT8 network by name."""
    return {spec.name: spec for spec in benchmark.network.source_inputs("int8")}


def batch_size_for(inputs: tuple[TensorSpec, ...]) -> int:
    """Return how many samples a batch may hold so that its inputs stay within a few megabytes."""
    one = sum(
        int(np.prod([size or 1 for size in spec.shape[1:]])) * np.dtype(spec.dtype).itemsize
        for spec in inputs
    )
    return max(1, min(_MOST_PER_BATCH, _BATCH_BYTES // max(one, 1)))


class CalibrationReader:
    """Calibration samples for ONNX Runtime, one batch at a time (its CalibrationDataReader, by duck typing).

    With `CalibStridedMinMax` 1 the calibrator is given one batch after the other and keeps histograms only.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        samples: Samples | None,
        limit: int | None,
        network: ModelProto,
        on_progress: OnProgress,
    ) -> None:
        if samples is None or len(samples) == 0:
            raise SettingError(
                "INT8 needs calibration samples, and there are none",
                where=benchmark.name,
                remedy="preprocess the calibration subset first, or choose precision fp16 or fp32",
            )
        inputs = benchmark.network.source_inputs("fp32")
        self._samples = samples
        self._count = min(len(samples), limit or len(samples))
        self._answer = benchmark.answer
        self._shapes = {value.name: dimensions(value) or () for value in network.graph.input}
        self._specs = {spec.name: spec for spec in inputs}
        self._int8 = int8_inputs(benchmark)
        self._batch = benchmark.network.calibration_batch or batch_size_for(inputs)
        self._on_progress = on_progress
        self._waiting: Iterator[int] = iter(())

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self._count // self._batch)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Choose the batches that `get_next` gives out."""
        self._waiting = iter(range(start_index, end_index))

    def get_next(self) -> Arrays | None:
        """Return the inputs of the next batch, or None at the end of the range."""
        batch = next(self._waiting, None)
        if batch is None:
            return None
        first, count = batch * self._batch, self._count
        indices = np.arange(first, min(first + self._batch, count), dtype=np.int64)
        inputs = {name: self._fit(name, values) for name, values in self._inputs(indices).items()}
        self._on_progress(Progress(int(indices[-1]) + 1, count))
        return inputs

    def _inputs(self, indices: NDArray[np.int64]) -> Arrays:
        if isinstance(self._samples, StackedSamples):
            return self._samples.rows(indices)
        if isinstance(self._answer, BatchAnswer):
            return self._answer.inputs(self._samples, indices, self._shapes)
        raise SettingError(
            "these calibration samples make no batch", remedy="preprocess the calibration subset"
        )

    def _fit(self, name: str, values: NDArray[np.generic]) -> NDArray[np.generic]:
        spec = self._specs.get(name)
        if spec is None or not _fits(values.shape, spec):
            known = "; ".join(f"{one.name} {one.shape[1:]}" for one in self._specs.values())
            raise SettingError(
                f"the calibration samples are {name} {values.shape[1:]}, but the network takes {known}",
                remedy="preprocess the calibration subset with the same benchmark",
            )
        wanted = self._int8.get(name)
        return normalised(values, wanted) if wanted and wanted.means else as_input(values, spec.dtype, wanted)


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        want in (None, have) or (axis in spec.variable_axes and have < want)
        for axis, (have, want) in enumerate(zip(shape, spec.shape, strict=True))
    )
