"""LoadGen's logs: the detail log (a JSON message per line) and the accuracy log (a JSON array of responses).

Both are read as streams: a log of gigabytes, or one line of that size, costs no more memory than a small one.
Reading follows the official log parser (rules P-13, P-14): UTF-8; lines that begin with `:::MLLOG` hold JSON,
all others are ignored; of a key that occurs more than once the first value counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import LogError

MARKER = b":::MLLOG"
LONGEST_MESSAGE = 4 << 20
"""Bytes; of a longer message only its key and its error flag are read."""
LONGEST_RESPONSE = 1 << 30
"""Bytes; what goes on without an end for longer is no response."""
LONG_LIST = 4096
"""Bytes; a longer message whose value is a list of numbers (`loaded_qsl_set`) is checked, but not kept."""
MESSAGES_KEPT = 200
"""Errors and warnings of a log that are kept as text; more are only counted."""

_BLOCK = 1 << 20
_BUFFER = 1 << 17
_KEY = re.compile(rb'\s*\{\s*"key"\s*:\s*"([^"\\]*)"\s*,')
_IS_ERROR = re.compile(rb'"is_error"\s*:\s*true')
_IS_WARNING = re.compile(rb'"is_warning"\s*:\s*true')
_TEXT = rb'"[^"\\\x00-\x1f\x80-\xff]*"'
_INTEGER = rb"(?:0|[1-9]\d*)"
_USUAL = re.compile(
    rb'\s*\{"key": "([^"\\\x00-\x1f\x80-\xff]*)", "value": (true|false|'
    + (_TEXT + rb"|-?" + _INTEGER + rb'(?:\.\d+)?), "time_ms": ' + _INTEGER + rb'(?:\.\d+)?, "namespace": ')
    + (_TEXT + rb', "event_type": ' + _TEXT + rb', "metadata": \{"is_error": (true|false), "is_warning": ')
    + (rb'(true|false), "file": ' + _TEXT + rb', "line_no": ' + _INTEGER + rb', "pid": ' + _INTEGER)
    + (rb', "tid": ' + _INTEGER + rb"\}\}\s*")
)
"""A message as LoadGen writes it. Most are; the others go through the JSON parser whole."""
_ENTRY = re.compile(
    rb'\{\s*"seq_id"\s*:\s*(\d{1,19})\s*,\s*"qsl_idx"\s*:\s*(\d{1,19})\s*,\s*"data"\s*:\s*"([0-9A-Fa-f]*)"\s*'
)


@dataclass(frozen=True)
class DetailLog:
    """What a detail log says.

    Attributes:
        path: the log file.
        values: the first value of every key, as JSON gave it. Messages longer than `LONGEST_MESSAGE`, and
            lists of numbers longer than `LONG_LIST`, are left out.
        errors: the texts of messages that are marked as errors, at most `MESSAGES_KEPT`.
        warnings: the same for warnings.
        error_count: number of messages that are marked as errors.
        later_values: for keys that occur again with another value: their last value.
        first_line_is_message: whether the file begins with the marker (the newer checker asks for it, V-13).
    """

    path: Path
    values: Mapping[str, Any]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error_count: int = 0
    later_values: Mapping[str, Any] | None = None
    first_line_is_message: bool = True

    def require(self, key: str) -> Any:
        """Return the value of a key.

        Raises:
            LogError: the log has no such key.
        """
        if key not in self.values:
            raise LogError(
                f"the log has no {key}",
                where=self.path,
                remedy="the run ended early, or another LoadGen wrote the log; run it again",
            )
        return self.values[key]

    @property
    def valid(self) -> bool:
        """Whether LoadGen called the run VALID."""
        return bool(self.values.get("result_validity") == "VALID")


@dataclass(frozen=True)
class AccuracyLogEntry:
    """One response of an accuracy run.

    Attributes:
        seq_id: number of the response in the order of the queries' samples.
        qsl_idx: index of the sample in the data set.
        data: the response bytes.
        token_count: tokens that the response counts, where LoadGen logs them.
    """

    seq_id: int
    qsl_idx: int
    data: bytes
    token_count: int | None = None


def read_detail(path: Path, *, wanted: Callable[[str], bool] | None = None) -> DetailLog:
    """Read a detail log (`mlperf_log_detail.txt`) in one pass and bounded memory.

    Args:
        path: the log file.
        wanted: keys to keep; all by default.

    Raises:
        LogError: the file cannot be read, is not UTF-8, or a line with the marker is no LoadGen message.
    """
    values: dict[str, Any] = {}
    later: dict[str, Any] = {}
    errors: list[str] = []
    warnings: list[str] = []
    error_count = 0
    first: bool | None = None
    try:
        with path.open("rb", buffering=_BUFFER) as stream:
            for number, line in _lines(stream):
                is_message = line.startswith(MARKER)
                first = is_message if first is None else first
                if not is_message:
                    if not line.isascii():
                        line.decode("utf-8")
                    continue
                message = _usual(line) or _message(line[len(MARKER) :], path, number)
                if message.is_error:
                    error_count += 1
                    _keep(errors, message.value)
                if message.is_warning:
                    _keep(warnings, message.value)
                if message.skipped or (wanted and not wanted(message.key)):
                    continue
                if message.key not in values:
                    values[message.key] = message.value
                elif values[message.key] != message.value:
                    later[message.key] = message.value
    except OSError as error:
        raise LogError(
            f"the log cannot be read: {error.strerror or error}", where=path, remedy="see that it exists"
        ) from error
    except UnicodeDecodeError as error:
        raise LogError(
            f"the log is not UTF-8: {error}", where=path, remedy="take LoadGen's own file"
        ) from error
    return DetailLog(path, values, tuple(errors), tuple(warnings), error_count, later, first is None or first)


def read_accuracy(path: Path) -> Iterator[AccuracyLogEntry]:
    """Yield the responses of an accuracy log (`mlperf_log_accuracy.json`) one after the other.

    Memory is bounded by the longest response. Line breaks and blanks between the entries do not matter.

    Raises:
        LogError: the file cannot be read, is truncated, or holds something else than responses. Entries
            before the damage have been yielded by then.
    """
    count = 0
    try:
        with path.open("rb") as stream:
            pieces = _pieces(stream)
            for text, closed in pieces:
                if not closed:
                    _check_end(text, count, path)
                    return
                body = text.lstrip(b" \t\r\n,") if count else text.lstrip().removeprefix(b"[").lstrip()
                yield _entry(body, count, path)
                count += 1
    except OSError as error:
        raise LogError(
            f"the log cannot be read: {error.strerror or error}", where=path, remedy="see that it exists"
        ) from error


@dataclass(frozen=True, slots=True)
class _Message:
    key: str
    value: Any
    is_error: bool
    is_warning: bool
    skipped: bool = False


def _usual(line: bytes) -> _Message | None:
    match = _USUAL.fullmatch(line, len(MARKER))
    if not match:
        return None
    key, value, is_error, is_warning = match.groups()
    try:
        content = json.loads(value)
    except ValueError:  # an integer of thousands of digits; the caller says which line it is
        return None
    return _Message(key.decode("ascii"), content, is_error == b"true", is_warning == b"true")


def _message(text: bytes, path: Path, number: int) -> _Message:
    if len(text) > LONGEST_MESSAGE:
        head = _KEY.match(text)
        if head and text.rstrip().endswith(b"}"):
            end = text[-4096:]
            return _Message(
                head[1].decode("utf-8", "replace"),
                "(a message too long to keep)",
                bool(_IS_ERROR.search(end)),
                bool(_IS_WARNING.search(end)),
                skipped=True,
            )
    short = _without_long_list(text) if len(text) > LONG_LIST else None
    try:
        content = json.loads((short or text).decode("utf-8"))
        flags = content["metadata"]
        return _Message(
            content["key"],
            content["value"],
            bool(flags["is_error"]),
            bool(flags["is_warning"]),
            skipped=short is not None,
        )
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise LogError(
            f"line {number} is no LoadGen message ({type(error).__name__}: {str(error)[:80]}): {text[:60]!r}",
            where=path,
            remedy="the log is damaged or was edited; take LoadGen's own file, or run again",
        ) from error


def _without_long_list(text: bytes) -> bytes | None:
    """Return the message with its list of numbers emptied; None if it holds no such list.

    Most bytes of a log are such lists; looking at their characters is many times faster than parsing them.
    """
    begin = text.find(b'"value": [')
    end = text.find(b"]", begin)
    numbers = text[begin + 10 : end]
    if begin < 0 or end < 0 or numbers.translate(None, b"0123456789, ") or b",," in numbers:
        return None
    if b" " in numbers or numbers[:1] == b"," or numbers[-1:] == b",":
        return None
    return text[: begin + 10] + text[end:]


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield lines without their ends. Of a line over `LONGEST_MESSAGE`, its first and last parts, joined."""
    number = 0
    while line := stream.readline(LONGEST_MESSAGE + 1):
        number += 1
        if len(line) > LONGEST_MESSAGE and not line.endswith(b"\n"):
            tail = b""
            while more := stream.readline(_BLOCK):
                tail = (tail + more)[-8192:]
                if more.endswith(b"\n"):
                    break
            line += tail
        line = line.rstrip(b"\r\n")
        if b"\r" in line:  # text mode ends a line here too
            for part in line.split(b"\r"):
                yield number, part
        else:
            yield number, line


