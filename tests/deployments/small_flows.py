"""Flows that a real worker runs for test_operated.py: what the real ones do at their end, but small."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow

from flows.approval import Candidate, Publication, ended, first_started, settle
from flows.explain import explained
from flows.notify import tell_of_failure
from flows.parameters import PublishChoice
from flows.results import ResultLine
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.harness.run import measure
from mlperf_submission.store.store import RunFile, RunInfo, Store
from tasks.engine.perform import Recorder
from tasks.engine.runner import Live
from tasks.engine.spec import Act, Done, StepSpec
from tasks.handover import HandedOver, hand_over
from tasks.measurement import require_valid
from tasks.upload import UPLOAD, send_run
from tasks.workspace import Workspace

LINE = ResultLine(
    benchmark="resnet50",
    scenario="Server",
    value=132_008.0,
    units="Queries/s",
    accuracy="acc 75.8",
    p99_ms=14.2,
    audits="TEST01, 04, 05 passed",
)


@flow(name="approval", persist_result=True, result_serializer="json")
def approval(system: str, bucket: str, place: Path) -> Publication:
    """Ask for approval of a system's newest candidate, as the submission flow does for what it made."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "started.txt").open("a") as starts:
        starts.write(f"{first_started()}\n")
    store = Store(bucket)
    found = store.find(f"candidates/{system}/latest")
    candidate = Candidate(
        system=system,
        run=found.manifest.run,
        address=f"{store.address}{found.address}",
        rehearsal=found.manifest.rehearsal,
        verdict="accepted by the rules of v4.1: 1 of 1 results, 0 errors",
        results=[LINE],
        page=place / "page" / "index.html",
        place=place,
    )
    publication = settle(candidate, store, "ask")
    return ended(publication, publication)


@flow(name="submission")
def stored(system: str, tree: Path, bucket: str, publish: PublishChoice) -> None:
    """Put a tree into the store as a candidate, and say where it lies, as the submission flow ends."""
    assert publish == "never", "a fleet asks once, for all of its systems"
    created = datetime(2026, 1, 1, tzinfo=UTC)
    info = RunInfo(
        system=system, run="abc", round="v4.1", created=created, rehearsal=False, tool_version="0.1"
    )
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    files = [RunFile(f"tree/{path.relative_to(tree)}", path) for path in paths]
    files += [RunFile(f"{part}/of-the-tree", paths[0]) for part in ("page", "verdict")]
    run = Live(Workspace.at(tree.with_name(f"{system}-work")))
    sent = run(Act(UPLOAD, system, lambda recorder: send_run(recorder, info, files, 60, Store(bucket))))
    hand_over(
        HandedOver(system=system, run=info.run, round=info.round, rehearsal=False, address=sent.address)
    )


@flow(name="measurement", persist_result=True, result_serializer="json", on_failure=[tell_of_failure])
@explained
def measurement(request: RunRequest, folder: Path) -> None:
    """Measure once with the real LoadGen, in a subflow's task; INVALID fails as in the submission flow."""

    def work(_: Recorder) -> Done[None]:
        require_valid(measure(request, folder, timeout_seconds=900), "performance of resnet50 Server")
        return Done(None)

    step = Act(StepSpec("performance", "performance"), "resnet50 Server", work)
    run = Live(Workspace.at(folder.with_name(f"{folder.name}-work")))
    run.part("measure resnet50 Server", lambda runner: runner(step))
