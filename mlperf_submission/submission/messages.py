"""One message of a detail log: the forms that LoadGen writes, and what any other JSON message says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError

MARKER = b":::MLLOG"
LONGEST_MESSAGE = 4 << 20
"""Bytes; of a longer message only its key and its error flag are read."""

_KEY = re.compile(rb'\s*\{\s*"key"\s*:\s*"([^"\\]*)"\s*,')
_IS_ERROR = re.compile(rb'"is_error"\s*:\s*true')
_IS_WARNING = re.compile(rb'"is_warning"\s*:\s*true')
_PLAIN = rb'[^"\\\x00-\x1f\x80-\xff]*'
_TEXT = b'"' + _PLAIN + b'"'
_INTEGER = rb"(?:0|[1-9]\d{0,99})"
_NUMBER = _INTEGER + rb"(?:\.\d+)?"
_SIMPLE = rb'(?:(true|false)|"(' + _PLAIN + rb')"|(-?' + _INTEGER + rb")|(-?" + _NUMBER + rb"(?:e[+-]?\d+)?))"
_REST = b"".join(
    (
        rb', "file": '
        + _TEXT
        + rb', "line_no": '
        + _INTEGER
        + rb', "pid": '
        + _INTEGER
        + rb', "tid": '
        + _INTEGER,
        rb"\}\}[ \t]*(?:\n|\Z)",
    )
)
USUAL = re.compile(
    b"".join(
        (
            MARKER + rb'\s*\{"key": "(' + _PLAIN + rb')", "value": ' + _SIMPLE + rb', "time_ms": (' + _NUMBER,
            rb'), "namespace": ' + _TEXT + rb', "event_type": ' + _TEXT,
            rb', "metadata": \{"is_error": (true|false), "is_warning": (true|false)' + _REST,
        )
    )
)
"""A message as LoadGen writes it. Most are; the others go through the JSON parser whole."""
BOOKKEEPING = re.compile(
    b"".join(
        (
            rb"(?:" + MARKER + rb' \{"key": "(?:(?:logger|generated)_[a-z_]*", "value": -?' + _NUMBER,
            rb'|loaded_qsl_set", "value": \[(?=[0-9,]{1,3000}\])\d+(?:,\d+)*\])',
            rb', "time_ms": ' + _NUMBER + rb', "namespace": ' + _TEXT + rb', "event_type": ' + _TEXT,
            rb', "metadata": \{"is_error": false, "is_warning": false' + _REST + rb")+",
        )
    )
)
"""Messages of LoadGen about its own logger, the queries that it made and the samples that it loaded."""
_TIME_MS = re.compile(rb'"time_ms"\s*:\s*([0-9.eE+-]{1,40})')


@dataclass(frozen=True, slots=True)
class Message:
    """What a message says; the value of a `skipped` one is not kept."""

    key: str
    value: Any
    is_error: bool
    is_warning: bool
    time_ms: float | None
    skipped: bool = False


def value_of(flag: bytes | None, text: bytes | None, integer: bytes | None, real: bytes | None) -> Any:
    """Return the value of a usual message, of which one is given."""
    if integer is not None:
        return int(integer)
    if real is not None:
        return float(real)
    return text.decode("ascii") if text is not None else flag == b"true"


def parse_message(text: bytes, path: Path, number: int, is_short: bool) -> Message:
    """Parse a message; `is_short`: its list of numbers was emptied, so its value is not kept."""
    if len(text) > LONGEST_MESSAGE:
        head = _KEY.match(text)
        if head and text.rstrip().endswith(b"}"):
            end = text[-4096:]
            time = _TIME_MS.search(end)
            return Message(
                head[1].decode("utf-8", "replace"),
                "(a message too long to keep)",
                bool(_IS_ERROR.search(end)),
                bool(_IS_WARNING.search(end)),
                _as_time(time[1]) if time else None,
                skipped=True,
            )
    try:
        content = json.loads(text.decode("utf-8"))
        flags = content["metadata"]
        if not isinstance(content["key"], str):
            raise TypeError("its key is no text")
        return Message(
            content["key"],
            content["value"],
            bool(flags["is_error"]),
            bool(flags["is_warning"]),
            _as_time(content.get("time_ms")),
            skipped=is_short,
        )
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise LogError(
            f"line {number} is no LoadGen message ({type(error).__name__}: {str(error)[:80]}): {text[:60]!r}",
            where=path,
            remedy="the log is damaged or was edited; take LoadGen's own file, or run again",
        ) from error


def _as_time(value: object) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def last_time(data: bytearray, size: int) -> float | None:
    """Return the time of the last message of a log."""
    begin = data.rfind(MARKER, 0, size)
    found = _TIME_MS.findall(data, begin, size) if begin >= 0 else []
    return _as_time(found[-1]) if found else None
