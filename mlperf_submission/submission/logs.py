"""LoadGen's logs: the detail log (a JSON message per line) and the accuracy log (a JSON array of responses).

Both are read as streams: a log of gigabytes, or one line of that size, costs no more memory than a small one.
Reading follows the official log parser (rules P-13, P-14): UTF-8; lines that begin with `:::MLLOG` hold JSON,
all others are ignored; of a key that occurs more than once the first value counts.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from mlperf_submission.errors import LogError

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
_WHOLE = 8 << 20
"""Bytes; a log up to this size is read at once, a longer one line by line."""
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
_USUAL = re.compile(
    b"".join(
        (
            MARKER + rb'\s*\{"key": "(' + _PLAIN + rb')", "value": ' + _SIMPLE + rb', "time_ms": (' + _NUMBER,
            rb'), "namespace": ' + _TEXT + rb', "event_type": ' + _TEXT,
            rb', "metadata": \{"is_error": (true|false), "is_warning": (true|false)' + _REST,
        )
    )
)
"""A message as LoadGen writes it. Most are; the others go through the JSON parser whole."""
_BOOKKEEPING = re.compile(
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
_LIST_BEGINS = b'"value": ['
_LAST_ASCII = 0x7F
_ROOMS = threading.local()
_LISTS_KNOWN = 128
_LONGEST_KNOWN = 1 << 17
_TELLING = 64
_KNOWN_LISTS: dict[tuple[int, bytes], bytes] = {}
"""Lists of numbers that were looked at, by length and first bytes; at most 16 MiB."""
_COMMA, _ZERO = np.uint8(ord(",")), np.uint8(ord("0"))
_TIME_MS = re.compile(rb'"time_ms"\s*:\s*([0-9.eE+-]{1,40})')
_TELL_THE_TIME = frozenset({"test_datetime", "power_begin", "power_end"})
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
        lines: the number of the line (from 1) of the first occurrence of every kept key.
        written_ms: when the messages of `power_begin`, `power_end` and `test_datetime` were written, in ms
            since the log was begun.
        last_ms: the same of the last message.
    """

    path: Path
    values: Mapping[str, Any]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error_count: int = 0
    later_values: Mapping[str, Any] | None = None
    first_line_is_message: bool = True
    lines: Mapping[str, int] = field(default_factory=dict)
    written_ms: Mapping[str, float] = field(default_factory=dict)
    last_ms: float | None = None

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


def read_detail(
    path: Path, *, wanted: Callable[[str], bool] | None = None, bookkeeping: bool = True
) -> DetailLog:
    """Read a detail log (`mlperf_log_detail.txt`) in one pass and bounded memory.

    Args:
        path: the log file.
        wanted: keys to keep; all by default.
        bookkeeping: whether to keep what LoadGen says of its logger, the queries that it made and the samples
            that it loaded: more than a third of a log's messages, which only people read.

    Raises:
        LogError: the file cannot be read, is not UTF-8, or a line with the marker is no LoadGen message.
    """
    reader = _Reader(path, wanted, bookkeeping)
    try:
        with path.open("rb") as stream:
            room = _room()
            size = stream.readinto(room)
            if size > _WHOLE or room.find(b"\r", 0, size) >= 0:
                stream.seek(0)
                for number, line in _lines(stream):
                    reader.take_line(number, line)
            else:
                reader.take_all(room, size)
    except OSError as error:
        raise LogError(
            f"the log cannot be read: {error.strerror or error}", where=path, remedy="see that it exists"
        ) from error
    except UnicodeDecodeError as error:
        raise LogError(
            f"the log is not UTF-8: {error}", where=path, remedy="take LoadGen's own file"
        ) from error
    return reader.log()


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
    time_ms: float | None
    skipped: bool = False


