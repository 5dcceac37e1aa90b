"""Several systems, one submission: each runs on its own host, their trees are merged and judged as one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from prefect import flow
from prefect.context import FlowRunContext
from pydantic import Field

from flows.approval import Candidate, ended, settle
from flows.deliver import Delivered, lay_out, run_name
from flows.explain import explained
from flows.notify import tell_of_failure
from flows.outcome import Outcome, show
from flows.parameters import Doing, taking
from flows.results import ResultLine
from flows.systems import require_deployments, start_submission, wait_for
from mlperf_submission.config.system import StoreLocation
from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import ROUNDS
from mlperf_submission.store.store import Store
from mlperf_submission.validation import Verdict
from tasks.engine.perform import run_logger
from tasks.engine.runner import Live, Runner
from tasks.handover import HandedOver, handed_over
from tasks.merge import Fleet, fetch_tree, fleet_of, merge, report_fleet, upload_fleet
from tasks.publish import publish as publish_run
from tasks.report import PAGE_FILE
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


class FleetParameters(Doing):
    """The submission of several systems as one."""

    systems: Annotated[
        list[str],
        Field(min_length=1, description="Names of systems; each has a deployment submission/NAME."),
    ]
    name: Annotated[
        str, Field(pattern=_NAME, description="What the runs of the fleet are called in the store.")
    ] = "fleet"
    skip: Annotated[
        list[str] | None,
        Field(description="Systems that are left out this time, e.g. because their host is down."),
    ] = None
    round_name: Annotated[
        RoundName | None, Field(description="The round of every system; none: the one that they share.")
    ] = None
    submitter: Annotated[
        str | None, Field(description="The submitter of every system; none: the one that they share.")
    ] = None
    wait_hours: Annotated[
        float, Field(gt=0, description="How long all systems together may take before the fleet gives up.")
    ] = 72.0
    store: Annotated[
        StoreLocation, Field(description="Where the systems put their runs, and the fleet its own.")
    ] = StoreLocation()


@flow(
    name="fleet",
    flow_run_name="fleet {name}",
    persist_result=True,
    result_serializer="json",
    on_failure=[tell_of_failure],
)
@explained
@taking(FleetParameters)
def fleet(asked: FleetParameters) -> FleetOutcome:
    """Run every system on its own host, and make one submission of what they stored.

    A system that fails does not end the others. Started again, the fleet finds what is finished.

    Raises:
        SettingError: a system has no deployment, or none is left.
        StepFailedError: systems failed or did not end in time; all are named.
        TreeError: the trees cannot stand in one submission, or the merged tree is refused.
    """
    chosen = _chosen(asked.systems, asked.skip or [])
    workspace = Workspace.at(asked.work)
    require_deployments(chosen)
    parameters = asked.model_dump(include={*Doing.model_fields} - {"work"}, exclude_defaults=True)
    parameters["publish"] = "never"  # a person decides about the fleet, and thereby about each of its systems
    started = [start_submission(system, parameters, f"{_flow_run()}-{system}") for system in chosen]
    run_logger().info("%s: %d systems at work: %s", asked.name, len(chosen), ", ".join(chosen))
    wait_for(started, 3600 * asked.wait_hours)
    members = [handed_over(one.flow_run) for one in started]
    made = fleet_of(asked.name, members, asked.round_name, _UPLOAD_SECONDS)
    with store_at(workspace, asked.store, own=made.is_rehearsal) as place:
        run = Live(workspace, system=made.name)
        run(check_store(made.name, place))
        story = partial(_deliver, made=made, submitter=asked.submitter, store=place)
        delivered = run.part(f"deliver {made.name}", story)
        lay_out(workspace.submission(made.name, delivered.run), delivered.parts)
        verdict = read_verdict(delivered.parts["verdict"])
        candidate = _candidate(workspace, made, delivered, verdict)
        show(candidate, place, asked.store.page_link_hours)
        publication = settle(candidate, place, asked.publish)
        if publication.status == "published":
            for member in made.members:
                run(publish_run(member.system, member.run, place))
    outcome = FleetOutcome.of(candidate, verdict, publication, name=made.name, members=list(made.members))
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


def _deliver(run: Runner, made: Fleet, submitter: str | None, store: Store) -> Delivered:
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
    return Delivered(name, delivered, stored)


def _candidate(workspace: Workspace, made: Fleet, delivered: Delivered, verdict: Verdict) -> Candidate:
    place = workspace.submission(made.name, delivered.run)
    return Candidate(
        system=made.name,
        run=delivered.run,
        address=delivered.stored.address,
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
