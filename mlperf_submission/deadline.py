"""Limits of time for work that waits for others: a deadline, and threads that nobody has to wait for.

A call into a network library can be neither cancelled nor timed out as a whole: a server that sends a byte
now and then holds it for ever. Such a call runs in a daemon thread. Whoever waits for it leaves when the time
is up, and the thread ends at its next check, or with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar

from mlperf_submission.errors import StepTimeoutError

Item = TypeVar("Item")
Result = TypeVar("Result")


class NotInTimeError(Exception):
    """A call took longer than it may."""


@dataclass(frozen=True)
class Limits:
    """When a transfer has to end although it is not finished.

    Attributes:
        deadline: on `time.monotonic`'s clock, in seconds; None for none.
        stall_seconds: how long a server may send nothing.
        stopped: ends all transfers that share it.
        ended_by: the errors that ended them, the first first.
    """

    deadline: float | None = None
    stall_seconds: float = 30
    stopped: threading.Event = field(default_factory=threading.Event)
    ended_by: list[BaseException] = field(default_factory=list)

    def end(self, error: BaseException) -> BaseException:
        """End all transfers that share these limits; return the error that stands for all.

        A transfer that was ended for the error of another says only that it was ended.
        """
        self.ended_by.append(error)
        self.stopped.set()
        return self.ended_by[0] if isinstance(error, StepTimeoutError) else error

    def check(self) -> None:
        """Raise StepTimeoutError if it is over."""
        if self.stopped.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline):
            raise _over()

    @property
    def left(self) -> float | None:
        """The seconds to the deadline, at least 0; None if there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def seconds(self, most: float) -> float:
        """Return how long one wait may take: at most `most`, and not beyond the deadline."""
        left = self.left
        return max(0.01, most if left is None else min(most, left))


def within(seconds: float | None, call: Callable[[], Result]) -> Result:
    """Make a call in a daemon thread and return its result.

    Args:
        seconds: how long to wait; None waits without a limit, but leaves at an interrupt.
        call: goes on alone when it takes longer.

    Raises:
        NotInTimeError: the call takes longer.
        Exception: what the call raises.
    """
    future: Future[Result] = Future()
    threading.Thread(target=_settle, args=(future, call), name="limited", daemon=True).start()
    if not wait([future], timeout=seconds).done:
        raise NotInTimeError
    return future.result()


def limited(limits: Limits, call: Callable[[], Result]) -> Result:
    """Make a call that checks these limits itself, and do not wait for it beyond their deadline.

    Raises:
        StepTimeoutError: the deadline passed.
        Exception: what the call raises.
    """
    try:
        return within(limits.left, call)
    except NotInTimeError:
        limits.stopped.set()
        raise _over() from None
    except BaseException as error:
        raise limits.end(error)  # noqa: B904 - it is this error, or the one that it came of


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, limits: Limits
) -> list[Result]:
    """Call a function for each item, `workers` at a time; return the results in the order of the items.

    After an error, or when the limits pass, nothing new is started and the limits tell the running calls to
    end; this call does not wait for one that is stuck in a silent connection.

    Raises:
        StepTimeoutError: the deadline passed.
        Exception: the first that a call raised.
    """
    jobs: SimpleQueue[tuple[Future[Result], Item]] = SimpleQueue()
    futures: list[Future[Result]] = []
    for item in items:
        futures.append(Future())
        jobs.put((futures[-1], item))
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                future, item = jobs.get_nowait()
            except Empty:
                return
            _settle(future, lambda item=item: function(item))  # type: ignore[misc]
            if future.exception() is not None:
                ended.set()

    for number in range(min(workers, len(futures))):
        threading.Thread(target=work, name=f"parallel-{number}", daemon=True).start()
    try:
        done, waiting = wait(futures, timeout=limits.left, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        if waiting:
            raise _over()
        return [future.result() for future in futures]
    except BaseException as error:
        raise limits.end(error)  # noqa: B904 - it is this error, or the one that it came of
    finally:
        ended.set()


def _settle(future: Future[Result], call: Callable[[], Result]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def _over() -> StepTimeoutError:
    return StepTimeoutError(
        "the transfer did not finish in time and was ended",
        remedy="start the same command again (it goes on where it ended), or raise the time limit",
    )
