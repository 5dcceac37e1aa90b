"""Find the rate that a result reaches in Offline, where the system file does not say what to expect.

LoadGen sizes its single Offline query by the expected rate: too low a figure makes the run too short, which
is INVALID, too high a figure only makes it longer. One benchmark answers 20 samples a second and another
20,000 on the same host: a probe begins with a few samples, and expects of its next run what this one reached.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.errors import InvalidRunError
from mlperf_submission.harness.run import measure
from mlperf_submission.rounds import RunKind, get_round
from mlperf_submission.steps.cache import StepRecord
from tasks.measurement import Bench, run_step
from tasks.step import Recorder, Step, perform, step_task
from tasks.workspace import Workspace

LONG_ENOUGH_SECONDS = 0.5
"""A run of this length tells the rate well enough to size the others."""
_MOST_RUNS = 4


def probe_step(bench: Bench) -> Step:
    """Return what goes into a probe: that of a performance run."""
    return run_step(bench, RunKind.PERFORMANCE).model_copy(update={"name": "probe"})


@step_task("probe", shown="{bench.benchmark} {bench.scenario}")
def probe(workspace: Workspace, bench: Bench) -> StepRecord:
    """Run short performance runs, whose validity does not matter, until one is long enough.

    Figures: `value`, samples/s; `runs`, how many runs it took.

    Raises:
        InvalidRunError: a run gave no rate at all.
    """
    settings = bench.settings[RunKind.PERFORMANCE]

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        rate = settings.target_qps
        for run in range(1, _MOST_RUNS + 1):
            asked = settings.model_copy(update={"target_qps": float(f"{rate:.3g}")})
            outcome = measure(
                bench.request.model_copy(update={"settings": asked}),
                folder / f"run-{run}",
                timeout_seconds=bench.limit_seconds,
                on_progress=recorder.part((run - 1) / _MOST_RUNS, run / _MOST_RUNS),
            )
            if not outcome.value:
                raise InvalidRunError(
                    f"the probe of {bench.label()} measured no rate", where=folder, remedy="look at its logs"
                )
            in_tokens = outcome.units == "Tokens/s"
            rules = get_round(settings.round_name).model(bench.benchmark)
            rate = outcome.value / (rules.tokens_per_sample or 1 if in_tokens else 1)
            if outcome.samples_issued / rate >= LONG_ENOUGH_SECONDS:
                break
        return {"value": rate, "runs": run}

    return perform(workspace, probe_step(bench), produce)
