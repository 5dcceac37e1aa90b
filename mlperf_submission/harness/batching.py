"""How samples become batches. LoadGen's thread puts queries in, the streams' threads take batches out.

Offline knows all samples of a query at once and cuts it into full batches. Server collects what arrives until
a batch is full or its oldest sample has waited long enough. In both the streams share one source, so that a
faster device simply comes back sooner; a lock is held only while a batch is cut off, or by the one stream
that waits for the next batch, never while a batch is worked on.

Where samples differ in what they cost (sequences of different lengths), samples of like cost go into one
batch. Offline sorts a query, the costly ones first, which the inference rules allow. Server takes the oldest
sample and those of the waiting ones that cost most nearly as much, so that nobody is overtaken for long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_NEVER = 1 << 62
Costs = NDArray[np.int64] | None
"""What each sample of the data set costs, in any unit; None if all cost the same."""
_CHOICE = 64
"""Batches: among so many of the oldest samples those of like cost are sought."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that are answered together.

    Attributes:
        ids: LoadGen's response ids, Python integers as its binding made them.
        indices: int64 sample indices, in the same order.
    """

    ids: list[int]
    indices: NDArray[np.int64]


class Source(Protocol):
    """Where LoadGen's queries go."""

    def put(self, ids: list[int], indices: list[int]) -> None:
        """Take a query's samples. Called by one thread at a time, and returns at once."""

    def flush(self) -> None:
        """No further query will come soon: incomplete batches go out now."""

    def close(self) -> None:
        """Let every waiting `take` return None as soon as nothing is left."""


class BatchSource(Source, Protocol):
    """Where the streams' batches come from."""

    def take(self) -> Batch | None:
        """Wait for the next batch; None after `close`, once everything has been taken."""


