"""Find the rate that a result reaches in Offline, where the system file does not say what to expect.

LoadGen sizes its single Offline query by the expected rate: too low a figure makes the run too short, which
is INVALID, too high a figure only makes it longer.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from common.errors import InvalidRunError
from harness.run import measure
from mlperf.rounds import RunKind, get_round
from storage.cache import StepRecord
from tasks.measurement import Bench, run_step
from tasks.step import Recorder, Step, perform, step_task
from tasks.workspace import Workspace


def probe_step(bench: Bench) -> Step:
    """Return what goes into a probe: that of a performance run."""
    return run_step(bench, RunKind.PERFORMANCE).model_copy(update={"name": "probe"})


@step_task("probe", shown="{bench.benchmark} {bench.scenario}")
def probe(workspace: Workspace, bench: Bench) -> StepRecord:
    """Run a short performance run, whose validity does not matter. Figures: `value`, samples/s.

    Raises:
        InvalidRunError: the run gave no rate at all.
    """
    request = bench.request.model_copy(update={"settings": bench.settings[RunKind.PERFORMANCE]})

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        outcome = measure(request, folder, timeout_seconds=bench.limit_seconds, on_progress=recorder)
        if not outcome.value:
            raise InvalidRunError(
                f"the probe of {bench.label()} measured no rate", where=folder, remedy="look at its logs"
            )
        rules = get_round(outcome.settings.round_name).model(bench.benchmark)
        in_tokens = outcome.units == "Tokens/s"
        return {"value": outcome.value / (rules.tokens_per_sample or 1 if in_tokens else 1)}

    return perform(workspace, probe_step(bench), produce)
