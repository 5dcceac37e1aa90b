"""The official checker's verdict stands beside ours: what differs, and what a rehearsal need not keep."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.steps.cache import StepRecord
from tasks.check_officially import OfficialCheck, check_officially, read_check
from tasks.engine.perform import perform
from tasks.engine.spec import Step, StepSpec
from tasks.validate import read_verdict, validate
from tasks.workspace import Workspace
from tests.mlperf_submission.validation.sample_later import build_later
from tests.mlperf_submission.validation.sample_official import checkout

RUN = "closed/Acme/results/tin/resnet50/Offline/performance/run_1"
REFUSES = """
log.error("%s Test duration less than 600s", base + "Offline" + run)
log.error("NoResults %s", base + "Offline" + run)
log.info("Results %s %s", base + "SingleStream" + run, {SingleStream})
log.info("Results %s %s", base + "MultiStream" + run, {MultiStream})
log.error("SUMMARY: submission has errors")
sys.exit(1)
"""


@dataclass(frozen=True)
class Submitted:
    round: str
    is_rehearsal: bool


def checked(
    folder: Path, *, rehearsal: bool, short: bool, again: str = ""
) -> tuple[StepRecord, OfficialCheck]:
    """Judge a tree of v6.0 by both; `short`: its Offline run is."""
    workspace, submitted = Workspace.at(folder / "work"), Submitted("v6.0", rehearsal)
    clone = folder / "clone"

    def produce(place: Path, _: object) -> dict[str, int]:
        submission = build_later(folder / "tree", "v6.0", "tin")
        if short:
            submission.log(RUN, effective_min_duration_ms=2000)
        shutil.copytree(submission.root, place, dirs_exist_ok=True)
        return {}

    tree = perform(workspace, Step(StepSpec("package", "deliver"), "tin", dict, produce)).value
    verdict = perform(workspace, validate("tin", submitted, tree)).value
    if not clone.exists():
        values = {one.scenario: one.value for one in read_verdict(verdict).results}
        checkout(clone, REFUSES.format(**values))
    (clone / "tools" / "submission" / "helper.py").write_text(again)
    record = perform(workspace, check_officially("tin", submitted, tree, verdict, clone)).value
    return record, read_check(record)


def test_what_the_official_checker_refuses_is_said_of_a_submission(tmp_path: Path) -> None:
    record, check = checked(tmp_path, rehearsal=False, short=False)
    offline = "closed/Acme/results/tin/resnet50/Offline"
    assert check.differences == (
        f"{offline}: ours accepts it, the official checker refuses it",
        "the whole tree: ours accepts it, the official checker refuses it",
    )
    assert check.by_design == ()
    assert check.notes()[0] == (
        "REFUSED BY THE OFFICIAL CHECKER, and no submission as it is: refused by the official checker: "
        "2 of 3 results, 1 errors"
    )
    assert check.notes()[1:] == [f"the official checker differs: {one}" for one in check.differences]
    assert record.figures["ok"] is False
    assert record.figures["differences"] == 2


def test_a_rehearsal_is_compared_as_a_submission_and_its_shortness_is_a_notice(tmp_path: Path) -> None:
    _, check = checked(tmp_path, rehearsal=True, short=True)
    assert check.ours.startswith("rehearsal accepted")
    assert not check.official.ok
    assert check.differences == ()
    assert len(check.by_design) == 2, "one result, and so the tree"
    assert check.notes() == [
        "refused by the official checker: 2 of 3 results, 1 errors; of a rehearsal by design: "
        "2 differences by durations and counts"
    ]


def test_a_rehearsal_that_is_refused_for_more_differs(tmp_path: Path) -> None:
    _, check = checked(tmp_path, rehearsal=True, short=False)
    assert len(check.differences) == 2, "nothing is short here, and the official checker refuses it"


def test_it_is_found_again_until_the_checker_changes(tmp_path: Path) -> None:
    first, _ = checked(tmp_path, rehearsal=True, short=True)
    same, _ = checked(tmp_path, rehearsal=True, short=True)
    other, _ = checked(tmp_path, rehearsal=True, short=True, again="RELEASE = 2")
    assert first.key == same.key != other.key
