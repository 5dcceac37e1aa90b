"""Bytes that several threads move, added up."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
