from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.harness.throughput import Completions, Throughput


def test_nothing_completed_is_an_empty_histogram() -> None:
    completions = Completions()
    completions.note(1.0, 0)
    assert completions.throughput() == Throughput()


def test_the_clock_starts_with_the_first_completion_and_ends_with_the_last() -> None:
    completions = Completions()
    for seconds, completed in [(1.0, 0), (2.0, 0), (3.0, 40), (4.0, 100), (9.0, 100)]:
        completions.note(seconds, completed)
    assert completions.throughput() == Throughput(seconds=(1.0, 2.0), samples=(40, 60))


def test_a_long_run_has_wider_intervals_instead_of_more() -> None:
    completions = Completions(intervals=8)
    for second in range(101):
        completions.note(float(second), 10 * second)
    found = completions.throughput()
    assert 4 <= len(found.samples) <= 8
    assert found.seconds[-1] == 100
    rates = [
        samples / (end - start)
        for start, end, samples in zip((0.0, *found.seconds), found.seconds, found.samples, strict=False)
    ]
    assert set(rates) == {10.0}


@given(st.lists(st.integers(0, 50), max_size=300), st.sampled_from([2, 4, 10]))
def test_every_completed_sample_is_in_exactly_one_interval(steps: list[int], intervals: int) -> None:
    completions, completed = Completions(intervals), 0
    for second, more in enumerate(steps):
        completed += more
        completions.note(float(second), completed)
    found = completions.throughput()
    assert sum(found.samples) == completed
    assert len(found.seconds) == len(found.samples) <= intervals
    assert list(found.seconds) == sorted(set(found.seconds))
