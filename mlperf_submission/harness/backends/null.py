"""The backend that computes nothing: it measures the harness alone."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Responses
from mlperf_submission.harness.backends.base import BackendOptions

CLASSES = 1000
_RIGHT_AFTER = 1e-3
"""Seconds; sleeping and waking up take less than this on an idle core."""


class NullBackend:
    """Answers at once, or after a given time per batch: sample i is answered with the int32 `i % 1000`.

    A stream that is never without work takes exactly the given time per batch on average: a batch that comes
    right after another counts from the end that the other should have had, so that the imprecision of
    sleeping does not add up, and the stream's true limit is known.
    """

    name = "null (answers without computing)"

    def __init__(self, options: BackendOptions) -> None:
        devices = len(options.devices) or 1
        self.device_names = tuple(f"null device {number}" for number in range(devices))
        self.details: Mapping[str, str] = {
            "batch_seconds": repr(options.batch_seconds),
            "sample_seconds": repr(options.sample_seconds),
        }
        self.streams = devices * options.streams
        self._batch_seconds = options.batch_seconds
        self._sample_seconds = options.sample_seconds
        size = np.dtype(np.int32).itemsize
        self._rows = [np.empty(options.batch_size, np.int32) for _ in range(self.streams)]
        self._ends = [0.0] * self.streams
        self._offsets = np.arange(options.batch_size + 1, dtype=np.int64) * size

    def load(self, indices: NDArray[np.int64]) -> None:
        """Nothing needs to be resident."""

    def unload(self) -> None:
        """Nothing is resident."""

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        """Answer a batch after its time, counted from now."""
        now = time.perf_counter()
        count = len(indices)
        rows = self._rows[stream][:count]
        np.remainder(indices, CLASSES, out=rows, casting="unsafe")
        duration = self._batch_seconds + count * self._sample_seconds
        if duration > 0:
            last = self._ends[stream]
            end = (last if now - last < _RIGHT_AFTER else now) + duration
            self._ends[stream] = end
            time.sleep(max(0.0, end - time.perf_counter()))
        return Responses(rows.view(np.uint8), self._offsets[: count + 1])

    def close(self) -> None:
        """Nothing to free."""


def open_backend(options: BackendOptions) -> NullBackend:
    """Open the null backend."""
    return NullBackend(options)
