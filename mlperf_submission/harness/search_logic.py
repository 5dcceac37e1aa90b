"""Which target to try next: the search for the highest valid Server rate, without running anything.

Short probes bracket the rate at which the 99th percentile of the latency reaches its limit; a fit of the
latency against the load says where in the bracket to look. Then a run of full length, a margin below,
confirms it. LoadGen's own search (FindPeakPerformance) bisects with full runs, and ends with no valid run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

_FAR_BELOW = 0.5
_GROWTH_FAR, _GROWTH_NEAR, _SHRINK = 1.5, 1.12, 0.7
_SATURATED = 0.98
_OVERLOADED = 5.0
"""Beyond so many times the limit a latency tells how long the run was, not how the system answers."""
_EDGE = 0.1
_NOMINAL_PROBES = 9
_FIRST_STEP, _LARGEST_STEP = 0.01, 0.5
_ATTEMPTS = 3
"""A rate that fails so often is believed to be too high, however disturbed the probes were."""


class SearchLimits(BaseModel):
    """What the search may spend and how exact it has to be.

    Attributes:
        budget_seconds: time for all of it, confirmation included.
        latency_ns: limit of the 99th percentile.
        probe_seconds: length of a short probe.
        probe_queries: a probe is long enough for so many queries, but never longer than a confirmation.
        confirm_seconds: length of the confirmation: the round's.
        tolerance: the bracket is narrowed to this share of the rate.
        margin: the confirmed target lies this share below the limit, so that TEST05, with other arrivals,
            keeps the limit too.
        setup_seconds: what a run costs besides its length; learnt from the probes by the caller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_seconds: float = Field(gt=0)
    latency_ns: int = Field(gt=0)
    probe_seconds: float = Field(default=10, gt=0)
    probe_queries: int = Field(default=3000, ge=500)
    confirm_seconds: float = Field(default=600, gt=0)
    tolerance: float = Field(default=0.005, gt=0, lt=0.5)
    margin: float = Field(default=0.01, ge=0, lt=0.5)
    setup_seconds: float = Field(default=10, ge=0)

    def probe_length(self, target_qps: float) -> float:
        """Return the length in seconds of a probe at this rate."""
        return min(max(self.probe_seconds, self.probe_queries / target_qps), self.confirm_seconds)


class Probe(BaseModel):
    """What one run at one target showed; rates in queries per second.

    Attributes:
        target_qps: rate of the arrivals.
        seconds: minimum duration that the run was asked for.
        p99_ns: measured 99th percentile of the latency.
        completed_qps: rate of the completions.
        valid: LoadGen's verdict, early stopping included.
        confirmation: it was the run of full length that confirms a target, not a probe.
        disturbed: something else on the host disturbed the run.
    """

    model_config = ConfigDict(frozen=True)

    target_qps: float
    seconds: float
    p99_ns: float
    completed_qps: float
    valid: bool
    confirmation: bool = False
    disturbed: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do next: run at `target_qps` for `seconds`, or stop.

    When `action` is `done`, `target_qps` is the confirmed target; when it is `give up`, it is the best target
    that was seen to hold without confirmation (0: none).
    """

    action: Literal["probe", "confirm", "done", "give up"]
    target_qps: float
    seconds: float
    reason: str


@dataclass(frozen=True)
class Bracket:
    """The highest rate that kept the limit and the lowest above it that did not; None if not seen yet."""

    low: float | None
    high: float | None


def expected_seconds(limits: SearchLimits, start_qps: float) -> float:
    """Return how long a search usually takes; it never takes longer than its budget."""
    probe = limits.probe_length(start_qps) + limits.setup_seconds
    return min(limits.budget_seconds, _NOMINAL_PROBES * probe + limits.confirm_seconds + limits.setup_seconds)


def decide(probes: Sequence[Probe], limits: SearchLimits, start_qps: float, seconds_left: float) -> Decision:
    """Return the next step.

    Args:
        probes: everything that is known, oldest first, from this search and earlier ones.
        limits: the limits of the search.
        start_qps: where to begin when nothing is known.
        seconds_left: what is left of the budget.
    """
    confirmations = [probe for probe in probes if probe.confirmation]
    confirmed = max((probe.target_qps for probe in confirmations if probe.valid), default=None)
    if confirmed is not None:
        return Decision("done", confirmed, 0, "confirmed at full length")
    bracket = bracket_of(probes, limits)
    confirm_cost = limits.confirm_seconds + limits.setup_seconds
    target = _confirmation_target(bracket, confirmations, limits)
    best = target or 0.0
    if seconds_left < confirm_cost:
        return Decision("give up", best, 0, "no time is left for a confirmation at full length")
    if bracket.low is not None and bracket.high is not None and target is not None:
        width = bracket.high / bracket.low - 1
        if confirmations or width <= limits.tolerance * 1.001:
            return Decision("confirm", target, limits.confirm_seconds, f"the bracket is {width:.2%} wide")
    if probes and not _held(probes[-1], limits) and _to_be_repeated(probes[-1], probes, limits):
        next_qps = probes[-1].target_qps
    else:
        next_qps = _next_probe(probes, bracket, limits, start_qps)
    length = limits.probe_length(next_qps)
    if seconds_left < confirm_cost + length * 1.5 + limits.setup_seconds:
        if target is None:
            return Decision("give up", 0.0, 0, "no rate kept the limit within the budget")
        return Decision(
            "confirm", target, limits.confirm_seconds, "the budget leaves time for no more probes"
        )
    return Decision("probe", next_qps, length, _words(bracket))


def bracket_of(probes: Sequence[Probe], limits: SearchLimits) -> Bracket:
    """Return the bracket. A confirmation counts more than short probes, a failure more than a success."""
    held = [probe.target_qps for probe in probes if _held(probe, limits)]
    failed = [
        probe.target_qps
        for probe in probes
        if not _held(probe, limits) and not _to_be_repeated(probe, probes, limits)
    ]
    high = min(failed, default=None)
    low = max((rate for rate in held if high is None or rate < high), default=None)
    return Bracket(low, high)


def _held(probe: Probe, limits: SearchLimits) -> bool:
    if probe.confirmation:
        return probe.valid
    return probe.p99_ns <= limits.latency_ns


def _to_be_repeated(probe: Probe, probes: Sequence[Probe], limits: SearchLimits) -> bool:
    """Whether a failure may be the neighbours': it was disturbed, and too few others failed at its rate."""
    same = [other for other in probes if other.target_qps == probe.target_qps]
    if not probe.disturbed or any(_held(other, limits) for other in same):
        return probe.disturbed
    return len(same) < _ATTEMPTS and all(other.disturbed for other in same)


