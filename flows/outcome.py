"""What a flow that made a submission hands back, and what it leaves beside its run on Prefect's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict

from flows.approval import Candidate, Publication
from flows.results import ResultLine
from mlperf_submission.validation import Verdict
from tasks.artifacts import publish


class Outcome(BaseModel):
    """A submission that was judged and stored.

    Attributes:
        run: the run's name, which is a hash of all that it was made from.
        rehearsal: whether nothing of this is a result.
        results: the table of results.
        verdict: the validation in one line.
        accepted: whether the validation accepted the tree.
        warnings: how many it gave.
        notes: what a person should know of the runs, e.g. that something disturbed one.
        lacks: the results that it has not; with any it cannot be published.
        tree, page: where they lie on this host.
        s3_address: where the run lies in S3.
        publication: whether it is published, and who decided.
    """

    model_config = ConfigDict(frozen=True)
    run: str
    rehearsal: bool
    results: list[ResultLine]
    verdict: str
    accepted: bool
    warnings: int
    notes: list[str] = []
    lacks: list[str] = []
    tree: Path
    page: Path
    s3_address: str
    publication: Publication


def outcome_fields(candidate: Candidate, verdict: Verdict, publication: Publication) -> dict[str, Any]:
    """Return the fields of `Outcome` for a candidate about which `settle` has spoken."""
    return {
        "run": candidate.run,
        "rehearsal": candidate.rehearsal,
        "results": candidate.results,
        "verdict": candidate.verdict,
        "accepted": verdict.ok,
        "warnings": len(verdict.warnings),
        "notes": candidate.notes,
        "lacks": candidate.lacks,
        "tree": candidate.place / "tree",
        "page": candidate.page,
        "s3_address": publication.address,
        "publication": publication,
    }


def show(candidate: Candidate) -> None:
    """Leave the table of results and the page with the flow run."""
    publish(
        create_table_artifact,
        key=f"{candidate.system}-results",
        table=[line.model_dump(mode="json") for line in candidate.results],
        description=". ".join(
            ["REHEARSAL, NOT A RESULT"] * candidate.rehearsal + [candidate.verdict, *candidate.notes]
        ),
    )
    publish(
        create_link_artifact,
        key=f"{candidate.system}-page",
        link=candidate.page.as_uri(),
        link_text="results page",
        description=f"Stored at {candidate.address}",
    )