class _Reader:
    """Collects what a detail log says, from all of its text or line by line."""

    def __init__(self, path: Path, wanted: Callable[[str], bool] | None, bookkeeping: bool) -> None:
        self.path = path
        self.bookkeeping = bookkeeping
        self.wanted = wanted
        self.values: dict[str, Any] = {}
        self.later: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.written_ms: dict[str, float] = {}
        self.last_ms: float | None = None
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.error_count = 0
        self.first: bool | None = None

    def log(self) -> DetailLog:
        """Return what was collected."""
        return DetailLog(
            self.path,
            self.values,
            tuple(self.errors),
            tuple(self.warnings),
            self.error_count,
            self.later,
            self.first is None or self.first,
            self.lines,
            self.written_ms,
            self.last_ms,
        )

    def take_all(self, data: bytearray, size: int) -> None:
        """Take the whole text of a log, the first `size` bytes of `data`; its lines end as LoadGen ends them.

        Most bytes of a log are one list of numbers and most lines are of one form, so both have ways of their
        own: this loop is the time that the validation of a round takes.
        """
        if size and np.frombuffer(data, np.uint8, size).max() > _LAST_ASCII:
            data[:size].decode("utf-8")
        self.first = data.startswith(MARKER, 0, size) if size else None
        usual, wanted, values, lines = _USUAL.match, self.wanted, self.values, self.lines
        keep: dict[bytes, str] = {}
        skipped = _BOOKKEEPING.match
        at, number = 0, 0
        while at < size:
            if not self.bookkeeping and (match := skipped(data, at, size)):
                number += data.count(b"\n", at, match.end())
                at = match.end()
                if at == size:
                    break
            number += 1
            match = usual(data, at, size)
            if match is None:
                end = data.find(b"\n", at, size)
                end = size if end < 0 else end
                if data.startswith(MARKER, at, end):
                    line = _without_long_list(data, at, end)
                    text = bytes(data[at:end]) if line is None else line
                    self._take(_message(text[len(MARKER) :], self.path, number, line is not None), number)
                at = end + 1
                continue
            at = match.end()
            raw, flag, text, integer, real, time, error, warning = match.groups()
            key = keep.get(raw)
            if key is None:
                name = raw.decode("ascii")
                key = keep[raw] = name if not wanted or wanted(name) else ""
            if error == b"true" or warning == b"true":
                value = _value(flag, text, integer, real)
                message = _Message(
                    raw.decode("ascii"), value, error == b"true", warning == b"true", float(time)
                )
                self._take(message, number)
            elif key:
                value = _value(flag, text, integer, real)
                if key not in values:
                    values[key] = value
                    lines[key] = number
                    if key in _TELL_THE_TIME:
                        self.written_ms[key] = float(time)
                elif values[key] != value:
                    self.later[key] = value
        self.last_ms = _last_time(data, size)

    def take_line(self, number: int, line: bytes) -> None:
        """Take one line without its end."""
        is_message = line.startswith(MARKER)
        self.first = is_message if self.first is None else self.first
        if not is_message:
            if not line.isascii():
                line.decode("utf-8")
            return
        short = _without_long_list(line, 0, len(line))
        text = line if short is None else short
        self._take(_message(text[len(MARKER) :], self.path, number, short is not None), number)

    def _take(self, message: _Message, number: int) -> None:
        if message.is_error:
            self.error_count += 1
            _keep(self.errors, message.value)
        if message.is_warning:
            _keep(self.warnings, message.value)
        if message.time_ms is not None:
            self.last_ms = message.time_ms
        if message.skipped or (self.wanted and not self.wanted(message.key)):
            return
        if message.key not in self.values:
            self.values[message.key] = message.value
            self.lines[message.key] = number
            if message.key in _TELL_THE_TIME and message.time_ms is not None:
                self.written_ms[message.key] = message.time_ms
        elif self.values[message.key] != message.value:
            self.later[message.key] = message.value


def _room() -> bytearray:
    """Return the memory that logs are read into, a thread's own.

    Fresh memory for each log would cost as much time as reading it.
    """
    if not hasattr(_ROOMS, "room"):
        _ROOMS.room = bytearray(_WHOLE + 1)
    return cast(bytearray, _ROOMS.room)


def _last_time(data: bytearray, size: int) -> float | None:
    """Return the time of the last message of a log."""
    begin = data.rfind(MARKER, 0, size)
    found = _TIME_MS.findall(data, begin, size) if begin >= 0 else []
    return _as_time(found[-1]) if found else None


def _value(flag: bytes | None, text: bytes | None, integer: bytes | None, real: bytes | None) -> Any:
    """Return the value of a usual message, of which one is given."""
    if integer is not None:
        return int(integer)
    if real is not None:
        return float(real)
    return text.decode("ascii") if text is not None else flag == b"true"


def _message(text: bytes, path: Path, number: int, is_short: bool) -> _Message:
    """Parse a message; `is_short`: its list of numbers was emptied, so its value is not kept."""
    if len(text) > LONGEST_MESSAGE:
        head = _KEY.match(text)
        if head and text.rstrip().endswith(b"}"):
            end = text[-4096:]
            time = _TIME_MS.search(end)
            return _Message(
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
        return _Message(
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


def _without_long_list(data: bytes | bytearray, at: int, end: int) -> bytes | None:
    """Return the line of `data` from `at` to `end` with its list of numbers emptied; None if it has none.

    Looking at the characters of a list is many times faster than parsing it. Comparing it with one that was
    looked at is faster still, and the seeds of a round give most of its logs the same lists.
    """
    if end - at <= LONG_LIST:
        return None
    begin = data.find(_LIST_BEGINS, at, end)
    close = data.find(b"]", begin, end)
    if begin < 0 or close < 0:
        return None
    begin += len(_LIST_BEGINS)
    if close == begin:
        return None
    kind = close - begin, bytes(data[begin : begin + _TELLING])
    known = _KNOWN_LISTS.get(kind)
    if known is not None and data.startswith(known, begin):
        return bytes(data[at:begin] + data[close:end])
    numbers = np.frombuffer(data, np.uint8, close - begin, begin)
    commas = numbers == _COMMA
    if commas[0] or commas[-1] or (commas[1:] & commas[:-1]).any():
        return None
    if not (commas | (numbers - _ZERO < 10)).all():  # unsigned: what is below 0 is above 9
        return None
    if close - begin <= _LONGEST_KNOWN:
        if len(_KNOWN_LISTS) >= _LISTS_KNOWN:
            _KNOWN_LISTS.clear()
        _KNOWN_LISTS[kind] = bytes(data[begin:close])
    return bytes(data[at:begin] + data[close:end])


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
    except (ValueError, OverflowError, RecursionError, KeyError, TypeError) as error:
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
