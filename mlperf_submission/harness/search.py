"""Finds the highest Server target that stays valid: runs the probes that `search_logic` asks for.

Every probe keeps LoadGen's files in a folder of its own, and its outcome as JSON beside it; a later search
with the same system, engine and samples starts from them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mlperf_submission.errors import SettingError
from mlperf_submission.files import write_atomic
from mlperf_submission.harness.record import RunOutcome, RunRequest
from mlperf_submission.harness.run import measure
from mlperf_submission.harness.search_logic import (
    Decision,
    Probe,
    SearchLimits,
    bracket_of,
    decide,
    expected_seconds,
)
from mlperf_submission.rounds import RunKind, Scenario

__all__ = ["SearchLimits", "SearchOutcome", "find_server_qps", "limits_for", "planned_seconds"]

_PROBE = "probe-{number:03d}"
_TIMEOUT_FACTOR = 6
_TIMEOUT_EXTRA = 300.0
_VARIED_SETTINGS = ("target_qps", "min_duration_ms", "official", "min_query_count")
_VARIED_REQUEST = ("lock", "lock_timeout_seconds", "disturbance_limits", "settings")


class _Evidence(BaseModel):
    """What is kept of a probe: what was asked for, and what came of it."""

    model_config = ConfigDict(frozen=True)

    request: RunRequest
    outcome: RunOutcome
    confirmation: bool

    @property
    def probe(self) -> Probe:
        latencies = self.outcome.latencies
        return Probe(
            target_qps=self.request.settings.target_qps,
            seconds=self.request.settings.min_duration_ms / 1000,
            p99_ns=float(latencies.p99) if latencies else float("inf"),
            completed_qps=self.outcome.value or 0.0,
            valid=self.outcome.valid,
            confirmation=self.confirmation,
            disturbed=bool(self.outcome.disturbances),
        )


class SearchOutcome(BaseModel):
    """What the search found.

    Attributes:
        target_qps: the target to use; confirmed by a valid run of full length if `confirmed`.
        confirmed: whether it is.
        limit_qps: the highest rate that kept the latency limit in a probe, and the lowest that did not.
        probes: everything that is known, oldest first.
        new_probes: how many of them this search ran.
        seconds: how long it took.
        reason: why it ended.
    """

    model_config = ConfigDict(frozen=True)

    target_qps: float
    confirmed: bool
    limit_qps: tuple[float | None, float | None]
    probes: tuple[Probe, ...]
    new_probes: int
    seconds: float
    reason: str


def limits_for(request: RunRequest, budget_seconds: float, **more: float) -> SearchLimits:
    """Return the limits of a search that confirms at the length of the request's settings."""
    settings = request.settings
    values: dict[str, float] = {
        "budget_seconds": budget_seconds,
        "latency_ns": settings.target_latency_ns,
        "confirm_seconds": settings.min_duration_ms / 1000,
        **more,
    }
    return SearchLimits.model_validate(values)


def planned_seconds(request: RunRequest, limits: SearchLimits, folder: Path) -> float:
    """Return how long a search would take now, given what is known already in `folder`."""
    known = [evidence.probe for evidence in _known(request, folder)]
    decision = decide(known, limits, request.settings.target_qps, limits.budget_seconds)
    if decision.action == "done":
        return 0.0
    if decision.action == "confirm":
        return decision.seconds + limits.setup_seconds
    return expected_seconds(limits, decision.target_qps or request.settings.target_qps)


