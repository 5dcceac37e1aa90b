"""Throughput over the time of a run: a small histogram of completed samples, from the streams' counters.

The thread that watches over the run looks at the counters every now and then; the streams do nothing for it.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

_MOST_INTERVALS = 240


class Throughput(BaseModel):
    """Samples completed in each interval of a run.

    Attributes:
        seconds: the end of each interval, since the last look before the first completion.
        samples: completed in that interval; the first and the last one are only partly filled.
    """

    model_config = ConfigDict(frozen=True)

    seconds: tuple[float, ...] = ()
    samples: tuple[int, ...] = ()


class Completions:
    """Notes of how many samples were completed by when, in memory that is taken once.

    When it is full every other note is dropped, and only every other one kept from then on: a run of any
    length has between half and all of the intervals.

    Args:
        intervals: the largest number of intervals; even.
    """

    def __init__(self, intervals: int = _MOST_INTERVALS) -> None:
        self._seconds = np.zeros(intervals + 1)
        self._completed = np.zeros(intervals + 1, np.int64)
        self._count = 1  # the first note: nothing is completed yet
        self._stride = 1
        self._skipped = 0
        self._newest = (0.0, 0)

    def note(self, seconds: float, completed: int) -> None:
        """Note that so many samples are completed after so many seconds.

        The notes before the first completion count as one, and so do those after the last.
        """
        if completed == 0:
            self._seconds[0] = seconds
        elif completed != self._newest[1]:
            self._newest = (seconds, completed)
            self._skipped += 1
            if self._skipped == self._stride:
                self._keep_newest()

    def throughput(self) -> Throughput:
        """Return what was completed in each interval; empty if nothing was."""
        if self._skipped:
            self._keep_newest()
        seconds, completed = self._seconds[: self._count], self._completed[: self._count]
        return Throughput(
            seconds=tuple(np.round(seconds[1:] - seconds[0], 3).tolist()),
            samples=tuple(np.diff(completed).tolist()),
        )

    def _keep_newest(self) -> None:
        self._skipped = 0
        if self._count == len(self._seconds):
            self._count, self._stride = self._count // 2 + 1, 2 * self._stride
            self._seconds[: self._count] = self._seconds[::2].copy()
            self._completed[: self._count] = self._completed[::2].copy()
        self._seconds[self._count], self._completed[self._count] = self._newest
        self._count += 1
