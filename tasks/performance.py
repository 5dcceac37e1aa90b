"""Measure the performance of one result."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.errors import DisturbedRunError, InvalidRunError
from mlperf_submission.rounds import RunKind
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.measurement import RETRIES, Bench, run_inputs, run_loadgen

PERFORMANCE = StepSpec(
    "performance",
    "performance",
    ("preprocess", "quantize", "build_engine", "find the rate"),
    retries=RETRIES,
    again=lambda error: (
        isinstance(error, DisturbedRunError)
        or (
            isinstance(error, InvalidRunError)
            and not error.too_short
            and (error.disturbed or not error.over_latency)
        )
    ),
)


def performance(label: str, bench: Bench) -> Step:
    """Run LoadGen in performance mode. Figures: those of `tasks.measurement.run_loadgen`.

    Raises:
        InvalidRunError: INVALID in each attempt, or at once where only another target can help; every attempt
            is kept as evidence.
        DisturbedRunError: something disturbed it, and a retry is left.
    """

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        return run_loadgen(bench, RunKind.PERFORMANCE, folder, recorder)

    return Step(PERFORMANCE, label, lambda: run_inputs(bench, RunKind.PERFORMANCE), produce)
