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

from mlperf_submission.submission.detail_log import DetailLog

_FORM = "%m-%d-%Y %H:%M:%S.%f"
_USUAL = re.compile(r"(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{3})", re.ASCII)
_LONGEST_RUN_MS = 30 * 24 * 3600 * 1000
"""Above this a time is LoadGen's wrapped negative number (bert Server logs of v4.1), not a time."""
RESOLUTION = timedelta(seconds=1)
"""Runs that share less than this do not overlap; the clocks of two logs agree no better."""


@dataclass(frozen=True)
class Span:
    """From when to when, in UTC."""

    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return (self.end - self.begin).total_seconds()


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


Named = tuple[str, Span]


def overlaps(spans: Iterable[Named]) -> Iterator[tuple[Named, Named]]:
    """Yield two things wherever the second began while the first, the last to end before it, still lasted."""
    latest: Named | None = None
    for one in sorted(spans, key=lambda named: (named[1].begin, named[1].end)):
        if latest is not None and one[1].begin + RESOLUTION < latest[1].end:
            yield latest, one
        if latest is None or one[1].end > latest[1].end:
            latest = one
