"""Judge the tree by every rule of the round, and keep the verdict beside it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from mlperf_submission.errors import TreeError
from mlperf_submission.files import write_atomic
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.validation import Verdict, validate_tree
from tasks.artifacts import publish_table
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec

VERDICT_FILE = "verdict.json"


class Submitted(Protocol):
    """What a tree holds: a system, or a fleet of them."""

    @property
    def round(self) -> str:
        """The round whose rules apply, e.g. `v4.1`."""

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing of it is a result."""


VALIDATE = StepSpec("validate", "deliver", ("package",), 0.5, 10.0)


def validate(label: str, submitted: Submitted, tree: StepRecord) -> Step:
    """Write `verdict.json`. A refused tree has a verdict too: `require_accepted` raises on it."""

    def inputs() -> dict[str, JsonValue]:
        return {
            "tree": tree.content_hash,
            "round": submitted.round,
            "rehearsal": submitted.is_rehearsal,
            "code_version": code_version("mlperf_submission.validation"),
        }

    def produce(folder: Path, _recorder: Recorder) -> dict[str, JsonValue]:
        verdict = validate_tree(tree.folder, submitted.round, rehearsal=submitted.is_rehearsal)
        write_atomic(folder / VERDICT_FILE, verdict.model_dump_json(indent=1))
        return {"ok": verdict.ok, "results": len(verdict.results), "failures": len(verdict.failures)}

    def show(record: StepRecord) -> None:
        verdict = read_verdict(record)
        publish_table(
            f"{label}-validation",
            [failure.model_dump(mode="json") for failure in verdict.failures]
            or [{"verdict": "accepted, nothing to remark"}],
            f"Validation of {label} by the rules of {submitted.round}: "
            + ("accepted" if verdict.ok else "REFUSED"),
        )

    return Step(VALIDATE, label, inputs, produce, show=show)


def read_verdict(record: StepRecord) -> Verdict:
    """Return the verdict that a finished validation holds."""
    return Verdict.model_validate_json(record.file(VERDICT_FILE).read_text())


def require_accepted(verdict: Verdict, tree: Path, *, lacks: Collection[str] = ()) -> None:
    """Raise TreeError, with every error and its remedy, unless the tree is accepted.

    Args:
        verdict: on the tree.
        tree: where a person can look at it.
        lacks: the benchmarks whose missing scenarios (rule M-05) are known, and said with the run.
    """
    errors = [
        failure
        for failure in verdict.failures
        if failure.severity == "error"
        and not (failure.rule == "M-05" and failure.path.rpartition("/")[2] in lacks)
    ]
    if errors:
        raise TreeError(
            f"the tree is refused: {'; '.join(f'{one.rule} {one.path}: {one.message}' for one in errors)}",
            where=tree,
            remedy="; ".join(dict.fromkeys(one.remedy for one in errors)),
        )
