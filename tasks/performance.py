"""Measure the performance of one result."""

from __future__ import annotations

from mlperf_submission.errors import DisturbedRunError, InvalidRunError
from mlperf_submission.rounds import RunKind
from mlperf_submission.steps.cache import StepRecord
from tasks.measurement import RETRIES, Bench, run_loadgen, run_step
from tasks.step import Step, step_task
from tasks.workspace import Workspace


def performance_step(bench: Bench) -> Step:
    """Return what goes into the performance run."""
    return run_step(bench, RunKind.PERFORMANCE)


@step_task(
    "performance",
    shown="{bench.benchmark} {bench.scenario}",
    retries=RETRIES,
    again=lambda error: (
        isinstance(error, DisturbedRunError)
        or (isinstance(error, InvalidRunError) and (error.disturbed or not error.over_latency))
    ),
)
def performance(workspace: Workspace, bench: Bench) -> StepRecord:
    """Run LoadGen in performance mode. Figures: those of `tasks.measurement.run_loadgen`.

    Raises:
        InvalidRunError: INVALID in each attempt, or for its latency with nothing to blame but the target;
            every attempt is kept as evidence.
        DisturbedRunError: something disturbed it, and a retry is left.
    """
    return run_loadgen(workspace, bench, RunKind.PERFORMANCE, performance_step(bench))
