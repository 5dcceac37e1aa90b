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
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.measurement import RUN_OVERHEAD_SECONDS, Bench, run_inputs

LONG_ENOUGH_SECONDS = 0.5
"""A run of this length tells the rate well enough to size the others."""
_MOST_RUNS = 4
PROBE = StepSpec(
    "probe", "find the rate", ("preprocess", "quantize", "build_engine"), 2.5, RUN_OVERHEAD_SECONDS
)


def probe(label: str, bench: Bench) -> Step:
    """Run short performance runs, whose validity does not matter, until one is long enough.

    Figures: `value`, samples/s (of a stream queries/s); `runs`, how many runs it took.

    Raises:
        InvalidRunError: a run gave no rate at all.
    """

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        settings = bench.settings[RunKind.PERFORMANCE]
        rate = settings.target_qps
        for run in range(1, _MOST_RUNS + 1):
            asked = settings.model_copy(update={"target_qps": float(f"{rate:.3g}"), "min_query_count": 1})
            outcome = measure(
                bench.request.model_copy(update={"settings": asked}),
                folder / f"run-{run}",
                timeout_seconds=bench.limit_seconds,
                on_progress=recorder.part((run - 1) / _MOST_RUNS, run / _MOST_RUNS),
            )
            rate = _rate(outcome)
            if not rate:
                raise InvalidRunError(
                    f"the probe of {bench.label()} measured no rate", where=folder, remedy="look at its logs"
                )
            if outcome.samples_issued / (rate * settings.samples_per_query) >= LONG_ENOUGH_SECONDS:
                break
        return {"value": rate, "runs": run}

    return Step(PROBE, label, lambda: run_inputs(bench, RunKind.PERFORMANCE), produce)


def _rate(outcome: RunOutcome) -> float:
    """Return what LoadGen is to expect, from a run: see `RunSettings.target_qps`; 0 if it says none.

    A stream's run is too short for its percentile, which takes a minute where a query takes a second.
    """
    settings, value = outcome.settings, outcome.value or 0.0
    if settings.is_stream:
        return 1e9 / outcome.latencies.mean if outcome.latencies and outcome.latencies.mean else 0.0
    rules = get_round(settings.round_name).model(settings.benchmark)
    return value / (rules.tokens_per_sample or 1 if outcome.units == "Tokens/s" else 1)
