"""Pictures of results: latencies and their limit, throughput, a search's probes, one result in many runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from mlperf_submission.page.data import Result
from mlperf_submission.page.evidence import Probe, ThroughputPoint
from mlperf_submission.page.svg import Drawing, ticks
from mlperf_submission.page.text import latency, significant

_WIDTH, _HEIGHT = 520.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 20.0, 28.0, 44.0
_NINES = (0.0, 0.5, 0.9, 0.95, 0.97, 0.99, 0.999)


@dataclass(frozen=True)
class TrendPoint:
    """What one run reached of a result, in its units, and when the run was made."""

    run: str
    made: datetime
    value: float


def latency_picture(name: str, result: Result) -> Markup | None:
    """Draw latency by percentile with the round's limit; the axis stretches the slowest queries.

    Only the percentiles that LoadGen logs are points; the lines between them only guide the eye.
    """
    points = [one for one in result.percentiles if one.share is not None]
    if len(points) < 3:
        return None
    highest = max([one.nanoseconds for one in points] + ([result.limit_ns] if result.limit_ns else []))
    if highest <= 0:
        return None
    top = highest * 1.12
    last = 3.55
    plot = _Plot(0, last, 0, top)
    summary = "; ".join(f"{one.label} {latency(one.nanoseconds)}" for one in result.percentiles)
    if result.limit_ns:
        summary += f"; limit {latency(result.limit_ns)} at {result.limit_share:.0%}"
    drawing = Drawing(
        name, _WIDTH, _HEIGHT, f"Latency by percentile, {result.model} {result.scenario}", summary
    )
    unit, size = next(((u, s) for u, s in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)) if top >= s), ("ns", 1.0))
    _levels(drawing, plot, ticks(0, top), lambda value: significant(value / size, 3))
    drawing.text(0, 14, f"latency, {unit}", "axis")
    for share in _NINES:
        x = plot.x(_nines(share))
        drawing.line(x, _HEIGHT - _BOTTOM, x, _HEIGHT - _BOTTOM + 4, "tick")
        drawing.text(x, _HEIGHT - _BOTTOM + 17, f"{share * 100:g}", "axis", "middle")
    drawing.text(plot.x(last), _HEIGHT - _BOTTOM + 17, "max", "axis", "middle")
    drawing.text(_WIDTH / 2, _HEIGHT - 6, "share of queries answered within, %", "axis", "middle")
    line = [(plot.x(min(_nines(one.share or 0.0), last)), plot.y(one.nanoseconds)) for one in points]
    drawing.path(line, "area", close_at=plot.y(0))
    drawing.path(line, "curve")
    if result.limit_ns:
        y, at = plot.y(result.limit_ns), plot.x(_nines(result.limit_share))
        drawing.line(_LEFT, y, _WIDTH - _RIGHT, y, "limit")
        drawing.line(at, plot.y(0), at, y, "limit thin")
        text = f"limit {latency(result.limit_ns)} for {result.limit_share * 100:g} %"
        drawing.text(_LEFT + 6, y - 6, text, "limit-label")
    for (x, y), one in zip(line, points, strict=True):
        over = result.limit_ns is not None and one.nanoseconds > result.limit_ns
        drawing.dot(x, y, 3.5, "dot over" if over else "dot", f"{one.label}: {latency(one.nanoseconds)}")
    return drawing.markup()


def throughput_picture(name: str, result: Result, points: Sequence[ThroughputPoint]) -> Markup | None:
    """Draw samples per second over the run's time."""
    rates: list[tuple[float, float]] = []
    before = 0.0
    for point in sorted(points, key=lambda one: one.seconds):
        if point.seconds > before:
            rates.append((point.seconds, point.samples / (point.seconds - before)))
            before = point.seconds
    if len(rates) < 2:
        return None
    top = max(rate for _, rate in rates) * 1.12 or 1.0
    mean = sum(point.samples for point in points) / before
    drawing = Drawing(
        name,
        _WIDTH,
        _HEIGHT,
        f"Throughput over time, {result.model} {result.scenario}",
        f"{len(rates)} intervals over {before:.0f} s; mean {significant(mean)}, "
        f"lowest {significant(min(rate for _, rate in rates))}, "
        f"highest {significant(max(rate for _, rate in rates))} samples/s",
    )
    plot = _Plot(0, before, 0, top)
    _levels(drawing, plot, ticks(0, top), lambda value: significant(value, 3))
    drawing.text(0, 14, "samples/s", "axis")
    for second in ticks(0, before, 8):
        drawing.text(plot.x(second), _HEIGHT - _BOTTOM + 17, f"{second:g}", "axis", "middle")
    drawing.text(_WIDTH / 2, _HEIGHT - 6, "seconds since the run began", "axis", "middle")
    steps: list[tuple[float, float]] = []
    begin = 0.0
    for end, rate in rates:
        steps += [(plot.x(begin), plot.y(rate)), (plot.x(end), plot.y(rate))]
        begin = end
    drawing.path(steps, "area", close_at=plot.y(0))
    drawing.path(steps, "curve")
    drawing.line(_LEFT, plot.y(mean), _WIDTH - _RIGHT, plot.y(mean), "mean")
    drawing.text(_WIDTH - _RIGHT, plot.y(mean) - 6, f"mean {significant(mean)}", "label strong", "end")
    return drawing.markup()


