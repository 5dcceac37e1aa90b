"""One message of a detail log: the forms that LoadGen writes, and what any other JSON message says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError

MARKER = b":::MLLOG"
LONGEST_MESSAGE = 4 << 20
"""Bytes; of a longer message only its key and its error flag are read."""

_KEY = re.compile(rb'\s*\{\s*"key"\s*:\s*"([^"\\]*)"\s*,')
_IS_ERROR = re.compile(rb'"is_error"\s*:\s*true')
_IS_WARNING = re.compile(rb'"is_warning"\s*:\s*true')
_PLAIN = rb"[ !#-\[\]-\x7f]*"
_ESCAPED = _PLAIN + rb'(?:\\["\\/bfnrt]' + _PLAIN + b")*"
_WHOLE = rb"(?:0|[1-9][0-9]{0,99})"  # Python's JSON refuses integers of thousands of digits
_TIME = _WHOLE + rb"(?:\.[0-9]+)?"
_REAL = rb"-?" + _TIME + rb"(?:e[+-]?[0-9]+)?"
_LIST = rb"\[(?=[0-9,]{1,1000}\])[0-9]+(?:,[0-9]+)*\]"
_BEGIN = MARKER + rb'[ \t]*\{"key": "'


def _behind(time: bytes, mark: bytes) -> bytes:
    """Return the pattern of what LoadGen writes behind a value; `mark` says errors and warnings."""
    return b"".join(
        (
            rb', "time_ms": %s, "namespace": "mlperf::logging", "event_type": "POINT_IN_TIME"' % time,
            rb', "metadata": \{"is_error": %s, "is_warning": %s, "file": "%s"' % (mark, mark, _PLAIN),
            rb', "line_no": %s, "pid": %s, "tid": %s\}\}[ \t]*(?:\n|\Z)' % (_WHOLE, _WHOLE, _WHOLE),
        )
    )


_USUAL = rb'%s(%s)", "value": (?:(true|false)|"(%s)"|(%s)|(%s))%s' % (
    *(_BEGIN, _PLAIN, _PLAIN, b"-?" + _WHOLE, _REAL),
    _behind(b"(" + _TIME + b")", b"(true|false)"),
)
"""A message as LoadGen writes it. Most are; the others go through the JSON parser whole."""
LIST = re.compile(_BEGIN + _PLAIN + rb'", "value": \[')
"""A usual message whose value is a list, up to the list's first number."""
BEHIND_LIST = re.compile(rb"\]" + _behind(_TIME, b"false"))
"""What stands behind the last number of a list in a usual message that is no error and no warning."""


@cache
def next_usual(keys: frozenset[str] | None) -> re.Pattern[bytes]:
    """Return the pattern of usual messages that nobody wants, one after the other, and one that is wanted.

    The groups are those of the wanted one, which may be missing: its key, its value as a flag, text, integer
    or real number, its time, whether it is an error, and whether a warning.

    Args:
        keys: the keys that are wanted, None: all. One that ends in `_` stands for all that begin with it.
            Errors and warnings are wanted, whatever their keys are.
    """
    if keys is None:
        return re.compile(b"(?:%s|)" % _USUAL)
    wanted = "|".join(re.escape(key) if key.endswith("_") else f'{re.escape(key)}"' for key in sorted(keys))
    value = rb'(?:%s|"%s"|%s|true|false)' % (_REAL, _ESCAPED, _LIST)
    key = rb"(?!%s)%s" % (wanted.encode(), _PLAIN)
    unwanted = rb'%s%s", "value": %s%s' % (_BEGIN, key, value, _behind(_TIME, b"false"))
    return re.compile(b"(?:%s)*(?:%s|)" % (unwanted, _USUAL))


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
