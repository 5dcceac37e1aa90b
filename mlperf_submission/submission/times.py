"""When a run began and ended, by its log, and which runs overlap. Every time here is UTC.

LoadGen writes two kinds of time into a log (`loadgen/logging.cc`). `power_begin` and `power_end`, when the
timed part began and ended, are UTC. `test_datetime`, when the log was begun, is the *local* time of the
machine, although a Z stands behind it. `time_ms` of a message counts from the begin of the log, by a clock of
its own. So the begin of a log in UTC is `power_end` less the time at which that message was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from mlperf_submission.submission.detail_log import DetailLog

_FORM = "%m-%d-%Y %H:%M:%S.%f"
_USUAL = re.compile(r"(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{3})", re.ASCII)
_LONGEST_RUN_MS = 30 * 24 * 3600 * 1000
"""Above this a time is LoadGen's wrapped negative number (bert Server logs of v4.1), not a time."""
RESOLUTION = timedelta(seconds=1)
"""Runs that share less than this do not overlap; the clocks of two logs agree no better."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Span:
    """From when to when, in UTC."""

    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True)
class Overlap(Generic[_T]):
    """Two things whose spans overlap: `second` began while `first` lasted."""

    first: _T
    first_span: Span
    second: _T
    second_span: Span


def moment(text: object) -> datetime | None:
    """Return a moment like `07-22-2024 16:03:53.740`, which is UTC; None if the text is none."""
    try:
        if usual := _USUAL.fullmatch(str(text)):
            month, day, year, hour, minute, second, millis = map(int, usual.groups())
            return datetime(year, month, day, hour, minute, second, millis * 1000, UTC)
        return datetime.strptime(str(text), _FORM).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def timed_span(log: DetailLog) -> Span | None:
    """Return when the timed part of a run began and ended; None if the log does not say.

    An accuracy run has several timed parts: the first begin and the last end count.
    """
    later = log.later_values or {}
    begin = moment(log.values.get("power_begin"))
    end = moment(later.get("power_end", log.values.get("power_end")))
    return Span(begin, end) if begin and end else None


def run_span(log: DetailLog) -> Span | None:
    """Return when a run's log was begun and when its last message was written; None if it does not say."""
    end, written = moment(log.values.get("power_end")), log.written_ms.get("power_end")
    last = log.last_ms
    if end is None or written is None or last is None:
        return None
    if not 0 <= written < _LONGEST_RUN_MS or not 0 <= last < _LONGEST_RUN_MS:
        return None
    begin = end - timedelta(milliseconds=written)
    return Span(begin, begin + timedelta(milliseconds=max(last, written)))


def overlaps(spans: Iterable[tuple[_T, Span]]) -> Iterator[Overlap[_T]]:
    """Yield every thing that began while another, the last to end of those before it, still lasted."""
    latest: tuple[_T, Span] | None = None
    for thing, span in sorted(spans, key=lambda one: (one[1].begin, one[1].end)):
        if latest is not None and span.begin + RESOLUTION < latest[1].end:
            yield Overlap(latest[0], latest[1], thing, span)
        if latest is None or span.end > latest[1].end:
            latest = (thing, span)