class QueryCutter:
    """Cuts large queries into batches of full size; only the last one of a query may be smaller.

    An Offline query has tens of millions of samples, which are made arrays batch by batch: all at once would
    take seconds in which no device works. Only samples of unequal cost have to be sorted first.
    """

    def __init__(self, batch_size: int, *, costs: Costs = None) -> None:
        self._batch_size = batch_size
        self._costs = costs
        self._queries: SimpleQueue[tuple[list[int], list[int]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ids: list[int] = []
        self._indices: list[int] | NDArray[np.int64] = []
        self._position = 0

    def put(self, ids: list[int], indices: list[int]) -> None:
        """Take a query's samples."""
        self._queries.put((ids, indices))

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def take(self) -> Batch | None:
        """Wait for the next batch."""
        with self._lock:
            while self._position >= len(self._ids):
                query = self._queries.get()
                if query is None:
                    self._queries.put(None)  # for the other streams
                    return None
                self._ids, self._indices = query
                if self._costs is not None:
                    self._ids, self._indices = _by_cost(*query, self._costs)
                self._position = 0
            start, end = self._position, self._position + self._batch_size
            self._position = end
            ids, indices = self._ids, self._indices
        return Batch(ids[start:end], np.asarray(indices[start:end], dtype=np.int64))

    def close(self) -> None:
        """Let the streams end once all queries are cut up."""
        self._queries.put(None)


class Collector:
    """Collects single samples into batches, by size and by the time that the oldest has waited."""

    def __init__(
        self,
        batch_size: int,
        max_wait_ns: int,
        *,
        costs: Costs = None,
    ) -> None:
        self._batch_size = batch_size
        self._costs = costs
        self._max_wait_ns = max_wait_ns
        # Written by `put` at the end and by the collecting stream at the front; list.extend, len and slicing
        # are atomic under the interpreter's lock. Indices are extended last: what they hold is complete. A
        # Condition in their place was tried: a put took 0.50 µs of LoadGen's own thread, in place of 0.17.
        self._ids: list[int] = []
        self._indices: list[int] = []
        self._add_ids = self._ids.extend
        self._add_indices = self._indices.extend
        self._ready: deque[Batch] = deque()
        self._wanted = _NEVER
        self._signal: SimpleQueue[None] = SimpleQueue()
        self._collecting = threading.Lock()
        self._flushed = False
        self._closed = False
        self._since = time.monotonic_ns()

    def put(self, ids: list[int], indices: list[int]) -> None:
        """Take samples; wake the collecting stream if they are what it waits for."""
        self._add_ids(ids)
        self._add_indices(indices)
        if len(self._indices) >= self._wanted:
            self._wanted = _NEVER
            self._signal.put(None)

    def flush(self) -> None:
        """Send out what is there; samples that come after this wait as usual again."""
        self._flushed = True
        self._signal.put(None)

    def close(self) -> None:
        """Let the streams end once everything is taken."""
        self._closed = True
        self._signal.put(None)

    def take(self) -> Batch | None:
        """Wait for the next batch.

        One stream at a time collects; the others wait for their turn. A backlog of samples that cost the same
        is cut into batches in one go, so that a long one costs no more per sample than a short one.
        """
        with self._collecting:
            if self._ready:
                return self._ready.popleft()
            count = self._wait()
            if count == 0:
                return None
            size = self._batch_size
            if count > size and self._costs is not None:
                return self._like_the_oldest(min(count, _CHOICE * size), self._costs)
            if count > size:
                count -= count % size  # the rest may still grow to a full batch
            ids, indices = self._ids[:count], self._indices[:count]
            del self._ids[:count]
            del self._indices[:count]
            array = np.array(indices, dtype=np.int64)
            for start in range(size, count, size):
                self._ready.append(Batch(ids[start : start + size], array[start : start + size]))
            return Batch(ids[:size], array[:size])

    def _like_the_oldest(self, count: int, costs: NDArray[np.int64]) -> Batch:
        """Cut the oldest sample off, with those of the first `count` that cost most nearly as much."""
        ids = self._ids[:count]
        indices = np.array(self._indices[:count], dtype=np.int64)
        of_each = costs[indices]
        by_likeness = np.argsort(np.abs(of_each - of_each[0]), kind="stable")  # the older one of equals
        chosen, rest = np.sort(by_likeness[: self._batch_size]), np.sort(by_likeness[self._batch_size :])
        self._ids[:count] = [ids[position] for position in rest.tolist()]
        self._indices[:count] = indices[rest].tolist()
        return Batch([ids[position] for position in chosen.tolist()], indices[chosen])

    def _wait(self) -> int:
        """Return how many samples there are once a batch may go out; 0 after `close`.

        `_since` is a time before which none of the samples that are there came: they go out at the latest
        `max_wait_ns` after it. Samples that came while nobody collected may so go out earlier, never later.
        """
        while True:
            count = len(self._indices)
            now = time.monotonic_ns()
            due = self._since + self._max_wait_ns
            if count >= self._batch_size or (count and (now >= due or self._flushed or self._closed)):
                if count <= self._batch_size:  # none is left over by this cut
                    self._since = now
                    self._flushed = False
                return count
            if count:
                self._sleep(self._batch_size, (due - now) / 1e9)
            elif self._closed:
                self._signal.put(None)  # for the other streams
                return 0
            else:
                self._flushed = False
                self._sleep(1, None)
                self._since = time.monotonic_ns()

    def _sleep(self, wanted: int, seconds: float | None) -> None:
        """Sleep until there are `wanted` samples, a flush, a close, or the time is over."""
        self._wanted = wanted
        if len(self._indices) >= wanted:  # they came before `put` could see what is wanted
            self._wanted = _NEVER
            return
        with suppress(Empty):
            self._signal.get(timeout=seconds)
        self._wanted = _NEVER


class Waiting:
    """Samples that wait for a place in a loop, in the order of arrival; a query's costly ones first."""

    def __init__(self, *, costs: Costs = None) -> None:
        self._costs = costs
        self._queries: deque[tuple[list[int], list[int]]] = deque()
        self._current = Batch([], np.empty(0, np.int64))
        self._position = 0
        self._closed = False
        self._changed = threading.Condition(threading.Lock())

    def put(self, ids: list[int], indices: list[int]) -> None:
        """Take a query's samples."""
        with self._changed:
            self._queries.append((ids, indices))
            self._changed.notify()

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Let the streams end once everything is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, most: int, *, wait: bool) -> Batch | None:
        """Return samples of one query, at most so many; None if there are none.

        Args:
            most: at least 1.
            wait: wait for them, until `close`.
        """
        with self._changed:
            while wait and not self._queries and self._is_used_up and not self._closed:
                self._changed.wait()
            if self._is_used_up:
                if not self._queries:
                    return None
                ids, indices = self._queries.popleft()
                self._current = Batch(*_by_cost(ids, indices, self._costs))
                self._position = 0
            start, end = self._position, self._position + most
            self._position = end
            if not self._is_used_up:
                self._changed.notify()  # another stream may wait since this query came
            return Batch(self._current.ids[start:end], self._current.indices[start:end])

    @property
    def _is_used_up(self) -> bool:
        return self._position >= len(self._current.ids)


def _by_cost(ids: list[int], indices: list[int], costs: Costs) -> tuple[list[int], NDArray[np.int64]]:
    """Return ids and indices with the costly samples first; as they are if all cost the same."""
    array = np.array(indices, dtype=np.int64)
    if costs is None:
        return ids, array
    order = np.argsort(-costs[array], kind="stable")
    return [ids[position] for position in order.tolist()], array[order]
