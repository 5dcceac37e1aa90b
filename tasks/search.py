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
from mlperf_submission.steps.cache import StepRecord, code_version
from tasks.measurement import Bench, run_step
from tasks.step import Recorder, Step, perform, run_logger, step_task
from tasks.workspace import Workspace

OUTCOME_FILE = "search.json"


def search_step(bench: Bench, budget_seconds: float) -> Step:
    """Return what goes into a search: that of a performance run, and the budget."""
    step = run_step(
        bench,
        RunKind.PERFORMANCE,
        budget_seconds=budget_seconds,
        searched_by=code_version("mlperf_submission.harness.search"),
    )
    return step.model_copy(update={"name": "search"})


def search_seconds(workspace: Workspace, bench: Bench, budget_seconds: float) -> float:
    """Return how long a search would take now, given what is known already."""
    return planned_seconds(
        bench.request, limits_for(bench.request, budget_seconds), _probes(workspace, bench)
    )


@step_task("search", shown="{bench.benchmark} {bench.scenario}")
def search(workspace: Workspace, bench: Bench, budget_seconds: float) -> StepRecord:
    """Find the highest Server target. Figures: those of `mlperf_submission.harness.search.SearchOutcome`.

    Raises:
        InvalidRunError: no target was confirmed within the budget.
    """

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        outcome = find_server_qps(
            bench.request,
            limits_for(bench.request, budget_seconds),
            _probes(workspace, bench),
            on_progress=recorder,
            on_message=run_logger().info,
        )
        write_atomic(folder / OUTCOME_FILE, outcome.model_dump_json(indent=1))
        if not outcome.confirmed:
            raise InvalidRunError(
                f"no Server target of {bench.label()} was confirmed: {outcome.reason}",
                where=_probes(workspace, bench),
                remedy="start from a lower target_qps in the system file, or give the search more time",
                code="no-target-confirmed",
            )
        return outcome.model_dump(mode="json")

    return perform(workspace, search_step(bench, budget_seconds), produce)


def _probes(workspace: Workspace, bench: Bench) -> Path:
    return workspace.root / "searches" / f"{bench.benchmark}-{bench.engine_hash[:12]}"
