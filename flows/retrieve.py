"""A run back out of S3, whole or in part, every file verified: as a deployment and from a shell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mlperf_submission.addresses import shown
from mlperf_submission.config.system import System, known_systems, load_system
from mlperf_submission.errors import SettingError
from mlperf_submission.files import own_folder
from mlperf_submission.store.store import Area
from tasks.artifacts import publish_table
from tasks.engine.perform import run_logger
from tasks.engine.runner import Live
from tasks.retrieve import Retrieved, bring_back, retrieve_run
from tasks.upload import store_for
from tasks.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class RetrieveRequest:
    """What is to be brought back, checked.

    Attributes:
        system: whose store is asked.
        run: the run as the store takes it, e.g. `rehearsal/latest`, `candidates/sys/0123456789ab`.
        to: the folder.
        only: parts of the run; None for all.
        dry_run: only say what would be fetched.
    """

    system: System
    run: str
    to: Path
    only: tuple[str, ...] | None
    dry_run: bool

    @staticmethod
    def checked(
        run: str,
        to: Path,
        *,
        only: Sequence[str] | None = None,
        system: str | None = None,
        dry_run: bool = False,
    ) -> RetrieveRequest:
        """Check what can be checked before a server is asked.

        Raises:
            SettingError: no name of a run, no system file, an empty part, a folder that is a file.
        """
        name = _name_of(run)
        file = system or file_of(name.strip("/").split("/")[-2])
        if only is not None and not all(part.strip("/ ") for part in only):
            raise SettingError("an empty name asks for no part of a run", remedy="leave it out")
        folder = own_folder(to)
        if folder.exists() and not folder.is_dir():
            raise SettingError(
                "a run cannot be fetched into a file", where=folder, remedy="name a folder, new or empty"
            )
        chosen = None if only is None else tuple(only)
        return RetrieveRequest(load_system(file), name, folder, chosen, dry_run)


def file_of(system: str) -> str:
    """Return a system's name where its file says in which store its runs are kept.

    Raises:
        SettingError: there is no such file.
    """
    if system not in known_systems():
        raise SettingError(
            f"there is no system file {system!r} that would say where its runs are kept",
            remedy=f"name one with --system; known: {', '.join(known_systems())}",
        )
    return system


def _name_of(run: str) -> str:
    """Return a run's name as the store takes it: its last parts are the system and the run, or `latest`."""
    address = re.fullmatch(r"s3://.+/((?:[^/]+/){2}[^/]+)/?", run)
    parts = (address[1] if address else run).strip("/").split("/")
    area = parts[:1] if parts[0] in list(Area) else []
    names = parts[len(area) :]
    least = 2 if address else 1
    if not least <= len(names) <= 2 or not all(map(_NAME.fullmatch, names)):
        raise SettingError(
            f"{shown(run)!r} is no name of a run",
            remedy="write <system>/<run>, or <system> for its newest run; runs/, candidates/ or rehearsals/ "
            "may stand before it; or its whole address s3://…",
        )
    return run if address else "/".join([*area, *names, *(["latest"] if len(names) == 1 else [])])


@flow(name="retrieve", flow_run_name="retrieve {run}", persist_result=True, result_serializer="json")
def retrieve(
    run: str,
    to: Path,
    only: list[str] | None = None,
    system: str | None = None,
    dry_run: bool = False,
    work: Path = Path("work"),
) -> Retrieved:
    """Bring a run back out of S3 and verify every file of it.

    Args:
        run: SYSTEM/RUN, or SYSTEM for its newest run; candidates/ before it takes one not published.
        to: The folder that it is restored into; what is there is kept.
        only: Only these: a benchmark (resnet50), engines, page, tree, …; none: the whole run.
        system: The system file that names the store; none: the run's own.
        dry_run: Only list what would be fetched.
        work: The folder that everything is kept in.

    Raises:
        SettingError: a parameter is wrong; nothing was asked of any server.
        StoreError: there is no such run, or files of it are missing or tampered with; all are named.
    """
    request = RetrieveRequest.checked(run, to, only=only, system=system, dry_run=dry_run)
    logger = run_logger()
    logger.info("%s into %s", request.run, request.to)
    workspace = Workspace.at(work)
    with store_for(workspace, request.system) as store:
        limit = request.system.limits.upload
        runner = Live(workspace)
        retrieved = runner(retrieve_run(store, request.run, request.to, request.only, dry_run, limit))
    publish_table(
        f"{request.system.name}-retrieved",
        [part.model_dump() for part in retrieved.parts],
        retrieved.summary(),
    )
    return retrieved


def fetch_run(console: Console, request: RetrieveRequest, work: Path) -> None:
    """Restore a run from a shell, show progress, and say what came; no Prefect server is needed.

    Raises:
        StoreError: there is no such run, or files of it are missing or tampered with; all are named.
    """
    with store_for(Workspace.at(work), request.system) as store:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("fetching", total=None)
            retrieved = bring_back(
                store,
                request.run,
                request.to,
                request.only,
                request.dry_run,
                on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
    if request.dry_run:
        table = Table("place", header_style="bold")
        table.add_column("files", justify="right")
        table.add_column("MB", justify="right")
        for part in retrieved.parts:
            table.add_row(part.place, str(part.files), f"{part.size / 1e6:,.2f}")
        console.print(table)
    console.print(retrieved.summary(), soft_wrap=True)
