"""LoadGen's detail log, a JSON message per line: the first value of every key, errors, warnings, times.

It is read as a stream: a log of gigabytes, or one line of that size, costs no more memory than a small one.
Reading follows the official log parser (rules P-13, P-14): UTF-8; lines that begin with `:::MLLOG` hold JSON,
all others are ignored; of a key that occurs more than once the first value counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mlperf_submission.errors import LogError
from mlperf_submission.submission.log_memory import WHOLE, LogMemory
from mlperf_submission.submission.messages import (
    BEHIND_LIST,
    LIST,
    LONGEST_MESSAGE,
    MARKER,
    Message,
    last_time,
    next_usual,
    parse_message,
    value_of,
)

MESSAGES_KEPT = 200
"""Errors and warnings of a log that are kept as text; more are only counted."""

_BLOCK = 1 << 20
_TELL_THE_TIME = frozenset({"test_datetime", "power_begin", "power_end"})


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


def read_detail(
    path: Path,
    *,
    keys: frozenset[str] | None = None,
    memory: LogMemory | None = None,
) -> DetailLog:
    """Read a detail log (`mlperf_log_detail.txt`) in one pass and bounded memory.

    Args:
        path: the log file.
        keys: keys to keep, all by default; one that ends in `_` stands for all that begin with it. Most
            messages of a log are of keys that few ask for.
        memory: what is kept from log to log; whoever reads many hands in one.

    Raises:
        LogError: the file cannot be read, is not UTF-8, or a line with the marker is no LoadGen message.
    """
    memory = memory or LogMemory()
    reader = _Reader(path, keys, memory)
    try:
        with path.open("rb") as stream:
            room = memory.room
            size = stream.readinto(room)
            if size > WHOLE or room.find(b"\r", 0, size) >= 0:
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


class _Reader:
    """Collects what a detail log says, from all of its text or line by line."""

    def __init__(self, path: Path, keys: frozenset[str] | None, memory: LogMemory) -> None:
        self.path = path
        self.memory = memory
        self.keys = keys
        self.prefixes = tuple(key for key in keys or () if key.endswith("_"))
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
        self.first = data.startswith(MARKER, 0, size) if size else None
        usual, begins_list, ends_list = next_usual(self.keys).match, LIST.match, BEHIND_LIST.match
        at, number = 0, 1
        while at < size and (match := usual(data, at, size)):  # it matches, if only the empty text
            begin, at = at, match.end()
            raw, flag, text, integer, real, time, error, warning = match.groups()
            if raw is not None:
                number += data.count(b"\n", begin, match.start(1))
                key, value = raw.decode("ascii"), value_of(flag, text, integer, real)
                if error == b"false" == warning:
                    self._keep(key, value, float(time), number)
                else:
                    marks = error == b"true", warning == b"true"
                    self._take(Message(key, value, *marks, float(time)), number)
                number += 1
                continue
            number += data.count(b"\n", begin, at)
            if match := begins_list(data, at, size):
                close = self.memory.end_of_numbers(data, match.end(), size)
                if close >= 0 and (match := ends_list(data, close, size)):
                    at, number = match.end(), number + 1
                    continue
            end = data.find(b"\n", at, size)
            end = size if end < 0 else end
            try:
                self.take_line(number, bytes(data[at:end]))
            except UnicodeDecodeError:
                data[:size].decode("utf-8")  # says where in the file it is
            at, number = end + 1, number + 1
        self.last_ms = last_time(data, size)

    def take_line(self, number: int, line: bytes) -> None:
        """Take one line without its end."""
        is_message = line.startswith(MARKER)
        self.first = is_message if self.first is None else self.first
        if not is_message:
            if not line.isascii():
                line.decode("utf-8")
            return
        short = self.memory.without_long_list(line)
        text = line if short is None else short
        self._take(parse_message(text[len(MARKER) :], self.path, number, short is not None), number)

    def _take(self, message: Message, number: int) -> None:
        if message.is_error:
            self.error_count += 1
            _add_text(self.errors, message.value)
        if message.is_warning:
            _add_text(self.warnings, message.value)
        if message.time_ms is not None:
            self.last_ms = message.time_ms
        if not message.skipped and self._wants(message.key):
            self._keep(message.key, message.value, message.time_ms, number)

    def _wants(self, key: str) -> bool:
        return self.keys is None or key in self.keys or key.startswith(self.prefixes)

    def _keep(self, key: str, value: Any, time_ms: float | None, number: int) -> None:
        if key not in self.values:
            self.values[key] = value
            self.lines[key] = number
            if key in _TELL_THE_TIME and time_ms is not None:
                self.written_ms[key] = time_ms
        elif self.values[key] != value:
            self.later[key] = value


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


def _add_text(texts: list[str], value: Any) -> None:
    if len(texts) < MESSAGES_KEPT:
        texts.append(str(value)[:1000])
