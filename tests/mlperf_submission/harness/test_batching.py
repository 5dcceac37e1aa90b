from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlperf_submission.harness.batching import Batch, BatchSource, Collector, QueryCutter, Waiting
from tests.waiting import until

FOREVER_NS = 3600 * 10**9
COSTS = np.arange(7) * 10


class Streams:
    """Threads that take batches until the source closes, each busy for a while with every batch."""

    def __init__(self, source: BatchSource, count: int, busy_seconds: float = 0.0) -> None:
        self.batches: list[Batch] = []
        self.taken_at: list[float] = []
        self._source = source
        self._busy_seconds = busy_seconds
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (batch := self._source.take()) is not None:
            self.taken_at.append(time.monotonic())
            self.batches.append(batch)
            time.sleep(self._busy_seconds)

    def join(self) -> None:
        self._source.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def answered(self) -> list[tuple[int, int]]:
        return sorted(
            pair for batch in self.batches for pair in zip(batch.ids, batch.indices.tolist(), strict=True)
        )


def numbered(sizes: list[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield queries of these sizes; ids count up, the index of id i is i % 7."""
    first = 10**15
    for size in sizes:
        ids = list(range(first, first + size))
        first += size
        yield ids, [number % 7 for number in ids]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=30),
    batch_size=st.integers(1, 16),
    streams=st.integers(1, 5),
    wait_us=st.sampled_from([0, 100, 2000]),
    flush_after=st.sets(st.integers(0, 30)),
    busy=st.sampled_from([0.0, 0.0005]),
    costs=st.sampled_from([None, COSTS]),
)
def test_collector_hands_out_every_sample_once_in_batches_of_at_most_the_size(
    sizes: list[int],
    batch_size: int,
    streams: int,
    wait_us: int,
    flush_after: set[int],
    busy: float,
    costs: NDArray[np.int64] | None,
) -> None:
    source = Collector(batch_size, wait_us * 1000, costs=costs)
    workers = Streams(source, streams, busy)
    expected = []
    for number, (ids, indices) in enumerate(numbered(sizes)):
        source.put(ids, indices)
        expected += list(zip(ids, indices, strict=True))
        if number in flush_after:
            source.flush()
    workers.join()
    assert workers.answered() == sorted(expected)
    assert all(1 <= len(batch.ids) <= batch_size for batch in workers.batches)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 200), max_size=8),
    batch_size=st.integers(1, 16),
    streams=st.integers(1, 5),
)
def test_cutter_cuts_queries_into_full_batches_and_one_rest_each(
    sizes: list[int], batch_size: int, streams: int
) -> None:
    source = QueryCutter(batch_size)
    workers = Streams(source, streams)
    expected = []
    for ids, indices in numbered(sizes):
        source.put(ids, indices)
        expected += list(zip(ids, indices, strict=True))
    workers.join()
    assert workers.answered() == sorted(expected)
    rests = sorted(len(batch.ids) for batch in workers.batches if len(batch.ids) < batch_size)
    assert rests == sorted(size % batch_size for size in sizes if size % batch_size)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (QueryCutter(4, costs=COSTS), [[60, 50, 50, 40], [40, 30, 30, 20], [20, 10, 10, 0]]),
        (Collector(4, FOREVER_NS, costs=COSTS), [[0, 10, 20, 10], [60, 50, 40, 50], [30, 30, 40, 20]]),
    ],
    ids=["the costly ones first", "the oldest first"],
)
def test_samples_of_like_cost_share_a_batch_and_keep_their_ids(
    source: BatchSource, expected: list[list[int]]
) -> None:
    source.put(list(range(100, 112)), [0, 6, 1, 5, 2, 4, 3, 3, 4, 2, 5, 1])
    workers = Streams(source, 1)
    workers.join()
    costs = [[int(COSTS[index]) for index in batch.indices] for batch in workers.batches]
    assert costs == expected
    assert workers.answered() == sorted(
        zip(range(100, 112), [0, 6, 1, 5, 2, 4, 3, 3, 4, 2, 5, 1], strict=True)
    )


@settings(max_examples=100, deadline=None)
@given(costs=st.lists(st.integers(0, 9), min_size=1, max_size=400), size=st.integers(1, 5))
def test_each_batch_has_the_oldest_sample_and_those_most_like_it(costs: list[int], size: int) -> None:
    """Of the first 64 batches' worth of samples, so that a long queue costs no more than a short one."""
    source = Collector(size, 0, costs=np.array(costs))
    waiting = list(range(len(costs)))
    source.put([1000 + index for index in waiting], waiting)
    source.close()
    while (batch := source.take()) is not None:
        seen = waiting[: 64 * size]
        nearest = sorted(seen, key=lambda index: (abs(costs[index] - costs[seen[0]]), index))
        assert batch.indices.tolist() == sorted(nearest[:size])
        assert batch.ids == [1000 + index for index in batch.indices.tolist()]
        waiting = [index for index in waiting if index not in batch.indices]
    assert waiting == []


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=12),
    most=st.integers(1, 16),
    streams=st.integers(1, 4),
)
def test_waiting_samples_are_handed_out_once_and_never_more_than_there_is_room_for(
    sizes: list[int], most: int, streams: int
) -> None:
    source = Waiting()
    taken: list[list[Batch]] = [[] for _ in range(streams)]

    def work(stream: int) -> None:
        while (batch := source.take(most, wait=True)) is not None:
            taken[stream].append(batch)

    threads = [threading.Thread(target=work, args=(stream,), daemon=True) for stream in range(streams)]
    for thread in threads:
        thread.start()
    expected = []
    for ids, indices in numbered(sizes):
        source.put(ids, indices)
        expected += list(zip(ids, indices, strict=True))
    source.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    batches = [batch for part in taken for batch in part]
    assert all(1 <= len(batch.ids) <= most for batch in batches)
    found = [pair for batch in batches for pair in zip(batch.ids, batch.indices.tolist(), strict=True)]
    assert sorted(found) == sorted(expected)
    if streams == 1:
        assert found == expected, "the order of arrival"


