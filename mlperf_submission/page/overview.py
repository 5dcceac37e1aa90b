"""The pictures of a whole system: Server beside Offline, and where the wall time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from mlperf_submission.page.data import SystemData
from mlperf_submission.page.evidence import PageEvidence
from mlperf_submission.page.svg import Drawing
from mlperf_submission.page.text import duration, moment
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission.times import Span

_WIDTH = 960.0
_LANE = 26.0
_SHOWN_GAPS = 6
_HOUR, _DAY = 3600, 24 * 3600
_STEPS = (
    *(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800),
    *(_HOUR, 2 * _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 7 * _DAY),
)
"""Seconds between two times on the axis."""


@dataclass(frozen=True)
class Bar(Span):
    """One step on the time line."""

    lane: str
    name: str
    kind: str


@dataclass(frozen=True)
class Timeline(Span):
    """Where the wall time went, from the first begin to the last end; in the gaps nothing ran."""

    bars: tuple[Bar, ...]
    gaps: tuple[Span, ...]
    source: str

    @property
    def idle_seconds(self) -> float:
        """Sum of the gaps."""
        return sum(gap.seconds for gap in self.gaps)

    @property
    def longest_gaps(self) -> tuple[Span, ...]:
        """The longest gaps, longest first."""
        return tuple(sorted(self.gaps, key=lambda gap: -gap.seconds)[:_SHOWN_GAPS])


def ratio_picture(system: SystemData) -> Markup | None:
    """Draw Server's share of Offline, of each benchmark that has both, as bars to 100 %."""
    shares: list[tuple[str, float]] = []
    for model in system.models:
        server, offline = model.result(Scenario.SERVER), model.result(Scenario.OFFLINE)
        if server and offline and server.value is not None and offline.value and server.units[0] != "L":
            shares.append((model.model, server.value / offline.value))
    if not shares:
        return None
    left, width = 130.0, 640.0
    height = len(shares) * 34.0 + 34
    top = max(1.0, *(share for _, share in shares))
    summary = "; ".join(f"{model} {share:.1%}" for model, share in shares)
    drawing = Drawing("ratio", width, height, "Server result as a share of Offline", summary)
    span = width - left - 80
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + span * mark / top
        drawing.line(x, 4, x, height - 26, "base" if mark in (0.0, 1.0) else "grid")
        drawing.text(x, height - 8, f"{mark * 100:.0f}", "axis", "middle")
    drawing.text(left + span + 20, height - 8, "%", "axis")
    for order, (name, share) in enumerate(shares):
        y = 8 + order * 34.0
        drawing.text(0, y + 17, _short(name), "label")
        drawing.box(left, y + 4, span * share / top, 18, "bar", f"{name}: {share:.2%}")
        drawing.text(left + span + 20, y + 18, f"{share * 100:.1f} %", "label strong")
    return drawing.markup()


def timeline_of(system: SystemData, evidence: PageEvidence | None) -> Timeline | None:
    """Return the time line: the flow's steps if it knows them, else the runs by their logs."""
    if evidence and evidence.timeline:
        bars = [
            Bar(step.start, step.end, step.kind, step.name, step.kind)
            for step in evidence.timeline
            if step.end >= step.start
        ]
        source = "times of the flow's steps"
    else:
        bars = [
            Bar(
                run.begin,
                run.end,
                result.model,
                f"{result.model} {result.scenario} {run.kind}",
                _kind(run.kind),
            )
            for result in system.results
            for run in result.runs
            if run.begin and run.end and run.end >= run.begin
        ]
        source = "power_end (UTC) and the times of the messages of each run's detail log"
    if not bars:
        return None
    bars.sort(key=lambda bar: (bar.begin.timestamp(), bar.end.timestamp()))
    return Timeline(bars[0].begin, max(bar.end for bar in bars), tuple(bars), tuple(_gaps(bars)), source)


def timeline_picture(line: Timeline) -> Markup:
    """Draw the steps in lanes over the wall time, with the gaps marked."""
    lanes = list(dict.fromkeys(bar.lane for bar in line.bars))
    left, right, top = 120.0, 16.0, 8.0
    height = top + len(lanes) * _LANE + 44
    span = _WIDTH - left - right
    total = line.seconds or 1.0
    drawing = Drawing(
        "timeline",
        _WIDTH,
        height,
        "Where the wall time went",
        f"{len(line.bars)} runs or steps in {duration(line.seconds)}, from {moment(line.begin)} to "
        f"{moment(line.end)}; {duration(line.idle_seconds)} in {len(line.gaps)} gaps between them",
    )

    def x(at: datetime) -> float:
        return left + span * (at - line.begin).total_seconds() / total

    floor = top + len(lanes) * _LANE
    for gap in line.gaps:
        if gap.seconds / total > 0.002:
            drawing.box(
                x(gap.begin),
                top,
                x(gap.end) - x(gap.begin),
                floor - top,
                "gap",
                f"gap: {duration(gap.seconds)}",
            )
        if (x(gap.end) - x(gap.begin)) > 90:
            drawing.text(
                (x(gap.begin) + x(gap.end)) / 2, floor + 34, f"gap {duration(gap.seconds)}", "axis", "middle"
            )
    for order, lane in enumerate(lanes):
        y = top + order * _LANE
        drawing.text(left - 12, y + 17, _short(lane), "label", "end")
        drawing.line(left, y + _LANE, _WIDTH - right, y + _LANE, "grid")
        for bar in line.bars:
            if bar.lane == lane:
                tip = f"{bar.name}: {duration(bar.seconds)}, from {moment(bar.begin)}"
                drawing.box(
                    x(bar.begin),
                    y + 5,
                    max(x(bar.end) - x(bar.begin), 1.5),
                    _LANE - 10,
                    f"bar {bar.kind}",
                    tip,
                )
    for at in _clock(line.begin, line.end):
        drawing.line(x(at), floor, x(at), floor + 4, "tick")
        text = f"{at:%d %b %H:%M}" if total > _DAY else f"{at:%H:%M:%S}" if total < 600 else f"{at:%H:%M}"
        drawing.text(x(at), floor + 18, text, "axis", "middle")
    return drawing.markup()


def _gaps(bars: Sequence[Bar]) -> list[Span]:
    gaps = []
    reached = bars[0].end
    for bar in bars[1:]:
        if bar.begin > reached:
            gaps.append(Span(reached, bar.begin))
        reached = max(reached, bar.end)
    return gaps


def _clock(begin: datetime, end: datetime) -> list[datetime]:
    """Return round times of the clock, at most nine of them."""
    total = (end - begin).total_seconds()
    week = 7 * _DAY
    step = next((one for one in _STEPS if total / one <= 8), week * (int(total / (8 * week)) + 1))
    first = -(-begin.timestamp() // step) * step
    moments = []
    while first <= end.timestamp():
        moments.append(datetime.fromtimestamp(first, begin.tzinfo))
        first += step
    return [at for at in moments if at - begin > timedelta(seconds=total * 0.03)] or [begin]


def _kind(kind: RunKind) -> str:
    if kind.is_audit:
        return "audit"
    return "measure" if kind is RunKind.PERFORMANCE else "accuracy"


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:15]}…"
