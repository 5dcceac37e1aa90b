"""What a flow that made a submission hands back, and what it leaves beside its run on Prefect's pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from platform import node
from typing import Any, Self

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from flows.approval import Candidate, Publication
from flows.results import HEADINGS, ResultLine
from mlperf_submission.errors import PipelineError
from mlperf_submission.store.store import Store
from mlperf_submission.validation import Verdict
from tasks.artifacts import publish, publish_table
from tasks.engine.perform import run_logger
from tasks.report import PAGE_FILE

_STAR = r"\*"
"""In Markdown a star begins an item of a list."""


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

    @classmethod
    def of(cls, candidate: Candidate, verdict: Verdict, publication: Publication, **more: Any) -> Self:
        """Return the outcome of a candidate about which `settle` has spoken; `more` says the other fields."""
        return cls(
            run=candidate.run,
            rehearsal=candidate.rehearsal,
            results=candidate.results,
            verdict=candidate.verdict,
            accepted=verdict.ok,
            warnings=len(verdict.warnings),
            notes=candidate.notes,
            lacks=candidate.lacks,
            tree=candidate.place / "tree",
            page=candidate.page,
            s3_address=publication.address,
            publication=publication,
            **more,
        )


def show(candidate: Candidate, store: Store, link_hours: int) -> None:
    """Leave the table of results and the page with the flow run.

    A page in the store gets a link that opens in a browser, for a time. Whoever can see the flow run has it,
    and it is in no log, result or form. A page whose server ends with this command is named by its place.

    Args:
        candidate: what was stored.
        store: where it lies.
        link_hours: how long the link holds; 0: none is made.
    """
    notes = (f"- {note.replace('*', _STAR)}" for note in candidate.notes)
    publish_table(
        f"{candidate.system}-results",
        [dict(zip(HEADINGS, line.cells(), strict=True)) for line in candidate.results],
        "\n\n".join(
            [*["REHEARSAL, NOT A RESULT"] * candidate.rehearsal, candidate.verdict, "\n".join(notes)]
        ),
    )
    link = None
    try:
        link = store.link(candidate.address, f"page/{PAGE_FILE}", link_hours) if link_hours else None
    except PipelineError as error:
        run_logger().warning("the results page has no link: %s", error.what)
    stored = f"Stored at `{candidate.address}`; on any host: `{candidate.fetch_page}`."
    show_page(f"{candidate.system}-page", "results page", candidate.page, link, link_hours, stored)


def show_page(key: str, what: str, place: Path, link: str | None, hours: int, stored: str) -> None:
    """Leave a page with the flow run: its link, or without one its place on this host.

    Args:
        key: of the artifact.
        what: the page is.
        place: where it lies on this host.
        link: opens it in a browser, for `hours`.
        hours: how long that holds.
        stored: says where else it is.
    """
    if link is None:
        publish(
            create_markdown_artifact,
            key=key,
            markdown=f"The {what} is `{place}` on {node()}.\n\n{stored}",
            description=what,
        )
        return
    ends = datetime.now(UTC) + timedelta(hours=hours)
    publish(
        create_link_artifact,
        key=key,
        link=link,
        link_text=what,
        description=f"The link holds until {ends:%Y-%m-%d %H:%M} UTC at most, for whoever has it. {stored}",
    )
