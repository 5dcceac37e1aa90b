"""Systems that were submitted apart, made into one submission: fetched, merged, and stored as one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from mlperf_submission.errors import TreeError
from mlperf_submission.files import write_atomic
from mlperf_submission.page.evidence import PageEvidence
from mlperf_submission.page.fleet import write_fleet
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.store.store import RunInfo, Store
from mlperf_submission.tree.merge import merge_trees
from tasks.artifacts import publish_table
from tasks.engine.perform import Recorder
from tasks.engine.spec import Act, Done, Step, StepSpec, said_again
from tasks.handover import HandedOver
from tasks.package import PROJECT
from tasks.report import PAGE_FILE, page_templates_version
from tasks.upload import STORE_RETRIES, Stored, run_files, send_run
from tasks.validate import read_verdict, require_accepted

FETCH_TREE = StepSpec("fetch_tree", "deliver", retries=STORE_RETRIES)
MERGE = StepSpec("merge", "deliver", ("fetch_tree",), asset="tree")
REPORT_FLEET = StepSpec("report_fleet", "deliver", ("merge",), asset="page")
UPLOAD_FLEET = StepSpec("upload_fleet", "deliver", ("report_fleet",), retries=STORE_RETRIES, asset="run")
TREE = "tree"
MEMBERS_FILE = "members.json"
_TREE_FROM_A_SYSTEMS_PAGE = "../../../../../tree"
"""From `page/systems/<division>/<submitter>/<system>/`, as a run is laid out."""


class Fleet(BaseModel):
    """Systems that are submitted as one.

    Attributes:
        name: what the runs of the fleet are called in the store.
        round: of all of its systems.
        members: the run of each system, by its name.
        upload_seconds: time limit of an upload or a retrieval.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    round: str
    members: tuple[HandedOver, ...]
    upload_seconds: float

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing of this fleet may ever pass as a result."""
        return any(member.rehearsal for member in self.members)


def fleet_of(
    name: str, members: Sequence[HandedOver], round_name: str | None, upload_seconds: float
) -> Fleet:
    """Return the fleet of some runs.

    Raises:
        TreeError: the runs are of several rounds, or of another one than was asked for, or rehearsals stand
            beside results.
    """
    rounds = sorted({member.round for member in members})
    if len(rounds) != 1 or round_name not in (None, *rounds):
        found = ", ".join(f"{member.name} ({member.round})" for member in members)
        raise TreeError(
            f"a submission is of one round{f', {round_name}' if round_name else ''}: {found}",
            where=name,
            remedy="set the same round in every system file, and run the fleet again",
        )
    rehearsals = [member.system for member in members if member.rehearsal]
    if rehearsals and len(rehearsals) < len(members):
        raise TreeError(
            f"rehearsals cannot stand beside results: {', '.join(rehearsals)} of {len(members)} systems",
            where=name,
            remedy="leave the rehearsals out (skip), or make a fleet of their own of them",
        )
    ordered = tuple(sorted(members, key=lambda member: member.system))
    return Fleet(name=name, round=rounds[0], members=ordered, upload_seconds=upload_seconds)


def fetch_tree(fleet: Fleet, member: HandedOver, store: Store) -> Step:
    """Bring the tree of a stored run here, every file verified; it lies in the step's folder `tree`.

    Raises:
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: there is no such run, or files of it are missing or tampered with.
    """

    def inputs() -> dict[str, JsonValue]:  # nothing but the run, which never changes
        return {"run": member.run, "content": store.manifest(member.address).content_hash}

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        restored = store.fetch_run(
            member.address,
            folder,
            only=[TREE],
            deadline=time.monotonic() + fleet.upload_seconds,
            on_progress=lambda done, total: recorder(done / max(total, 1)),
        )
        return {"files": len(restored.fetched), "bytes": restored.size}

    return Step(FETCH_TREE, member.system, inputs, produce)


def merge(fleet: Fleet, trees: Sequence[StepRecord]) -> Step:
    """Write one tree with all systems; the step's folder is its root.

    Raises:
        TreeError: the trees cannot stand in one submission; everything that is against it is named.
    """

    def inputs() -> dict[str, JsonValue]:
        return {
            "trees": [tree.content_hash for tree in trees],
            "code_version": code_version("mlperf_submission.tree.merge"),
        }

    def produce(folder: Path, _recorder: Recorder) -> dict[str, JsonValue]:
        merged = merge_trees([tree.folder / TREE for tree in trees], folder)
        return {
            "submitter": merged.submitter,
            "systems": list(merged.systems),
            "files": merged.files,
            "joined": list(merged.joined),
        }

    return Step(MERGE, fleet.name, inputs, produce)


def report_fleet(fleet: Fleet, tree: StepRecord, verdict: StepRecord) -> Step:
    """Write the page of all systems and a page of each, and say which runs they were made of."""

    def inputs() -> dict[str, JsonValue]:
        return {
            "tree": tree.content_hash,
            "verdict": verdict.content_hash,
            "members": [member.model_dump(mode="json") for member in fleet.members],
            "code_version": code_version("mlperf_submission.page.fleet"),
            "templates": page_templates_version(),
        }

    def produce(folder: Path, _recorder: Recorder) -> dict[str, JsonValue]:
        members = {member.system: member for member in fleet.members}
        evidence = {
            place: PageEvidence(
                run_id=members[system].run,
                s3_address=f"{members[system].address}/{TREE}",
                tree_link=_TREE_FROM_A_SYSTEMS_PAGE,
                rehearsal=fleet.is_rehearsal,
            )
            for place in map(str, _list(tree.figures["systems"]))
            if (system := place.rpartition("/")[2]) in members
        }
        page = write_fleet(
            tree.folder,
            folder,
            round_name=fleet.round,
            verdict=read_verdict(verdict),
            evidence=evidence,
            again=said_again,
        )
        write_atomic(folder / MEMBERS_FILE, fleet.model_dump_json(indent=1, include={"members"}))
        return {"bytes": page.stat().st_size}

    return Step(REPORT_FLEET, fleet.name, inputs, produce)


def upload_fleet(
    fleet: Fleet, run: str, delivered: Mapping[str, StepRecord], made_of: Sequence[StepRecord], store: Store
) -> Act[Stored]:
    """Upload the fleet's tree, pages and verdict as one run; the runs of its systems stay where they are.

    Raises:
        TreeError: the merged tree is refused.
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: the key is refused, the bucket is missing, or the run is there with other content.
    """

    def do(recorder: Recorder) -> Done[Stored]:
        verdict = read_verdict(delivered["verdict"])
        require_accepted(verdict, delivered["page"].file(PAGE_FILE))
        info = RunInfo(
            system=fleet.name,
            run=run,
            round=fleet.round,
            created=delivered["tree"].created,
            rehearsal=fleet.is_rehearsal,
            tool_version=version(PROJECT),
            figures={f"{one.system}/{one.benchmark}/{one.scenario}": one.value for one in verdict.results},
        )
        files = run_files(recorder.workspace, delivered, made_of)
        done = send_run(recorder, info, files, fleet.upload_seconds, store)
        publish_table(
            f"{fleet.name}-members",
            [member.model_dump(mode="json") for member in fleet.members],
            f"{fleet.name}/{run} was made of these runs",
        )
        return done

    return Act(UPLOAD_FLEET, fleet.name, do)


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
