"""Text of others, made fit for a terminal and a log."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters but tab and line feed, marks that turn the direction of writing, halves of pairs."""


def printable(text: str) -> str:
    r"""Return a text that a terminal only shows: what would steer it stands as its escape, e.g. `\x1b`."""
    return _UNFIT.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def listed(lines: Sequence[str], most: int = 20) -> str:
    """Return a line break and a line for each, at most so many of them, and how many more there are."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "".join(f"\n  - {line}" for line in [*lines[:most], *more])
