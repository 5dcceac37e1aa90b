"""The submission of one system: prepare, measure, deliver. A step that is finished is found, not repeated."""

from __future__ import annotations

from functools import partial

from prefect import flow
from prefect.runtime import flow_run

from flows.approval import Candidate, ended, first_started, settle
from flows.deliver import deliver, lay_out
from flows.explain import explained
from flows.incomplete import incomplete, lacking, notes_on_missing, raise_if_nothing_is_left
from flows.measure import measure_all
from flows.needs import require_fit
from flows.networks import NetworksOutcome, rehearse_networks
from flows.notify import tell_of_failure
from flows.outcome import Outcome, show
from flows.parameters import SubmissionParameters, taking
from flows.plan import make_plan
from flows.prepare import prepare_all
from flows.request import SubmissionRequest
from flows.results import notes_on, result_line
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import SettingError
from tasks.check_officially import OFFICIAL, read_check
from tasks.engine.perform import run_logger
from tasks.engine.runner import Live
from tasks.handover import HandedOver, hand_over
from tasks.report import PAGE_FILE
from tasks.upload import check_store, placed, store_for
from tasks.validate import read_verdict
from tasks.workspace import Workspace


class SubmissionOutcome(Outcome):
    """What the flow hands back, and what a person reads at its end.

    Attributes:
        system: its name.
        backend_notice: what ran the networks, in a sentence.
    """

    system: str
    backend_notice: str


def _named() -> str:
    """Return what Prefect calls this run: system, round and the first digits of the run's id."""
    system = str(flow_run.parameters.get("system", ""))
    try:
        loaded = load_system(system)
        system = f"{loaded.name} {loaded.round}"
    except SettingError:
        pass  # which the flow says, when it reads the file itself
    return f"submission {system} #{flow_run.id[:4]}"


@flow(
    name="submission",
    flow_run_name=_named,
    persist_result=True,
    result_serializer="json",
    on_failure=[tell_of_failure],
)
@explained
@taking(SubmissionParameters)
def submission(asked: SubmissionParameters) -> SubmissionOutcome | NetworksOutcome:
    """Take one system from nothing to a checked submission in S3; with random weights to engines and speeds.

    Raises:
        HostTooSmallError: the host lacks disk space, memory or GPUs for the plan; nothing was started.
        IncompleteError: results failed: INVALID run, accuracy below target, failed audit, …. The others are
            delivered, and the error carries the outcome.
        PipelineError: nothing could be delivered: the only result failed, a refused tree, S3 is away, …
    """
    request, workspace = SubmissionRequest.of(asked), Workspace.at(asked.work)
    logger = run_logger()
    logger.info("%s: %d results of round %s", request.system.name, len(request.results), request.round.name)
    if not asked.anyway:
        require_fit(make_plan(workspace, request).needs, workspace.root)
    run = Live(
        workspace,
        forget_before=first_started() if asked.measure_again else None,
        measures_once=not request.full_length or request.weights == "random",
        system=request.system.name,
    )
    if request.weights == "random":
        return rehearse_networks(run, request)
    with store_for(workspace, request.system) as store:
        run(check_store(request.system.name, store))
        prepared, failures = prepare_all(run, request)
        results, failed = measure_all(run, request, prepared)
        failures |= failed
        raise_if_nothing_is_left(results, failures)
        lacks = lacking(request, results)
        steps = [step for one in prepared.values() for step in one.steps]
        name = request.system.name
        story = partial(deliver, request=request, results=results, prepared=steps, store=store, lacks=lacks)
        delivered = run.part(f"deliver {name}", story)
        place = workspace.submission(name, delivered.run)
        lay_out(place, {**placed(results), **delivered.parts})
        verdict, official = read_verdict(delivered.parts["verdict"]), delivered.parts.get(OFFICIAL)
        candidate = Candidate(
            system=name,
            run=delivered.run,
            address=delivered.stored.address,
            rehearsal=request.system.is_rehearsal,
            verdict=verdict.summary(),
            results=[result_line(one) for one in results],
            notes=[
                *(read_check(official).notes() if official else ()),
                *request.notices,
                *notes_on(results),
                *notes_on_missing(request, results, failures),
            ],
            lacks=lacks,
            page=place / "page" / PAGE_FILE,
            place=place,
        )
        hand_over(
            HandedOver(
                system=name,
                run=candidate.run,
                round=request.round.name,
                rehearsal=candidate.rehearsal,
                address=candidate.address,
            )
        )
        show(candidate, store, request.system.store.page_link_hours)
        publication = settle(candidate, store, asked.publish)
    outcome = SubmissionOutcome.of(
        candidate, verdict, publication, system=candidate.system, backend_notice=delivered.notice
    )
    if failures:
        raise incomplete(request, outcome, failures)
    return ended(outcome, publication)
