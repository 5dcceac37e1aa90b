"""`mlperf-submission run`: the submission flow from a shell, with live progress and its results."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.errors import PipelineError
from flows.console import Estimate, ProgressConsole, clock
from flows.plan import make_plan
from flows.request import SubmissionRequest
from flows.server import prefect_server
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from flows.submission import SubmissionOutcome


def run_submission(
    console: Console,
    system: str,
    models: Sequence[str] | None,
    scenarios: Sequence[str] | None,
    full_length: bool,
    measure_again: bool,
    work: Path,
) -> bool:
    """Run the submission flow in this process and show what came of it.

    Returns:
        Whether the submission (or rehearsal) was accepted.

    Raises:
        PipelineError: a step failed; the message says why and what to do.
    """
    started = time.monotonic()
    request = SubmissionRequest.checked(system, models, scenarios, full_length)
    workspace = Workspace.at(work)
    plan = make_plan(workspace, request)
    kind = "rehearsal" if request.system.is_rehearsal else "submission"
    console.print(
        f"[bold]{request.system.name}[/]: {kind}, {len(request.results)} results of {request.round.name}, "
        f"{len(plan.steps)} steps, {plan.finished} of them finished, about {clock(plan.seconds_left)} to go"
    )
    signal.signal(signal.SIGTERM, _as_interrupt)
    progress = ProgressConsole(console, Estimate(plan.expected()))
    with prefect_server(workspace.prefect, workspace.logs / "prefect.log"):
        from flows.submission import submission

        with progress.shown():
            state = submission(
                system=system,
                models=list(models) if models else None,
                scenarios=list(scenarios) if scenarios else None,
                full_length=full_length,
                measure_again=measure_again,
                work=workspace.root,
                return_state=True,
            )
        outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, PipelineError):
        raise outcome
    if isinstance(outcome, BaseException):
        raise outcome
    show_outcome(console, outcome, time.monotonic() - started)
    return bool(outcome.accepted)


def show_outcome(console: Console, outcome: SubmissionOutcome, seconds: float) -> None:
    """Print the table of results, the verdict, and where everything lies."""
    title = f"{outcome.system} {outcome.run}"
    if outcome.rehearsal:
        title = f"REHEARSAL, NOT A RESULT: {title}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("benchmark", "scenario", "performance", "accuracy", "p99 latency", "audits"):
        table.add_column(heading, justify="right" if heading in ("performance", "p99 latency") else "left")
    for line in outcome.results:
        latency = f"{line.p99_ms:.2f} ms" if line.p99_ms is not None else ""
        table.add_row(
            line.benchmark,
            line.scenario,
            f"{line.value:,.2f} {line.units}",
            line.accuracy,
            latency,
            line.audits.replace(" passed", "") + " passed",
        )
    console.print()
    console.print(table)
    rows = [
        ("Verdict", outcome.verdict),
        ("Backend", outcome.backend_notice),
        ("Tree", str(outcome.tree)),
        ("Page", str(outcome.page)),
        ("S3", outcome.s3_address),
        ("Time", f"{clock(seconds)}"),
    ]
    for name, value in rows:
        console.print(Text.assemble((f"{name:<8}", "bold"), value), soft_wrap=True)


def _as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
