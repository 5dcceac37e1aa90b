"""Find the rate that a result reaches, where the system file does not say what to expect.

LoadGen sizes its single Offline query by the expected rate: too low a figure makes the run too short, which
is INVALID, too high a figure only makes it longer. One benchmark answers 20 samples a second and another
20,000 on the same host: a probe begins with a few samples, and expects of its next run what this one reached.
In SingleStream and MultiStream the rate is one over the mean latency of a query: LoadGen prepares twice as
many queries as that asks for.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.errors import InvalidRunError
from mlperf_submission.harness.record import RunOutcome
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

    Figures: `value`, samples/s (of a stream queries/s); `runs`, how many runs it took.

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
            rate = _rate(outcome)
            if outcome.samples_issued / (rate * settings.samples_per_query) >= LONG_ENOUGH_SECONDS:
                break
        return {"value": rate, "runs": run}

    return perform(workspace, probe_step(bench), produce)


def _rate(outcome: RunOutcome) -> float:
    """Return what LoadGen is to expect of a run, from one that gave a value: see `RunSettings.target_qps`."""
    settings, value = outcome.settings, outcome.value or 0.0
    if settings.is_stream and outcome.latencies:
        return 1e9 / outcome.latencies.mean
    rules = get_round(settings.round_name).model(settings.benchmark)
    return value / (rules.tokens_per_sample or 1 if outcome.units == "Tokens/s" else 1)
