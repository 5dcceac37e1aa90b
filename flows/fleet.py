"""Several systems, one submission: each runs on its own host, their trees are merged and judged as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from prefect import flow
from prefect.context import FlowRunContext
from pydantic import Field

from flows.approval import Candidate, PublishChoice, ended, settle
from flows.deliver import lay_out, run_name
from flows.explain import explained
from flows.notify import tell_of_failure
from flows.outcome import Outcome, outcome_fields, show
from flows.request import BenchmarkName, ScenarioName
from flows.results import ResultLine
from mlperf_submission.config.system import StoreLocation
from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import ROUNDS
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.store.store import Store
from mlperf_submission.validation import Verdict
from tasks.engine.perform import run_logger
from tasks.engine.runner import Live, Runner
from tasks.handover import HandedOver, handed_over
from tasks.merge import Fleet, fetch_tree, fleet_of, merge, report_fleet, upload_fleet
from tasks.publish import publish as publish_run
from tasks.report import PAGE_FILE
from tasks.submissions import require_deployments, start_submission, wait_for
from tasks.upload import check_store, store_at
from tasks.validate import read_verdict, validate
from tasks.workspace import Workspace

if TYPE_CHECKING:
    RoundName = str
else:
    RoundName = Literal[tuple(ROUNDS)]
"""The rounds of `mlperf_submission.rounds`."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"
_UPLOAD_SECONDS = 4 * 3600.0


class FleetOutcome(Outcome):
    """What the flow hands back.

    Attributes:
        name: of the fleet; `run` names this run of it.
        members: the runs that it was made of.
    """

    name: str
    members: list[HandedOver]


@flow(name="fleet", persist_result=True, result_serializer="json", on_failure=[tell_of_failure])
@explained
def fleet(
    systems: Annotated[list[str], Field(min_length=1)],
    name: Annotated[str, Field(pattern=_NAME)] = "fleet",
    skip: list[str] | None = None,
    models: list[BenchmarkName] | None = None,
    scenarios: list[ScenarioName] | None = None,
    measure_again: bool = False,
    round_name: RoundName | None = None,
    submitter: str | None = None,
    wait_hours: Annotated[float, Field(gt=0)] = 72.0,
    publish: PublishChoice = "ask",
    store: StoreLocation = StoreLocation(),  # noqa: B008 - frozen
    work: Path = Path("work"),
) -> FleetOutcome:
    """Run every system on its own host, and make one submission of what they stored.

    A system that fails does not end the others. Started again, the fleet finds what is finished.

    Args:
        systems: Names of systems; each has a deployment submission/<system>.
        name: What the runs of the fleet are called in the store.
        skip: Systems that are left out this time, e.g. because their host is down.
        models: Only these benchmarks; none: all that each system file names.
        scenarios: Only these scenarios; none: all.
        measure_again: Repeat finished measurements on every host; preparation is kept.
        round_name: The round of every system; none: the one that they share.
        submitter: The submitter of every system; none: the one that they share.
        wait_hours: How long all systems together may take before the fleet gives up.
        publish: Ask a person when the fleet's run is uploaded, or leave it; rehearsals never are published.
        store: Where the systems put their runs, and the fleet its own.
        work: The folder that everything is kept in.

    Raises:
        SettingError: a system has no deployment, or none is left.
        StepFailedError: systems failed or did not end in time; all are named.
        TreeError: the trees cannot stand in one submission, or the merged tree is refused.
    """
    chosen = _chosen(systems, skip or [])
    workspace = Workspace.at(work)
    require_deployments(chosen)
    asked = {"models": models, "scenarios": scenarios, "measure_again": measure_again or None}
    parameters: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    parameters["publish"] = "never"  # a person decides about the fleet, and thereby about each of its systems
    started = [start_submission(system, parameters, f"{_flow_run()}-{system}") for system in chosen]
    run_logger().info("%s: %d systems at work: %s", name, len(chosen), ", ".join(chosen))
    wait_for(started, 3600 * wait_hours)
    members = [handed_over(one.flow_run) for one in started]
    made = fleet_of(name, members, round_name, _UPLOAD_SECONDS)
    with store_at(workspace, store, own=made.is_rehearsal) as place:
        run = Live(workspace, system=made.name)
        run(check_store(made.name, place))
        story = partial(_deliver, made=made, submitter=submitter, store=place)
        delivered = run.part(f"deliver {made.name}", story)
        lay_out(workspace.submission(made.name, delivered.run), delivered.parts)
        verdict = read_verdict(delivered.parts["verdict"])
        candidate = _candidate(workspace, made, delivered, verdict)
        show(candidate, place, store.page_link_hours)
        publication = settle(candidate, place, publish)
        if publication.status == "published":
            for member in made.members:
                run(publish_run(member.system, member.run, place))
    outcome = FleetOutcome(
        name=made.name,
        members=list(made.members),
        **outcome_fields(candidate, verdict, publication),
    )
    return ended(outcome, publication)


def _chosen(systems: list[str], skip: list[str]) -> list[str]:
    unknown = [system for system in skip if system not in systems]
    chosen = [system for system in dict.fromkeys(systems) if system not in skip]
    named = f"the fleet's systems are {', '.join(systems)}"
    if unknown:
        raise SettingError(f"skip names {', '.join(unknown)}, which the fleet has not", remedy=named)
    if not chosen:
        raise SettingError("no system is left of the fleet: skip names all of them", remedy=named)
    return chosen


@dataclass(frozen=True)
class _Delivered:
    """The merged submission in the store."""

    run: str
    parts: dict[str, StepRecord]
    address: str


def _deliver(run: Runner, made: Fleet, submitter: str | None, store: Store) -> _Delivered:
    """Merge what the systems stored, judge it, make the pages, keep it in S3."""
    trees = [run(fetch_tree(made, member, store)) for member in made.members]
    tree = run(merge(made, trees))
    if submitter not in (None, tree.figures["submitter"]):
        raise SettingError(
            f"the systems are of {tree.figures['submitter']}, not of {submitter}",
            where=made.name,
            remedy="correct the parameter submitter, or the system files",
        )
    judged = run(validate(made.name, made, tree))
    page = run(report_fleet(made, tree, judged))
    delivered = {"tree": tree, "page": page, "verdict": judged}
    name = run_name([*trees, tree, judged], ["tasks.merge"])
    stored = run(upload_fleet(made, name, delivered, trees, store))
    return _Delivered(name, delivered, stored.address)


def _candidate(workspace: Workspace, made: Fleet, delivered: _Delivered, verdict: Verdict) -> Candidate:
    place = workspace.submission(made.name, delivered.run)
    return Candidate(
        system=made.name,
        run=delivered.run,
        address=delivered.address,
        rehearsal=made.is_rehearsal,
        verdict=verdict.summary(),
        results=[
            ResultLine(
                benchmark=f"{one.system}: {one.benchmark}",
                scenario=one.scenario,
                value=one.value or 0.0,
                units=one.units,
                accuracy=one.accuracy or "none",
                p99_ms=None,
                audits="" if one.ok else "REFUSED",
            )
            for one in sorted(verdict.results, key=lambda one: one.system)
        ],
        notes=[f"{member.system}: {member.address}" for member in made.members],
        page=place / "page" / PAGE_FILE,
        place=place,
    )


def _flow_run() -> str:
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else "no-flow-run"
