"""Work on many items in threads, few of them in flight at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


def in_parallel(work: Callable[[int], _Result], items: Iterable[int], workers: int) -> Iterator[_Result]:
    """Call `work` on every item in threads and yield the results in order; few are in flight at a time.

    The first error ends it: what has not begun is dropped, what runs is waited for.
    """
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="samples") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 4 * max(workers, 1):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
