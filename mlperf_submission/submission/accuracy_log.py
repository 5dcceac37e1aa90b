"""LoadGen's accuracy log, a JSON array of responses: one after the other, in the memory of the longest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlperf_submission.errors import LogError

LONGEST_RESPONSE = 1 << 30
"""Bytes; what goes on without an end for longer is no response."""

_BLOCK = 1 << 20
_ENTRY = re.compile(
    rb'\{\s*"seq_id"\s*:\s*(\d{1,19})\s*,\s*"qsl_idx"\s*:\s*(\d{1,19})\s*,\s*"data"\s*:\s*"([0-9A-Fa-f]*)"\s*'
)


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
