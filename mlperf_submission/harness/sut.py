"""The system under test: one thread per stream takes samples, answers them and completes them in bulk.

Most benchmarks answer batches. Where samples take unequally long, a loop answers them, which each of them
enters as soon as there is room. In SingleStream and MultiStream LoadGen waits for its query anyway: its own
thread answers it, without the time that another one takes to wake up.

LoadGen's callbacks only hand over. Its binding wants one `QuerySampleResponse` per sample; these objects are
made once per stream, with the addresses of that stream's response buffer, and only their ids change.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import mlperf_loadgen as loadgen
import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import LoopStep, Responses
from mlperf_submission.harness.backends.base import Backend, LoopBackend
from mlperf_submission.harness.batching import BatchSource, Source, Waiting

LARGEST_COPIED_RESPONSE = 4096
"""Bytes per sample; larger responses are completed where they lie instead of from the stream's buffer."""


class Completer:
    """Completes batches of one stream; LoadGen copies what it wants before the call returns."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._buffer: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._offsets: NDArray[np.int64] = np.zeros(1, np.int64)
        self._made: list[loadgen.QuerySampleResponse] = []

    def complete(self, ids: list[int], responses: Responses) -> None:
        """Hand the responses of a batch to LoadGen; `responses` are in the order of `ids`."""
        count = len(ids)
        offsets = responses.offsets
        if len(offsets) != count + 1:
            raise ValueError(f"{len(offsets) - 1} responses for a batch of {count} samples")
        if not np.array_equal(offsets, self._offsets[: count + 1]):
            size = int(offsets[1] - offsets[0])
            even = size <= LARGEST_COPIED_RESPONSE and count <= self._batch_size
            if not (even and np.array_equal(offsets, np.arange(count + 1) * size)):
                complete_where_they_lie(ids, responses)
                return
            self._prepare(size)
        self._buffer[: int(offsets[count])] = responses.data
        made = self._made if count == self._batch_size else self._made[:count]
        for response, id_ in zip(made, ids, strict=True):
            response.id = id_
        if responses.token_counts is not None:
            for response, tokens in zip(made, responses.token_counts.tolist(), strict=True):
                response.n_tokens = tokens
        loadgen.QuerySamplesComplete(made)

    def _prepare(self, size: int) -> None:
        """Make the buffer and the response objects for responses of `size` bytes each."""
        self._buffer = np.empty(max(size, 1) * self._batch_size, np.uint8)
        self._offsets = np.arange(self._batch_size + 1, dtype=np.int64) * size
        address = self._buffer.ctypes.data
        self._made = [
            loadgen.QuerySampleResponse(0, address + number * size, size)
            for number in range(self._batch_size)
        ]


def complete_where_they_lie(ids: list[int], responses: Responses) -> None:
    """Hand responses of any lengths to LoadGen, with objects made for them."""
    data = np.ascontiguousarray(responses.data)
    addresses = (responses.offsets[:-1] + data.ctypes.data).tolist()
    sizes = np.diff(responses.offsets).tolist()
    if responses.token_counts is None:
        made = list(map(loadgen.QuerySampleResponse, ids, addresses, sizes))
    else:
        tokens = responses.token_counts.tolist()
        made = list(map(loadgen.QuerySampleResponse, ids, addresses, sizes, tokens))
    loadgen.QuerySamplesComplete(made)


def _complete_first_tokens(step: LoopStep) -> None:
    tokens = np.ascontiguousarray(step.first_tokens)
    size = tokens.itemsize
    made = [
        loadgen.QuerySampleResponse(id_, tokens.ctypes.data + row * size, size, 1)
        for row, id_ in enumerate(step.begun)
    ]
    loadgen.FirstTokenComplete(made)


@dataclass
class _Count:
    samples: int = 0
    batches: int = 0


class Streams(ABC):
    """One thread per stream of a backend, between LoadGen's queries and its completions.

    Args:
        source: takes the queries.
        streams: how many.
        on_error: called once, from a stream's thread, with what ended it. The run cannot go on after that.
    """

    def __init__(self, source: Source, streams: int, on_error: Callable[[BaseException], None]) -> None:
        self.source = source
        self._on_error = on_error
        self._counts = [_Count() for _ in range(streams)]
        self._threads = [
            threading.Thread(target=self._guarded, args=(stream,), name=f"stream-{stream}", daemon=True)
            for stream in range(streams)
        ]

    @property
    def completed(self) -> int:
        """How many samples have been completed so far."""
        return sum(count.samples for count in self._counts)

    @property
    def batches(self) -> int:
        """In how many batches, or steps of a loop."""
        return sum(count.batches for count in self._counts)

    def start(self) -> None:
        """Start the streams' threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close the source and wait for the threads to finish what is left in it."""
        self.source.close()
        for thread in self._threads:
            thread.join()

    @abstractmethod
    def _work(self, stream: int, count: _Count) -> None:
        """Answer samples until the source is closed and empty; count them."""

    def _guarded(self, stream: int) -> None:
        try:
            self._work(stream, self._counts[stream])
        except BaseException as error:
            self._on_error(error)


