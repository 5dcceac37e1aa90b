"""`mlperf-submission store`: what a store holds, removing a run, and collecting what no run needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.options import WorkOption
from flows.terminal import Console

if TYPE_CHECKING:
    from mlperf_submission.store.store import Store

app = typer.Typer(help="Look at the store of a system, and clean it.", no_args_is_help=True)

SystemArgument = Annotated[str, typer.Argument(help="The system (or its file) whose store is meant.")]
_COLLECT_DAYS = 3.0


@app.command("list", epilog="Example: mlperf-submission store list rehearsal")
def list_runs(system: SystemArgument, work: WorkOption = Path("work")) -> None:
    """List the runs that a store holds: published ones, candidates, rehearsals, each kind newest first."""
    with _store_of(system, work) as store:
        listing = store.listing()
        address = store.address
    table = Table(title=escape(address), title_justify="left", header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("created (UTC)", no_wrap=True)
    for heading in ("results", "files", "MB"):
        table.add_column(heading, justify="right")
    for run in listing.runs:
        manifest = run.manifest
        counts = str(len(manifest.figures)), str(len(manifest.files)), f"{manifest.size / 1e6:,.1f}"
        table.add_row(escape(str(run.address)), f"{run.made:%Y-%m-%d %H:%M}", *counts)
    console = Console()
    console.print(table)
    _name(console, listing.problems)


@app.command(epilog="Example: mlperf-submission store remove rehearsal rehearsals/rehearsal/0123456789ab")
def remove(
    system: SystemArgument,
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="As `store list` names it.")],
    work: WorkOption = Path("work"),
) -> None:
    """Remove a candidate or a rehearsal; what is retained of it stays, the rest goes with `collect`."""
    with _store_of(system, work) as store:
        Console().print(f"removed {store.remove(run_name)}", soft_wrap=True, markup=False)


@app.command(epilog="Example: mlperf-submission store collect rehearsal --older-than 7 --delete")
def collect(
    system: SystemArgument,
    older_than: Annotated[
        float, typer.Option("--older-than", help="Days that content must be old; at least 1.")
    ] = _COLLECT_DAYS,
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without this it is only said.")] = False,
    work: WorkOption = Path("work"),
) -> None:
    """Find unfinished uploads and content that no run names; with --delete, delete them."""
    from mlperf_submission.store.collect import age

    limit = age(older_than)
    with _store_of(system, work) as store:
        found = store.collect(older_than=limit, delete=delete)
    table = Table("what", header_style="bold")
    table.add_column("count", justify="right")
    table.add_column("MB", justify="right")
    table.add_column("")
    done = "deleted" if found.deleted else "not deleted" if found.kept else "would be deleted"
    kinds = (
        ("content that no run names", found.objects, done),
        ("records of removed runs", found.removed, done),
        ("content that is retained by its date", found.retained, "kept"),
        ("content younger than the limit", found.young, "kept"),
    )
    for what, objects, fate in kinds:
        megabytes = sum(item.size for item in objects) / 1e6
        table.add_row(what, str(len(objects)), f"{megabytes:,.1f}", fate)
    table.add_row("unfinished uploads", str(len(found.uploads)), "?", done)
    console = Console()
    console.print(table)
    _name(console, found.problems)
    if found.kept:
        console.print(f"not all was deleted: {found.kept}; collect again later", soft_wrap=True, markup=False)


def _store_of(system: str, work: Path) -> AbstractContextManager[Store]:
    from mlperf_submission.config.system import load_system
    from tasks.upload import store_for
    from tasks.workspace import Workspace

    return store_for(Workspace.at(work), load_system(system))


def _name(console: Console, problems: Sequence[object]) -> None:
    """Name what lies in the place of a run and is none."""
    for problem in problems:
        console.print(f"not usable: {problem}", soft_wrap=True, markup=False)