def fitted_limit(probes: Sequence[Probe], latency_ns: float) -> float | None:
    """Return the rate at which the fitted latency reaches the limit; None if the probes allow no fit.

    The fit is `p99 = base + scale * load / (capacity - load)`, a queue's shape: flat, then a wall.
    """
    points = sorted(
        {
            probe.target_qps: probe.p99_ns for probe in probes if probe.p99_ns < _OVERLOADED * latency_ns
        }.items()
    )
    if len(points) < 3:
        return None
    rates = np.array([rate for rate, _ in points])
    latencies = np.array([latency for _, latency in points])
    saturated = [
        probe.completed_qps for probe in probes if probe.completed_qps < _SATURATED * probe.target_qps
    ]
    highest = min([*saturated, 4 * rates[-1]])
    best: tuple[float, float] | None = None
    for headroom in np.geomspace(1e-4, 3, 120):
        capacity = rates[-1] * (1 + headroom)
        if capacity > max(highest, rates[-1] * 1.001):
            break
        columns = np.stack([np.ones_like(rates), rates / (capacity - rates)], axis=1)
        weighted = columns / latencies[:, None]
        (base, scale), *_ = np.linalg.lstsq(weighted, np.ones_like(rates), rcond=None)
        if scale <= 0 or base >= latency_ns:
            continue
        error = float(np.sum((weighted @ np.array([base, scale]) - 1) ** 2))
        reach = (latency_ns - base) / scale
        if best is None or error < best[0]:
            best = (error, float(capacity * reach / (1 + reach)))
    return None if best is None else best[1]


def _next_probe(probes: Sequence[Probe], bracket: Bracket, limits: SearchLimits, start_qps: float) -> float:
    probes = [probe for probe in probes if _held(probe, limits) or not _to_be_repeated(probe, probes, limits)]
    if not probes:
        return start_qps
    fit = fitted_limit(probes, limits.latency_ns)
    if bracket.high is None:
        last = max(probes, key=lambda probe: probe.target_qps)
        growth = _GROWTH_FAR if last.p99_ns < _FAR_BELOW * limits.latency_ns else _GROWTH_NEAR
        highest = last.target_qps * growth
        return min(fit * (1 + limits.tolerance), highest) if fit and fit > last.target_qps else highest
    if bracket.low is None:
        last = min(probes, key=lambda probe: probe.target_qps)
        if last.completed_qps < _SATURATED * last.target_qps:
            return min(last.completed_qps, last.target_qps) * 0.95
        return last.target_qps * _SHRINK
    low, high = bracket.low, bracket.high
    middle = math.sqrt(low * high)
    if fit is None or len(probes) % 3 == 2:  # now and then the middle: a wrong fit then costs little
        return middle
    # A step past the fit, to the side that the last probe was not on: two such probes close the bracket.
    last_held = probes[-1].p99_ns <= limits.latency_ns
    aimed = fit * (1 + (0.4 if last_held else -0.4) * limits.tolerance)
    edge = _EDGE * (high - low)
    return min(max(aimed, low + edge), high - edge)


def _confirmation_target(
    bracket: Bracket, confirmations: Sequence[Probe], limits: SearchLimits
) -> float | None:
    """Return where to confirm: the margin below the bracket, and lower after each failure."""
    if bracket.low is None:
        return None
    failures = sorted(probe.target_qps for probe in confirmations if not probe.valid)
    if not failures:
        return bracket.low * (1 - limits.margin)
    # Short probes were too hopeful, so they say no more: down in growing steps.
    step: float = min(_FIRST_STEP * 2 ** (len(failures) - 1), _LARGEST_STEP)
    return failures[0] * (1 - step)


def _words(bracket: Bracket) -> str:
    if bracket.low is None and bracket.high is None:
        return "nothing is known yet"
    if bracket.low is None:
        return f"the limit lies below {bracket.high:.6g}/s"
    if bracket.high is None:
        return f"the limit lies above {bracket.low:.6g}/s"
    return f"the limit lies between {bracket.low:.6g}/s and {bracket.high:.6g}/s"