class SystemUnderTest(Streams):
    """The threads between a batch source and a backend.

    Args:
        backend: runs the batches.
        source: gives the batches.
        batch_size: the largest batch.
        on_error: see `Streams`.
    """

    def __init__(
        self,
        backend: Backend,
        source: BatchSource,
        batch_size: int,
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__(source, backend.streams, on_error)
        self._take, self._run = source.take, backend.run
        self._completers = [Completer(batch_size) for _ in range(backend.streams)]

    def _work(self, stream: int, count: _Count) -> None:
        take, run, complete = self._take, self._run, self._completers[stream].complete
        while (batch := take()) is not None:
            complete(batch.ids, run(stream, batch.indices))
            count.samples += len(batch.ids)
            count.batches += 1


class DirectSystem(Streams):
    """Answers each query in LoadGen's own thread, on the backend's first stream.

    Args:
        backend: runs the queries.
        batch_size: the largest batch; a query of more samples is answered in several.
        on_error: see `Streams`; the query stays unanswered, so that LoadGen issues no other.
    """

    def __init__(self, backend: Backend, batch_size: int, on_error: Callable[[BaseException], None]) -> None:
        super().__init__(self, 0, on_error)
        self._run = backend.run
        self._batch_size = batch_size
        self._completer = Completer(batch_size)
        self._count = _Count()
        self._counts = [self._count]

    def put(self, ids: list[int], indices: list[int]) -> None:
        """Answer a query's samples before it returns."""
        size = self._batch_size
        try:
            for start in range(0, len(ids), size):
                part = ids[start : start + size]
                batch = np.array(indices[start : start + size], dtype=np.int64)
                self._completer.complete(part, self._run(0, batch))
                self._count.samples += len(part)
                self._count.batches += 1
        except BaseException as error:
            self._on_error(error)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: nothing waits."""

    def _work(self, stream: int, count: _Count) -> None:
        raise NotImplementedError


class LoopSystem(Streams):
    """The threads between waiting samples and the loops of a backend, which are kept full.

    Args:
        backend: has a loop per stream.
        source: the samples that wait for room in one of them.
        on_error: see `Streams`.
        first_tokens: report the first token of each sample (Server with `use_token_latencies`).
    """

    def __init__(
        self,
        backend: LoopBackend,
        source: Waiting,
        on_error: Callable[[BaseException], None],
        *,
        first_tokens: bool = False,
    ) -> None:
        super().__init__(source, backend.streams, on_error)
        self._take, self._open_loop = source.take, backend.open_loop
        self._first_tokens = first_tokens

    def _work(self, stream: int, count: _Count) -> None:
        loop, take = self._open_loop(stream), self._take
        while True:
            while (room := loop.room) and (batch := take(room, wait=loop.is_idle)) is not None:
                loop.admit(batch.ids, batch.indices)
            if loop.is_idle:
                return
            step = loop.step()
            if step.begun and self._first_tokens:
                _complete_first_tokens(step)
            if step.finished:
                complete_where_they_lie(step.finished, step.responses)
            count.samples += len(step.finished)
            count.batches += 1
