"""Work on many items in threads that ends at the first error and at the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from storage.transfer import Limits

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    pool = ThreadPoolExecutor(workers, thread_name_prefix="store")
    try:
        futures = [pool.submit(function, item) for item in items]
        left = None if limits.deadline is None else max(0.0, limits.deadline - time.monotonic())
        done, waiting = wait(futures, timeout=left, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        if waiting:
            limits.check()
        return [future.result() for future in futures]
    except BaseException:
        limits.stopped.set()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class ByteCounter:
    """Adds up bytes from several threads and reports them."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._total, self._done, self._report = total, 0, report
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        """Add bytes that were done."""
        with self._lock:
            self._done += count
            self._report(self._done, self._total)
