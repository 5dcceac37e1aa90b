"""Let the official checker judge the tree too, and keep its verdict with every difference from ours."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from mlperf_submission.files import write_atomic
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.validation import validate_tree
from mlperf_submission.validation.official import (
    OfficialVerdict,
    checker_version,
    differences,
    official_verdict,
)
from tasks.artifacts import publish_table
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.validate import Submitted, read_verdict

OFFICIAL_FILE = "official.json"
OFFICIAL = "official"
"""The folder of a run that holds it."""


class OfficialCheck(BaseModel):
    """The two verdicts on a tree.

    Attributes:
        ours: our verdict in one line; of a rehearsal by the rules of a rehearsal.
        official: what the official checker says.
        differences: where the two differ by the rules of a submission, a sentence each.
        by_design: of a rehearsal: where they differ only because it is short and its data are few.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")
    ours: str
    official: OfficialVerdict
    differences: tuple[str, ...]
    by_design: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """Return what a person should know: the official verdict, and every difference."""
        said = self.official.summary()
        if self.by_design:
            said += f"; of a rehearsal by design: {len(self.by_design)} differences by durations and counts"
        elif not self.official.ok:
            said = f"REFUSED BY THE OFFICIAL CHECKER, and no submission as it is: {said}"
        return [said, *(f"the official checker differs: {one}" for one in self.differences)]


CHECK_OFFICIALLY = StepSpec(
    "check_officially", "deliver", ("package", "validate"), 3.0, 10.0, on_request=True
)


def check_officially(
    label: str, submitted: Submitted, tree: StepRecord, verdict: StepRecord, checkout: Path
) -> Step:
    """Write `official.json`. A tree that the official checker refuses is kept, and said to be refused.

    Args:
        label: the system's name.
        submitted: what the tree holds.
        tree: the tree.
        verdict: our verdict on it.
        checkout: a clone of mlcommons/inference.

    Raises:
        SettingError: there is no checker of the round in the checkout.
        StepTimeoutError: it took too long.
    """

    def inputs() -> dict[str, JsonValue]:
        return {
            "tree": tree.content_hash,
            "verdict": verdict.content_hash,
            "round": submitted.round,
            "rehearsal": submitted.is_rehearsal,
            "checker": checker_version(checkout),
            "code_version": code_version("mlperf_submission.validation.official"),
        }

    def produce(folder: Path, _recorder: Recorder) -> dict[str, JsonValue]:
        official, ours = official_verdict(tree.folder, submitted.round, checkout), read_verdict(verdict)
        # The official checker knows no rehearsals: it is compared with what a submission would be told.
        judged = validate_tree(tree.folder, submitted.round) if submitted.is_rehearsal else ours
        found = differences(judged, official)
        check = OfficialCheck(
            ours=ours.summary(),
            official=official,
            differences=tuple(found),
            by_design=tuple(one for one in differences(ours, official) if one not in found),
        )
        write_atomic(folder / OFFICIAL_FILE, check.model_dump_json(indent=1))
        return {
            "ok": official.ok,
            "errors": len(official.errors),
            "differences": len(check.differences),
            "by_design": len(check.by_design),
        }

    def show(record: StepRecord) -> None:
        check = read_check(record)
        said = {"differs": check.differences, "by design": check.by_design, "error": check.official.errors}
        publish_table(
            f"{label}-official-checker",
            [{"": kind, "what": text} for kind, texts in said.items() for text in texts]
            or [{"verdict": "accepted, and no difference"}],
            f"{check.ours}. {check.official.summary()} ({check.official.checker})",
        )

    return Step(CHECK_OFFICIALLY, label, inputs, produce, show=show)


def read_check(record: StepRecord) -> OfficialCheck:
    """Return the two verdicts that a finished check holds."""
    return OfficialCheck.model_validate_json(record.file(OFFICIAL_FILE).read_text())