def test_whoever_works_does_not_wait_for_samples() -> None:
    source = Waiting(costs=COSTS)
    assert source.take(4, wait=False) is None
    source.put([1, 2, 3], [2, 5, 4])
    first = source.take(2, wait=False)
    assert first is not None and first.ids == [2, 3], "the costly ones first"
    assert [batch and batch.ids for batch in (source.take(2, wait=False), source.take(2, wait=False))] == [
        [1],
        None,
    ]


def test_a_full_batch_goes_out_without_waiting_for_the_deadline() -> None:
    source = Collector(4, FOREVER_NS)
    workers = Streams(source, 1)
    for number in range(8):
        source.put([number], [number])
    until(lambda: len(workers.batches) == 2)
    assert [len(batch.ids) for batch in workers.batches] == [4, 4]
    workers.join()


def test_an_incomplete_batch_goes_out_at_its_deadline() -> None:
    source = Collector(1000, 20_000_000)
    workers = Streams(source, 2)
    put_at = time.monotonic()
    source.put([1], [5])
    until(lambda: len(workers.batches) == 1)
    assert workers.taken_at[0] - put_at >= 0.02  # it did wait for others
    workers.join()


def test_an_incomplete_batch_without_a_deadline_in_sight_waits_for_the_flush() -> None:
    source = Collector(1000, FOREVER_NS)
    workers = Streams(source, 2)
    source.put([1, 2], [5, 6])
    time.sleep(0.05)
    assert workers.batches == []
    source.flush()
    until(lambda: len(workers.batches) == 1)
    source.put([3], [7])
    time.sleep(0.05)
    assert len(workers.batches) == 1  # a flush concerns only what was there
    workers.join()
    assert workers.answered() == [(1, 5), (2, 6), (3, 7)]


def test_a_backlog_is_cut_into_full_batches() -> None:
    source = Collector(8, 0)
    for number in range(20):
        source.put([number], [number])
    workers = Streams(source, 1)
    workers.join()
    assert [len(batch.ids) for batch in workers.batches] == [8, 8, 4]
