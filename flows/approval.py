"""Between a candidate and a published run stands a person's decision, about exactly the run that was shown.

A run from a deployment suspends: its process ends, the host is free, and the worker goes on when a person has
answered the form on Prefect's page. A run from a shell asks on the terminal (`cli/publishing.py`).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from flows.notify import Happening, tell
from flows.parameters import PublishChoice
from flows.results import ResultLine, markdown_table
from mlperf_submission.files import write_atomic
from mlperf_submission.store.store import Area, Store
from tasks.artifacts import publish_table
from tasks.engine.perform import perform, run_logger
from tasks.engine.runner import Live
from tasks.publish import publish
from tasks.workspace import Workspace

T = TypeVar("T")
DECISION_FILE = "approval.json"


class Candidate(BaseModel):
    """A complete run that lies in the store, and what a person needs to decide about it.

    Attributes:
        system: the system's name; of a fleet, the fleet's.
        run: the run's name, which is a hash of all that it was made from.
        address: `s3://…` of the run in the store.
        rehearsal: whether nothing of it is a result.
        verdict: the validation in one line.
        results: the table of results.
        notes: what a person should know of the runs.
        lacks: the results that it has not, as `<benchmark>/<scenario>`; with any it cannot be published.
        page: the results page on the host that made it.
        place: the run's folder on that host, which receives the decision.
    """

    model_config = ConfigDict(frozen=True)
    system: str
    run: str
    address: str
    rehearsal: bool
    verdict: str
    results: list[ResultLine]
    notes: list[str] = []
    lacks: list[str] = []
    page: Path
    place: Path

    @property
    def name(self) -> str:
        """What `publish` and `fetch` call it."""
        return f"{self.system}/{self.run}"

    @property
    def fetch_page(self) -> str:
        """The command that brings the page to any host."""
        area = Area.REHEARSALS if self.rehearsal else Area.CANDIDATES
        return f"mlperf-submission fetch {area}/{self.name} --only page --to page"

    def description(self) -> str:
        """Return the text of the form: verdict, table of results, where run and page lie."""
        return "\n".join(
            [
                f"## Publish {self.name}?",
                f"{self.verdict}\n",
                f"{markdown_table(self.results)}\n",
                *(f"- {note}" for note in self.notes),
                f"- Run: `{self.address}`",
                f"- Page: `{self.page}` on the host that ran it; on any other: `{self.fetch_page}`\n",
                "**approve** publishes exactly this run. **refuse** keeps it and publishes nothing.",
            ]
        )


class Approval(RunInput):
    """The form that a person fills in."""

    decision: Literal["approve", "refuse"] = Field(
        description="approve publishes exactly the run that is shown; refuse keeps it and publishes nothing"
    )
    name: Annotated[str, Field(pattern=r"\S", max_length=200, description="Who decides")]
    comment: Annotated[str, Field(max_length=2000, description="Why; it is kept with the decision")] = ""


class Decision(BaseModel):
    """What a person decided, and when."""

    model_config = ConfigDict(frozen=True)
    decision: Literal["approve", "refuse"]
    name: str
    comment: str
    decided: AwareDatetime


class Publication(BaseModel):
    """What became of a run after its upload.

    Attributes:
        status: `rehearsal` (never published), `candidate` (nobody has decided), `refused` or `published`.
        address: `s3://…` where it lies.
        decision: of the person who was asked.
    """

    model_config = ConfigDict(frozen=True)
    status: Literal["rehearsal", "candidate", "refused", "published"]
    address: str
    decision: Decision | None = None

    def summary(self) -> str:
        """Return it in one line."""
        said = f"{self.decision.name}: {self.decision.comment or '(no comment)'}" if self.decision else ""
        return {
            "rehearsal": "a rehearsal is never published",
            "candidate": "not published: nobody has approved it yet",
            "refused": f"not published, refused by {said}",
            "published": f"published, approved by {said}",
        }[self.status]


def settle(candidate: Candidate, store: Store, publish_choice: PublishChoice) -> Publication:
    """Ask a person whether a candidate is to be published, and do what was decided.

    The flow run suspends here and comes here again when it is resumed. The answer belongs to the run's name:
    if anything was made anew in between, the name is another one and the person is asked again.

    Args:
        candidate: what was uploaded.
        store: where it lies.
        publish_choice: `never` leaves it a candidate, to be published by `mlperf-submission publish`.
    """
    undecided = Publication(status="candidate", address=candidate.address)
    if candidate.rehearsal:
        return Publication(status="rehearsal", address=candidate.address)
    if publish_choice == "never" or candidate.lacks:
        return undecided
    if not _can_suspend():
        run_logger().warning(
            "only a run of a deployment can wait for approval; publish it by: mlperf-submission publish %s",
            candidate.name,
        )
        return undecided
    answer = _answer(candidate)
    decision = Decision(
        decision=answer.decision, name=answer.name, comment=answer.comment, decided=datetime.now(UTC)
    )
    return carry_out(candidate.system, candidate.run, candidate.address, candidate.place, decision, store)


def carry_out(
    system: str, run: str, address: str, place: Path, decision: Decision, store: Store
) -> Publication:
    """Publish a candidate or not, and keep the decision with it.

    Args:
        system: the system's name.
        run: the run's name.
        address: `s3://…` of the candidate.
        place: the run's folder on this host; `approval.json` is written there.
        decision: what was decided.
        store: where the candidate lies.
    """
    if decision.decision == "approve":
        workspace, act = Workspace.at(place), publish(system, run, store)
        address = Live(workspace)(act) if FlowRunContext.get() else perform(workspace, act).value
        publication = Publication(status="published", address=address, decision=decision)
    else:
        publication = Publication(status="refused", address=address, decision=decision)
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(place / DECISION_FILE, publication.model_dump_json(indent=1))
    publish_table(
        f"{system}-approval",
        [{"run": run, "address": publication.address, **decision.model_dump(mode="json")}],
        publication.summary(),
    )
    return publication


def ended(outcome: T, publication: Publication) -> T:
    """Return what a flow is to return: its outcome, in a final state that says what was decided.

    Prefect takes a returned state as the run's, and its data as the result: a caller gets the outcome. A
    refusal is an answer, not a failure: nothing is broken and nothing is to be repeated. The state's type is
    Completed, but its name is `Refused`, so that neither a person nor an automation takes it for done.
    """
    _tell(
        "mlperf.submission.refused" if publication.status == "refused" else "mlperf.submission.done",
        f"{publication.summary()}\n{publication.address}",
        rehearsal=publication.status == "rehearsal",
    )
    name = "Refused" if publication.status == "refused" else "Completed"
    return cast(T, Completed(name=name, message=publication.summary(), data=outcome))


def first_started() -> datetime | None:
    """Return when the flow run began for the first time, before it was suspended; None outside of a run."""
    flow_run = _flow_run()
    if flow_run is None:
        return None
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run.id).start_time


def _answer(candidate: Candidate) -> Approval:
    """Return the answer to the form; the first time here the flow run suspends instead."""
    form = Approval.with_initial_data(description=candidate.description())
    # Prefect keeps an answer under this key, which may hold small letters, digits and dashes only.
    key = f"publish-{hashlib.sha256(candidate.name.encode()).hexdigest()}"
    try:
        return suspend_flow_run(wait_for_input=form, key=key)
    except Pause:
        _tell("mlperf.submission.waiting", candidate.description(), rehearsal=False)
        raise


def _tell(happening: Happening, text: str, *, rehearsal: bool) -> None:
    context = FlowRunContext.get()
    if context and context.flow and context.flow_run:
        tell(happening, context.flow, context.flow_run, text, rehearsal=rehearsal)


def _flow_run() -> FlowRun | None:
    context = FlowRunContext.get()
    return context.flow_run if context else None


def _can_suspend() -> bool:
    """Whether Prefect can suspend the current flow run: a deployment's, and not inside another."""
    flow_run = _flow_run()
    return bool(flow_run and flow_run.deployment_id and not flow_run.parent_task_run_id)