def _keep(texts: list[str], value: Any) -> None:
    if len(texts) < MESSAGES_KEPT:
        texts.append(str(value)[:1000])


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield the file cut after every `}`; the last piece is what follows, marked as not closed."""
    rest = bytearray()
    while block := stream.read(_BLOCK):
        start = 0
        while (end := block.find(b"}", start)) >= 0:
            rest += block[start:end]
            yield bytes(rest), True
            rest.clear()
            start = end + 1
        rest += block[start:]
        if len(rest) > LONGEST_RESPONSE:
            break
    yield bytes(rest), False


def _entry(text: bytes, count: int, path: Path) -> AccuracyLogEntry:
    match = _ENTRY.fullmatch(text)
    try:
        if match:
            return AccuracyLogEntry(int(match[1]), int(match[2]), bytes.fromhex(match[3].decode("ascii")))
        content = json.loads(text + b"}")
        data = bytes.fromhex(content["data"])
        token_count = content.get("token_count")
        return AccuracyLogEntry(
            int(content["seq_id"]),
            int(content["qsl_idx"]),
            data,
            None if token_count is None else int(token_count),
        )
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise LogError(
            f"entry {count + 1} of the accuracy log is damaged: {text[:80]!r}",
            where=path,
            remedy="take the full log of the run (not the truncated one of a submission), or run again",
        ) from error


def _check_end(text: bytes, count: int, path: Path) -> None:
    end = text.strip()
    if end == b"]" or (count == 0 and end.replace(b" ", b"").replace(b"\n", b"") == b"[]"):
        return
    raise LogError(
        f"the accuracy log breaks off after {count} entries: {end[:60]!r}",
        where=path,
        remedy="take the full log of the run (not the truncated one of a submission), or run again",
    )
