"""Search the highest Server target that stays VALID, within a budget of time, before the result is measured.

Every probe is kept below `<work>/searches/`, so that a later search starts from what is known.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.errors import InvalidRunError
from mlperf_submission.files import write_atomic
from mlperf_submission.harness.search import find_server_qps, limits_for, planned_seconds
from mlperf_submission.rounds import RunKind
from mlperf_submission.steps.cache import code_version
from tasks.engine.perform import Recorder, run_logger
from tasks.engine.spec import Step, StepSpec
from tasks.measurement import Bench, run_inputs
from tasks.workspace import Workspace

OUTCOME_FILE = "search.json"
SEARCH = StepSpec("search", "find the rate", ("probe", "preprocess", "quantize", "build_engine"))


def search(label: str, bench: Bench, budget_seconds: float) -> Step:
    """Find the highest Server target. Figures: those of `mlperf_submission.harness.search.SearchOutcome`.

    Raises:
        InvalidRunError: no target was confirmed within the budget.
    """

    def inputs() -> dict[str, JsonValue]:
        return run_inputs(
            bench,
            RunKind.PERFORMANCE,
            budget_seconds=budget_seconds,
            searched_by=code_version("mlperf_submission.harness.search"),
        )

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        probes = _probes(recorder.workspace, bench)
        outcome = find_server_qps(
            bench.request,
            limits_for(bench.request, budget_seconds),
            probes,
            on_progress=recorder,
            on_message=run_logger().info,
        )
        write_atomic(folder / OUTCOME_FILE, outcome.model_dump_json(indent=1))
        if not outcome.confirmed:
            raise InvalidRunError(
                f"no Server target of {bench.label()} was confirmed: {outcome.reason}",
                where=probes,
                remedy="start from a lower target_qps in the system file, or give the search more time",
            )
        return outcome.model_dump(mode="json")

    def seconds(workspace: Workspace) -> float:
        """Return how long it would take now, given what is known already."""
        limits = limits_for(bench.request, budget_seconds)
        return planned_seconds(bench.request, limits, _probes(workspace, bench))

    return Step(SEARCH, label, inputs, produce, seconds)


def _probes(workspace: Workspace, bench: Bench) -> Path:
    return workspace.root / "searches" / f"{bench.benchmark}-{bench.engine_hash[:12]}"
