"""The plan: every step of a request in its order, what is finished, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from rich.console import Console
from rich.table import Table

from cli.console import clock
from flows.deliver import deliver
from flows.durations import first_guess, floor_seconds, run_of
from flows.measure import measure_all
from flows.needs import Needs, needs_of, show_needs
from flows.networks import build_and_time
from flows.prepare import prepare_all
from flows.request import SubmissionRequest
from mlperf_submission.rounds import RunKind
from tasks.engine.pending import awaited, is_pending
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
    """

    steps: tuple[PlannedStep, ...]
    timed: int
    untimed: int
    floor: float
    official: bool
    needs: Needs

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
        deliver(run, request, results, steps, awaited("check_store", request.system.name))
    runs = [found for step in run.steps if (found := run_of(request, step.name, step.label))]
    untimed = sum(kind is RunKind.ACCURACY for _, kind in runs)
    finished = frozenset((step.name, step.label) for step in run.steps if step.done)
    engines = {name: one.engine for name, one in prepared.items() if not is_pending(one.engine)}
    return Plan(
        steps=tuple(run.steps),
        timed=len(runs) - untimed,
        untimed=untimed,
        floor=sum(floor_seconds(request, result, kind) for result, kind in runs),
        official=request.full_length,
        needs=needs_of(request, workspace.root, finished, engines),
    )


def show_plan(console: Console, plan: Plan) -> None:
    """Print the plan as a table, with the time left and when it would end."""
    table = Table(header_style="bold")
    for heading in ("step", "for", "expected", ""):
        table.add_column(heading, justify="right" if heading == "expected" else "left")
    for step in plan.steps:
        table.add_row(
            step.name, step.label, clock(step.seconds), "[green]finished[/]" if step.done else "to do"
        )
    console.print(table)
    show_needs(console, plan.needs)
    measuring, rest = plan.seconds_of(measuring=True), plan.seconds_of(measuring=False)
    console.print(
        f"{plan.timed + plan.untimed} runs of LoadGen, {plan.timed} of them timed: "
        f"{'' if plan.official else 'as a submission '}at least {clock(plan.floor)} by the round's rules at "
        f"these targets, expected {clock(measuring)}; {clock(rest)} for everything else (a guess where it "
        "was never done here)"
    )
    end = datetime.now().astimezone() + timedelta(seconds=plan.seconds_left)
    console.print(
        f"{plan.finished} of {len(plan.steps)} steps finished; about {clock(plan.seconds_left)} to go, "
        f"until {end:%a %H:%M %Z} if started now"
    )
