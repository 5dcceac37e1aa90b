"""Samples that are resident: the performance set lies in memory in one piece and is gathered by index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.errors import SettingError

_LOAD_BLOCK = 256
_FITS_INTO_CACHE = 16 << 20
"""Bytes of a batch that are copied together although they lie in one piece: a network on the CPU reads the
fresh copy out of the cache, which gains more than copying takes (docs/performance.md). Larger batches would
only push one another out."""


def pageable(size: int) -> NDArray[np.uint8]:
    """Return new memory as NumPy makes it."""
    return np.empty(size, np.uint8)


def forget(_: NDArray[np.uint8]) -> None:
    """Leave memory to NumPy."""


class ResidentSamples:
    """A set of samples copied out of the memory map, one contiguous array per network input.

    They lie in the order in which they were asked for. LoadGen issues a performance set in that order in
    Offline, so that most of its batches lie in one piece.

    Args:
        samples: those of the data set.
        allocate: returns memory for so many bytes (at least 1); a GPU copies from pinned memory.
        free: takes that memory back.
    """

    def __init__(
        self,
        samples: StackedSamples,
        allocate: Callable[[int], NDArray[np.uint8]] = pageable,
        free: Callable[[NDArray[np.uint8]], None] = forget,
    ) -> None:
        self._samples, self._allocate, self._free = samples, allocate, free
        self._slots = np.full(len(samples), -1, dtype=np.int64)
        self._memory: list[NDArray[np.uint8]] = []
        self._arrays: dict[str, NDArray[np.generic]] = {}

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The resident samples by input name; row `slots(indices)[i]` is sample `indices[i]`."""
        return self._arrays

    def load(self, indices: NDArray[np.int64]) -> None:
        """Copy these samples (int64 indices, any order) into memory in place of what was there."""
        self.unload()
        unique, first_seen = np.unique(indices, return_index=True)
        slots = np.empty(len(unique), np.int64)
        slots[np.argsort(first_seen)] = np.arange(len(unique))
        for start in range(0, len(unique), _LOAD_BLOCK):  # read in the order of the file
            block = slice(start, start + _LOAD_BLOCK)
            for name, rows in self._samples.rows(unique[block]).items():
                if name not in self._arrays:
                    self._arrays[name] = self._table(len(unique), rows)
                self._arrays[name][slots[block]] = rows
        self._slots[unique] = slots

    def unload(self) -> None:
        """Forget all samples and free their memory."""
        self._slots.fill(-1)
        self._arrays = {}
        while self._memory:
            self._free(self._memory.pop())

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, all inputs together."""
        return sum(rows.nbytes // max(len(rows), 1) for rows in self._arrays.values())

    def slots(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of these samples.

        Raises:
            SettingError: one of them is not loaded, or there is none.
        """
        slots = self._slots[indices]
        if len(slots) == 0 or slots.min() < 0:
            raise SettingError(
                "the batch is empty, or one of its samples is not loaded",
                remedy="report this to the project: LoadGen loads samples before it asks for them",
            )
        return slots

    def _table(self, count: int, rows: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return memory for so many samples like these."""
        size = count * rows[0].nbytes
        self._memory.append(self._allocate(max(1, size)))
        return self._memory[-1][:size].view(rows.dtype).reshape(count, *rows.shape[1:])


class StreamSamples(StackedSamples):
    """One stream's view of resident samples: gathers into buffers of its own that are made once."""

    def __init__(self, resident: ResidentSamples, total: int, batch_size: int) -> None:
        self._resident = resident
        self._total = total
        self._batch_size = batch_size
        self._steps = np.arange(batch_size, dtype=np.int64)
        self._buffers: dict[str, NDArray[np.generic]] = {}

    def __len__(self) -> int:
        """Return the number of samples of the data set."""
        return self._total

    def prepare(self) -> None:
        """Make the buffers for the samples that are resident now."""
        self._buffers = {
            name: np.empty((self._batch_size, *rows.shape[1:]), rows.dtype)
            for name, rows in self._resident.arrays.items()
        }

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return the inputs of a batch (at most the batch size), to be read only.

        They are the resident samples themselves where these lie in one piece that is too large for the
        cache, else copies that the next call overwrites.
        """
        slots = self._resident.slots(indices)
        count = len(indices)
        first = int(slots[0])
        is_large = count * self._resident.sample_bytes > _FITS_INTO_CACHE
        if is_large and np.array_equal(slots, self._steps[:count] + first):
            return {name: rows[first : first + count] for name, rows in self._resident.arrays.items()}
        return {
            # mode="clip" lets numpy write straight into `out`; "raise" would buffer the whole batch.
            name: np.take(rows, slots, axis=0, out=self._buffers[name][:count], mode="clip")
            for name, rows in self._resident.arrays.items()
        }
