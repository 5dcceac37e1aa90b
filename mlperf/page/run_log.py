"""One LoadGen run as the page needs it: values with their line numbers, and when it began and ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.errors import LogError
from mlperf.logs import read_detail

_KEY = re.compile(rb'^:::MLLOG\s*\{\s*"key"\s*:\s*"([^"\\]{1,200})"')
_TIME = re.compile(rb'"time_ms"\s*:\s*([0-9.]{1,40})')
_STARTED = re.compile(rb'"key"\s*:\s*"test_datetime"\s*,\s*"value"\s*:\s*"([^"\\]{1,40})"')
_PART = 1 << 16
_LONGEST_RUN_MS = 30 * 24 * 3600 * 1000
"""Above this a time is LoadGen's wrapped negative number (bert Server logs of v4.1), not a time."""
_LINE_LIMIT = 1 << 16


@dataclass(frozen=True)
class RunLog:
    """A detail log, read for the page.

    Attributes:
        values: the first value of each key.
        lines: the line number (from 1) of each key's first occurrence.
        begin: when the test was started, UTC.
        end: when the last message was written, UTC.
    """

    values: Mapping[str, Any]
    lines: Mapping[str, int]
    begin: datetime | None
    end: datetime | None

    def number(self, key: str) -> float | None:
        """Return a value if it is a finite number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            as_float = float(value)
        except OverflowError:
            return None
        return as_float if as_float == as_float and abs(as_float) < 1e300 else None


def read_run_log(path: Path) -> RunLog:
    """Read a detail log for the page.

    Raises:
        LogError: the file cannot be read or is damaged.
    """
    log = read_detail(path, wanted=lambda key: key != "loaded_qsl_set")
    lines, elapsed_ms = _scan(path)
    begin = _moment(log.values.get("test_datetime"))
    end = begin + timedelta(milliseconds=elapsed_ms) if begin and elapsed_ms is not None else None
    return RunLog(log.values, lines, begin, end)


def read_times(path: Path) -> tuple[datetime | None, datetime | None]:
    """Return when a run began and ended, from the first and the last part of its log.

    Raises:
        LogError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_PART)
            stream.seek(max(path.stat().st_size - _PART, 0))
            tail = stream.read(_PART)
    except OSError as error:
        raise _unreadable(path, error) from error
    started = _STARTED.search(head)
    begin = _moment(started[1].decode("ascii", "replace")) if started else None
    times = [time for match in _TIME.finditer(tail) if (time := _float(match[1])) is not None]
    return begin, begin + timedelta(milliseconds=times[-1]) if begin and times else None


def _unreadable(path: Path, error: OSError) -> LogError:
    return LogError(f"the log cannot be read: {error.strerror}", where=path, remedy="see that it exists")


def _scan(path: Path) -> tuple[dict[str, int], float | None]:
    lines: dict[str, int] = {}
    last: float | None = None
    number = 0
    complete = True
    try:
        with path.open("rb") as stream:
            while line := stream.readline(_LINE_LIMIT):
                begins, complete = complete, line.endswith(b"\n")
                number += begins
                if begins and (match := _KEY.match(line)):
                    lines.setdefault(match[1].decode("utf-8", "replace"), number)
                    if (time := _TIME.search(line)) and (elapsed := _float(time[1])) is not None:
                        last = elapsed
    except OSError as error:
        raise _unreadable(path, error) from error
    return lines, last


def _float(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < _LONGEST_RUN_MS else None


def _moment(value: object) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