def find_server_qps(
    request: RunRequest,
    limits: SearchLimits,
    folder: Path,
    *,
    on_progress: Callable[[float], None] = lambda _: None,
    on_message: Callable[[str], None] = lambda _: None,
) -> SearchOutcome:
    """Search for the highest valid Server target, starting at the request's own.

    Args:
        request: a performance run in Server; its length is the confirmation's.
        limits: what the search may spend.
        folder: keeps the probes.
        on_progress: called with the share of the budget that is used.
        on_message: called with a line per probe.

    Raises:
        SettingError: the request is not a performance run in Server.
        PipelineError: a probe failed (an INVALID one is no failure).
    """
    settings = request.settings
    if settings.scenario is not Scenario.SERVER or settings.kind is not RunKind.PERFORMANCE:
        raise SettingError(
            f"the search looks for a Server target, not one of {settings.kind} {settings.scenario}",
            remedy="search with the settings of a performance run in Server",
        )
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    probes = [evidence.probe for evidence in _known(request, folder)]
    known = len(probes)
    while True:
        used = time.monotonic() - started
        decision = decide(probes, limits, settings.target_qps, limits.budget_seconds - used)
        if decision.action in ("done", "give up"):
            break
        on_message(
            f"{decision.action} at {decision.target_qps:.6g}/s for {decision.seconds:g} s: {decision.reason}"
        )
        began = time.monotonic()
        evidence = _run(request, decision, folder)
        probes.append(evidence.probe)
        setup = time.monotonic() - began - evidence.outcome.loadgen_seconds
        limits = limits.model_copy(update={"setup_seconds": max(setup, 0.0)})
        on_message(_words(evidence.probe, limits))
        on_progress(min(1.0, (time.monotonic() - started) / limits.budget_seconds))
    bracket = bracket_of(probes, limits)
    return SearchOutcome(
        target_qps=decision.target_qps,
        confirmed=decision.action == "done",
        limit_qps=(bracket.low, bracket.high),
        probes=tuple(probes),
        new_probes=len(probes) - known,
        seconds=time.monotonic() - started,
        reason=decision.reason,
    )


def _run(request: RunRequest, decision: Decision, folder: Path) -> _Evidence:
    confirmation = decision.action == "confirm"
    settings = request.settings.model_copy(
        update={
            "target_qps": decision.target_qps,
            "min_duration_ms": round(decision.seconds * 1000),
            "official": request.settings.official and confirmation,
        }
    )
    asked = request.model_copy(update={"settings": settings})
    place = _next_place(folder)
    timeout = _TIMEOUT_FACTOR * decision.seconds + _TIMEOUT_EXTRA
    outcome = measure(asked, place, timeout_seconds=timeout)
    evidence = _Evidence(request=asked, outcome=outcome, confirmation=confirmation)
    write_atomic(place.with_suffix(".json"), evidence.model_dump_json(indent=1))
    return evidence


def _next_place(folder: Path) -> Path:
    """Return the folder of the next probe; one without a record beside it was broken off: use it again."""
    number = 1
    while folder.joinpath(_PROBE.format(number=number) + ".json").exists():
        number += 1
    return folder / _PROBE.format(number=number)


def _known(request: RunRequest, folder: Path) -> Iterator[_Evidence]:
    """Yield the probes of earlier searches that measured the same thing."""
    wanted = _fingerprint(request)
    for path in sorted(folder.glob("probe-*.json")):
        try:
            evidence = _Evidence.model_validate(json.loads(path.read_text()))
        except (OSError, ValueError, ValidationError):
            continue  # another version's, or damaged: it only costs a probe
        if _fingerprint(evidence.request) == wanted:
            yield evidence


def _fingerprint(request: RunRequest) -> dict[str, object]:
    """Return what two runs have in common if they measured the same at different rates and lengths."""
    return {
        **request.model_dump(mode="json", exclude=set(_VARIED_REQUEST)),
        **request.settings.model_dump(mode="json", exclude=set(_VARIED_SETTINGS)),
    }


def _words(probe: Probe, limits: SearchLimits) -> str:
    verdict = "holds" if probe.p99_ns <= limits.latency_ns else "is over the limit"
    return (
        f"{probe.target_qps:.6g}/s {verdict}: {probe.p99_ns / 1e6:.2f} ms at the 99th percentile of "
        f"{limits.latency_ns / 1e6:g} ms, {probe.completed_qps:.6g}/s completed"
    )
