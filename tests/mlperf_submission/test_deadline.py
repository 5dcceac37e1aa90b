"""Work that is not waited for beyond its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mlperf_submission.deadline import Limits, NotInTimeError, in_parallel, limited, within
from mlperf_submission.errors import SourceError, StepTimeoutError


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that comes only when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_that_hangs_is_left_and_its_limits_tell_it_to_end(never: threading.Event) -> None:
    with pytest.raises(NotInTimeError):
        within(0.05, never.wait)
    limits = Limits(time.monotonic() + 0.05)
    with pytest.raises(StepTimeoutError, match="not finish in time"):
        limited(limits, never.wait)
    assert limits.stopped.is_set()
    with pytest.raises(StepTimeoutError):
        in_parallel(lambda _: never.wait(), range(3), workers=2, limits=Limits(time.monotonic() + 0.05))


def test_results_keep_their_order_and_the_first_error_ends_the_work() -> None:
    assert within(None, lambda: 7) == limited(Limits(), lambda: 7) == 7
    assert in_parallel(lambda n: n * n, range(50), workers=4, limits=Limits()) == [n * n for n in range(50)]
    assert in_parallel(str, [], workers=4, limits=Limits()) == []
    limits, done = Limits(), []

    def work(number: int) -> None:
        if number == 3:
            raise SourceError("number 3")
        limits.check()
        done.append(number)

    with pytest.raises(SourceError, match="number 3"):
        in_parallel(work, range(1000), workers=1, limits=limits)
    assert limits.stopped.is_set()
    assert done == [0, 1, 2]


def test_nobody_waits_at_the_end_of_the_process_for_a_thread_that_hangs(never: threading.Event) -> None:
    with pytest.raises(NotInTimeError):
        within(0.01, never.wait)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "limited")


def test_what_ends_the_others_is_raised_though_they_say_first_that_they_were_ended() -> None:
    limits = Limits()
    told = threading.Event()

    def breaks(_: int) -> None:
        raise SourceError("the file is a link", where="there", remedy="remove it")

    def group(number: int) -> None:
        if number:
            while True:
                try:
                    limits.check()
                except StepTimeoutError:
                    told.set()
                    raise
                time.sleep(0.001)
        try:
            in_parallel(breaks, [0], workers=1, limits=limits)
        finally:
            told.wait(60)
            time.sleep(0.05)  # the other has said so by now

    with pytest.raises(SourceError, match="a link"):
        in_parallel(group, [0, 1], workers=2, limits=limits)
