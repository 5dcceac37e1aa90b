"""What makes a run INVALID: everything in a submission; in a rehearsal nothing that hangs on speed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mlperf_submission.errors import InvalidRunError
from mlperf_submission.harness.record import Latencies, Reason, RunOutcome
from mlperf_submission.harness.settings import RunLength, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from tasks.measurement import require_valid

SLOW = Reason(text="the latency is over the limit: 20 ms", remedy="lower target_qps", speed="the latency")
WRONG = Reason(text="effective_qsl_rng_seed is 1 in the log", remedy="another LoadGen")


def outcome(*reasons: Reason, official: bool, disturbances: tuple[str, ...] = ()) -> RunOutcome:
    """A Server run of resnet50 whose 99th percentile is 20 ms; 15 ms are allowed."""
    settings = settings_for(
        get_round("v4.1"),
        "resnet50",
        RunKind.PERFORMANCE,
        Scenario.SERVER,
        target_qps=100,
        performance_sample_count=None,
        length=RunLength.official() if official else RunLength.rehearsal(2),
    )
    names = ("minimum", "mean", "p50", "p90", "p95", "p97", "p99", "p99_9", "maximum")
    made = SimpleNamespace(
        folder=Path("run"),
        settings=settings,
        valid=not reasons,
        reasons=reasons,
        latencies=Latencies(**dict.fromkeys(names, 20_000_000)),
        disturbances=disturbances,
        faults=tuple(reason for reason in reasons if not reason.speed),
        over_latency=bool(reasons),
        too_short=False,
    )
    return cast(RunOutcome, made)


def test_speed_makes_no_run_of_a_rehearsal_invalid_and_everything_else_does() -> None:
    require_valid(outcome(SLOW, official=False), "run")
    with pytest.raises(InvalidRunError, match="the run is INVALID: effective_qsl_rng_seed is 1 in the log"):
        require_valid(outcome(SLOW, WRONG, official=False), "run")


@pytest.mark.parametrize("disturbances", [(), ("other processes used 60% of the 2 cores",)])
def test_an_invalid_run_of_a_submission_names_every_reason_and_what_disturbed_it(
    disturbances: tuple[str, ...],
) -> None:
    with pytest.raises(InvalidRunError) as caught:
        require_valid(outcome(SLOW, WRONG, official=True, disturbances=disturbances), "run")
    error = caught.value
    assert error.what.startswith(f"the run is INVALID: {SLOW.text}; {WRONG.text}")
    assert error.remedy == "lower target_qps; another LoadGen"
    assert error.over_latency
    assert error.disturbed is bool(disturbances)
    assert ("it was disturbed: other processes used 60%" in error.what) is bool(disturbances)