def probes_picture(name: str, result: Result, probes: Sequence[Probe]) -> Markup | None:
    """Draw the search for the highest rate: each probe's rate and latency, in order, against the limit."""
    if not probes:
        return None
    rates = [probe.target_qps for probe in probes]
    low, high = min(rates), max(rates)
    pad = (high - low) * 0.08 or high * 0.1
    top = max([probe.latency_ns for probe in probes] + [result.limit_ns or 0.0]) * 1.12 or 1.0
    valid = sum(probe.valid for probe in probes)
    drawing = Drawing(
        name,
        _WIDTH,
        _HEIGHT,
        f"Probes of the search, {result.model} {result.scenario}",
        f"{len(probes)} probes from {significant(low)} to {significant(high)} queries/s, {valid} valid",
    )
    plot = _Plot(low - pad, high + pad, 0, top)
    unit, size = next(((u, s) for u, s in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)) if top >= s), ("ns", 1.0))
    _levels(drawing, plot, ticks(0, top), lambda value: significant(value / size, 3))
    drawing.text(0, 14, f"latency, {unit}", "axis")
    for rate in ticks(low - pad, high + pad, 6):
        drawing.text(plot.x(rate), _HEIGHT - _BOTTOM + 17, significant(rate), "axis", "middle")
    drawing.text(_WIDTH / 2, _HEIGHT - 6, "target rate, queries/s", "axis", "middle")
    drawing.path([(plot.x(one.target_qps), plot.y(one.latency_ns)) for one in probes], "trace")
    if result.limit_ns:
        drawing.line(_LEFT, plot.y(result.limit_ns), _WIDTH - _RIGHT, plot.y(result.limit_ns), "limit")
        drawing.text(
            _LEFT + 6, plot.y(result.limit_ns) - 6, f"limit {latency(result.limit_ns)}", "limit-label"
        )
    for order, probe in enumerate(probes, start=1):
        x, y = plot.x(probe.target_qps), plot.y(probe.latency_ns)
        word = "valid" if probe.valid else "invalid"
        tip = f"probe {order}: {significant(probe.target_qps)} queries/s, {latency(probe.latency_ns)}, {word}"
        drawing.dot(x, y, 5, "dot" if probe.valid else "dot refused", tip)
        drawing.text(x + 8, y + 4, str(order), "axis")
    return drawing.markup()


def trend_picture(
    name: str, title: str, units: str, points: Sequence[TrendPoint], before: float | None, fell: bool
) -> Markup:
    """Draw one result over time.

    Args:
        name: unique in the page.
        title: of the result.
        units: of the values.
        points: at least one, oldest first.
        before: the value that the newest is held against.
        fell: whether the newest fell too far below it.
    """
    values = [one.value for one in points]
    top = max([*values, before or 0.0]) * 1.12 or 1.0
    begin, span = points[0].made, (points[-1].made - points[0].made).total_seconds()
    plot = _Plot(-0.05, 1.05, 0, top)
    summary = f"{len(points)} run{'s' if len(points) > 1 else ''}: from {significant(min(values))} to "
    summary += f"{significant(max(values))} {units}; the newest {significant(values[-1])}"
    drawing = Drawing(name, _WIDTH, _HEIGHT, f"{title} over time", summary)
    _levels(drawing, plot, ticks(0, top), lambda value: significant(value, 3))
    drawing.text(0, 14, units, "axis")
    places = [(one.made - begin).total_seconds() / span if span else 0.5 for one in points]
    for at, one, anchor in ((0, points[0], "start"), (-1, points[-1], "end")):
        if at == 0 or one.made.date() != begin.date():
            drawing.text(
                plot.x(places[at]),
                _HEIGHT - _BOTTOM + 17,
                f"{one.made:%Y-%m-%d}",
                "axis",
                anchor if span else "middle",
            )
    if before is not None:
        drawing.line(_LEFT, plot.y(before), _WIDTH - _RIGHT, plot.y(before), "mean")
        drawing.text(_LEFT + 6, plot.y(before) - 6, f"before: {significant(before)}", "label strong")
    line = [(plot.x(at), plot.y(one.value)) for at, one in zip(places, points, strict=True)]
    drawing.path(line, "trace")
    for (x, y), one in zip(line, points, strict=True):
        style = "dot over" if fell and one is points[-1] else "dot"
        tip = f"{one.run}, {one.made:%Y-%m-%d %H:%M}: {significant(one.value)} {units}"
        drawing.dot(x, y, 5, style, tip)
    return drawing.markup()


class _Plot:
    """The area between the axes: data to pixels."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        self._left, self._bottom = left, bottom
        self._per_x = (_WIDTH - _LEFT - _RIGHT) / ((right - left) or 1)
        self._per_y = (_HEIGHT - _TOP - _BOTTOM) / ((top - bottom) or 1)

    def x(self, value: float) -> float:
        return _LEFT + (value - self._left) * self._per_x

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self._bottom) * self._per_y


def _levels(drawing: Drawing, plot: _Plot, values: Sequence[float], show: Callable[[float], str]) -> None:
    for value in values:
        drawing.line(_LEFT, plot.y(value), _WIDTH - _RIGHT, plot.y(value), "base" if value == 0 else "grid")
        drawing.text(_LEFT - 8, plot.y(value) + 4, show(value), "axis", "end")


def _nines(share: float) -> float:
    """Return how many nines a share has: 0.9 is 1, 0.99 is 2."""
    return -math.log10(max(1 - share, 1e-9))
