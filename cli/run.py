"""`mlperf-submission run`: the submission flow from a shell, with live progress and its results."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.console import Estimate, ProgressConsole, clock
from cli.plan import show_notices
from cli.publishing import offer
from flows.networks import LABEL, NetworksOutcome, show_networks
from flows.parameters import SubmissionParameters
from flows.plan import make_plan
from flows.request import SubmissionRequest
from flows.results import HEADINGS
from flows.submission import SubmissionOutcome, submission
from mlperf_submission.errors import IncompleteError, PipelineError, UnreachableError
from tasks.workspace import Workspace


def run_submission(console: Console, asked: SubmissionParameters, request: SubmissionRequest) -> None:
    """Run the submission flow in this process and show what came of it.

    Args:
        console: where to show it.
        asked: what the person asks for.
        request: the same, checked against the system file.

    Raises:
        IncompleteError: results failed; what was made of the others is shown first.
        PipelineError: a step failed; the message says why and what to do.
    """
    started = time.monotonic()
    workspace = Workspace.at(asked.work)
    plan = make_plan(workspace, request)
    kind = "rehearsal" if request.system.is_rehearsal else "submission"
    kind = LABEL.lower() if request.weights == "random" else kind
    console.print(
        f"[bold]{request.system.name}[/]: {kind}, {len(request.results)} results of {request.round.name}, "
        f"{len(plan.steps)} steps, {plan.finished} of them finished, about {clock(plan.seconds_left)} to go"
    )
    show_notices(console, plan)
    signal.signal(signal.SIGTERM, _as_interrupt)
    progress = ProgressConsole(console, Estimate(plan.expected()))
    failure: IncompleteError | None = None
    with progress.shown(), _server_errors():
        try:
            # The person is here, so they are asked here.
            outcome = submission(**dict(asked.model_copy(update={"publish": "never"})))
        except IncompleteError as error:
            if not isinstance(error.outcome, SubmissionOutcome):
                raise
            outcome, failure = error.outcome, error
    seconds = time.monotonic() - started
    taken = f"{clock(seconds)} ({progress.split(seconds)})"
    if isinstance(outcome, NetworksOutcome):
        show_networks(console, outcome, taken)
        return
    show_outcome(console, outcome, taken)
    if failure:
        raise failure
    if asked.publish == "ask" and not outcome.rehearsal and not outcome.lacks:
        offer(console, workspace, asked.system, outcome)


def show_outcome(console: Console, outcome: SubmissionOutcome, time_taken: str) -> None:
    """Print the table of results, the verdict, and where everything lies."""
    title = f"{outcome.system} {outcome.run}"
    if outcome.rehearsal:
        title = f"REHEARSAL, NOT A RESULT: {title}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in HEADINGS:
        table.add_column(
            heading,
            justify="right" if heading in ("performance", "p99 latency") else "left",
            no_wrap=heading in ("benchmark", "accuracy"),
        )
    for line in outcome.results:
        metrics = line.accuracy.replace(", ", "\n")  # a line each: some benchmarks have four
        table.add_row(*line.model_copy(update={"accuracy": metrics}).cells())
    console.print()
    console.print(table)
    rows = [
        ("Verdict", outcome.verdict),
        *(("Lacks", f"{name}: no such run is published") for name in outcome.lacks if not outcome.rehearsal),
        *(("Note", note) for note in outcome.notes),
        ("Backend", outcome.backend_notice),
        ("Tree", str(outcome.tree)),
        ("Page", str(outcome.page)),
        ("S3", outcome.s3_address),
        ("Time", time_taken),
    ]
    for name, value in rows:
        console.print(Text.assemble((f"{name:<8}", "bold"), value), soft_wrap=True)


@contextmanager
def _server_errors() -> Iterator[None]:
    """Say in our words that Prefect's server failed; if that hid an error of ours, raise that one.

    Prefect tells its server that a run failed before it raises what the run failed with.
    """
    try:
        yield
    except httpx.HTTPError as error:
        hidden: BaseException | None = error
        while hidden and not isinstance(hidden, PipelineError):
            hidden = hidden.__context__
        raise hidden or UnreachableError(
            f"the Prefect server does not answer, or broke off ({type(error).__name__})",
            where=os.environ.get("PREFECT_API_URL", ""),
            remedy="see that it runs (the command's own prints to logs/prefect.log in its work folder); then "
            "start the same command again: finished steps are kept",
        ) from error


def _as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
