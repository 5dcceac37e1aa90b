"""Waiting for what has to come, on a machine of any speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 900.0
"""Seconds, more than whatever a test waits for takes on a slow and busy machine; it ends tests that hang."""


def until(condition: Callable[[], T], what: str = "what a test waits for", pause: float = 0.02) -> T:
    """Return what a condition returns once it holds.

    Raises:
        AssertionError: it did not hold in all that time.
    """
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(pause)
    return value
