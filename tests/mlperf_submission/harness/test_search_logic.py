from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlperf_submission.harness.search_logic import (
    Decision,
    Probe,
    SearchLimits,
    decide,
    expected_seconds,
    fitted_limit,
)

LIMIT_NS = 15_000_000
LIMITS = SearchLimits(budget_seconds=6000, latency_ns=LIMIT_NS)


class Queue:
    """A simulated system: `base + scale * load / (capacity - load)`, and a backlog beyond its capacity."""

    def __init__(self, base: float, scale: float, capacity: float, noise: float = 0.0, seed: int = 0) -> None:
        self.base, self.scale, self.capacity, self.noise = base, scale, capacity, noise
        self.random = np.random.default_rng(seed)
        reach = (LIMIT_NS - base) / scale
        self.limit = capacity * reach / (1 + reach)

    def run(self, decision: Decision) -> Probe:
        rate = decision.target_qps
        headroom = max(self.capacity - rate, 1e-6 * self.capacity)
        longest = decision.seconds * 1e9 * max(1.0, rate / self.capacity)
        latency = self.base + min(self.scale * rate / headroom, longest)
        latency *= math.exp(self.random.normal(0, self.noise))
        return Probe(
            target_qps=rate,
            seconds=decision.seconds,
            p99_ns=latency,
            completed_qps=min(rate, self.capacity),
            valid=latency <= LIMIT_NS,
            confirmation=decision.action == "confirm",
        )


def search(
    run: Callable[[Decision], Probe], start: float, limits: SearchLimits = LIMITS
) -> tuple[Decision, list[Probe], float]:
    """Run a search; return its end, its probes and the seconds that it took."""
    probes: list[Probe] = []
    used = 0.0
    while True:
        decision = decide(probes, limits, start, limits.budget_seconds - used)
        if decision.action in ("done", "give up"):
            return decision, probes, used
        probes.append(run(decision))
        longer = max(1.0, decision.target_qps / probes[-1].completed_qps)
        used += decision.seconds * longer + limits.setup_seconds
        assert len(probes) < 60


@settings(max_examples=80, deadline=None)
@given(
    capacity=st.floats(1000, 500_000),
    base=st.floats(0.3e6, 8e6),
    steepness=st.floats(1e-3, 1.0),
    start=st.floats(0.2, 3.0),
)
def test_the_limit_is_found_within_a_percent_wherever_the_search_starts(
    capacity: float, base: float, steepness: float, start: float
) -> None:
    system = Queue(base, base * steepness, capacity)
    decision, probes, used = search(system.run, system.limit * start)
    assert decision.action == "done"
    # Within a percent, and the margin below it for TEST05.
    assert 0.99 * (1 - LIMITS.margin) <= decision.target_qps / system.limit <= 1.0
    assert used <= LIMITS.budget_seconds
    assert len(probes) <= 25


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_five_percent_costs_at_most_two_percent(seed: int) -> None:
    system = Queue(1e6, 1e5, 50_000, noise=0.05, seed=seed)
    decision, _, _ = search(system.run, 30_000)
    assert decision.action == "done"
    assert 0.97 <= decision.target_qps / system.limit <= 1.0


@settings(max_examples=100, deadline=None)
@given(budget=st.floats(30, 3000), start=st.floats(0.01, 30), capacity=st.floats(5, 100_000))
def test_the_budget_is_kept_and_what_is_returned_without_confirmation_was_seen_to_hold(
    budget: float, start: float, capacity: float
) -> None:
    limits = LIMITS.model_copy(update={"budget_seconds": budget})
    system = Queue(2e6, 2e5, capacity)
    decision, probes, used = search(system.run, system.limit * start, limits)
    # A probe far beyond the capacity takes as long as its backlog: that much the budget may be exceeded by.
    backlog = max((probe.seconds * probe.target_qps / probe.completed_qps for probe in probes), default=0.0)
    assert used <= budget + backlog + limits.setup_seconds
    assert decision.target_qps <= system.limit
    if decision.action == "done":
        assert any(probe.confirmation and probe.valid for probe in probes)


def test_a_failed_confirmation_lowers_the_target_until_one_holds() -> None:
    system = Queue(1e6, 1e5, 10_000)

    def sagging(decision: Decision) -> Probe:
        """A system that throttles: full-length runs reach 5 % less than short ones."""
        probe = system.run(decision)
        if decision.action == "confirm":
            return probe.model_copy(update={"valid": decision.target_qps <= 0.95 * system.limit})
        return probe

    decision, probes, _ = search(sagging, 8000)
    assert decision.action == "done"
    assert 0.90 <= decision.target_qps / system.limit <= 0.95
    assert [probe.valid for probe in probes if probe.confirmation][-1]


def test_a_disturbed_failure_is_repeated_before_it_is_believed() -> None:
    system = Queue(1e6, 1e5, 10_000)
    hit: list[float] = []

    def disturbed_once(decision: Decision) -> Probe:
        probe = system.run(decision)
        if len(hit) < 2 and decision.target_qps not in hit:
            hit.append(decision.target_qps)
            return probe.model_copy(update={"p99_ns": 9e9, "valid": False, "disturbed": True})
        return probe

    decision, _, _ = search(disturbed_once, 5000)
    assert decision.action == "done"
    assert decision.target_qps / system.limit == pytest.approx(0.99, abs=0.01)


def test_what_is_known_is_used() -> None:
    system = Queue(1e6, 1e5, 10_000)
    _, probes, _ = search(system.run, 5000)
    without_confirmation = [probe for probe in probes if not probe.confirmation]
    assert decide(without_confirmation, LIMITS, 5000, 6000).action == "confirm"
    assert decide(probes, LIMITS, 5000, 6000).action == "done"


def test_the_fit_finds_the_wall_from_three_points() -> None:
    system = Queue(2e6, 3e5, 40_000)
    decisions = [Decision("probe", share * system.limit, 10, "") for share in (0.5, 0.8, 0.95)]
    found = fitted_limit([system.run(decision) for decision in decisions], LIMIT_NS)
    assert found == pytest.approx(system.limit, rel=0.02)
    assert fitted_limit([system.run(decision) for decision in decisions[:2]], LIMIT_NS) is None


def test_slow_systems_get_longer_probes_but_none_longer_than_a_confirmation() -> None:
    assert LIMITS.probe_length(10_000) == 10
    assert LIMITS.probe_length(30) == 100
    assert LIMITS.probe_length(0.5) == 600
    assert expected_seconds(LIMITS, 10_000) < expected_seconds(LIMITS, 30) <= LIMITS.budget_seconds
