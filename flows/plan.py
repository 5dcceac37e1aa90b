"""The plan: every step of a request in its order, what is finished, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flows.deliver import deliver
from flows.durations import first_guess, floor_seconds, run_of
from flows.measure import measure_all
from flows.needs import Needs, needs_of
from flows.networks import build_and_time
from flows.prepare import prepare_all
from flows.request import SubmissionRequest
from mlperf_submission.rounds import RunKind
from tasks.engine.pending import is_pending, pending
from tasks.engine.runner import Dry, PlannedStep
from tasks.engine.spec import RUN_PARTS
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Plan:
    """The steps of a request in their order.

    Attributes:
        timed: number of timed runs, performance and audits; `untimed`: of accuracy runs.
        floor: seconds that LoadGen takes at the least for all of them as a submission, by the round's rules.
        official: whether the runs have the round's lengths.
        needs: disk space and memory.
        notices: what the system file says and the request has no use for.
    """

    steps: tuple[PlannedStep, ...]
    timed: int
    untimed: int
    floor: float
    official: bool
    needs: Needs
    notices: tuple[str, ...] = ()

    @property
    def finished(self) -> int:
        """How many steps are finished."""
        return sum(step.done for step in self.steps)

    @property
    def seconds_left(self) -> float:
        """Expected seconds of the steps that are not finished."""
        return sum(step.seconds for step in self.steps if not step.done)

    def seconds_of(self, measuring: bool) -> float:
        """Return the expected seconds of the runs, or of everything else, whether finished or not."""
        return sum(step.seconds for step in self.steps if (step.part in RUN_PARTS) is measuring)

    def expected(self) -> list[tuple[tuple[str, str], float]]:
        """Return (name, label) and the seconds that are still to be spent on it, for the progress display."""
        return [((step.name, step.label), 0.0 if step.done else step.seconds) for step in self.steps]


def make_plan(workspace: Workspace, request: SubmissionRequest) -> Plan:
    """Return every step of a request; reads the work folder, changes nothing, starts nothing."""
    run = Dry(workspace, partial(first_guess, request))
    if request.weights == "random":
        prepared = {one.benchmark: one for one, _ in build_and_time(run, request)}
    else:
        prepared, _ = prepare_all(run, request)
        results, _ = measure_all(run, request, prepared)
        steps = [step for one in prepared.values() for step in one.steps]
        deliver(run, request, results, steps, pending(f"check_store {request.system.name}"))
    runs = [found for step in run.steps if (found := run_of(request, step.name, step.label))]
    untimed = sum(kind is RunKind.ACCURACY for _, kind in runs)
    engines = {name: one.engine for name, one in prepared.items() if not is_pending(one.engine)}
    return Plan(
        steps=tuple(run.steps),
        timed=len(runs) - untimed,
        untimed=untimed,
        floor=sum(floor_seconds(request, result, kind) for result, kind in runs),
        official=request.full_length,
        needs=needs_of(request, workspace.root, run.steps, engines),
        notices=tuple(request.notices),
    )
