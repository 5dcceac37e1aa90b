"""When the timed part of a run began and ended, by its log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_FORM = "%m-%d-%Y %H:%M:%S.%f"


def times(values: Mapping[str, Any], later: Mapping[str, Any]) -> tuple[float, float]:
    """Return when the timed part began and ended, in seconds, or NaN.

    Both are of one clock: that of the machine, which may run in local time. `test_datetime` is UTC and cannot
    be compared with them.

    Args:
        values: first values of the log.
        later: last values of the keys that occur again (an accuracy run has several timed parts).
    """
    return _time(values.get("power_begin")), _time(later.get("power_end", values.get("power_end")))


def _time(value: object) -> float:
    try:
        return datetime.strptime(str(value), _FORM).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return math.nan
