"""A run back out of S3, whole or in part, every file verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from common.errors import SettingError
from mlperf.system import known_systems, load_system
from storage.store import Area
from tasks.upload import store_for
from tasks.workspace import Workspace


def fetch_run(
    console: Console, run_name: str, to: Path, only: Sequence[str] | None, system: str | None, work: Path
) -> None:
    """Restore a run into a folder, show progress, and say what came.

    Args:
        console: where to show it.
        run_name: `<system>/<run>`, or `<system>` for its newest run; `runs/`, `candidates/` or `rehearsals/`
            may stand before it.
        to: the folder; files that are there already and right are kept.
        only: folders or files of the run; None for all.
        system: the system file whose store is asked; by default that of the run's system.
        work: the work folder, for the embedded server's files.

    Raises:
        StoreError: there is no such run, or files of it are missing or tampered with; all are named.
    """
    name, place = _system_and_place(run_name)
    if system is None and name not in known_systems():
        raise SettingError(
            f"there is no system file {name!r} that would say where its runs are kept",
            remedy=f"name one with --system; known: {', '.join(known_systems())}",
        )
    with store_for(Workspace.at(work), load_system(system or name)) as store:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("fetching", total=None)
            restored = store.fetch_run(
                place,
                to,
                only=only,
                on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
    console.print(
        f"{restored.address}: {len(restored.fetched)} files fetched ({restored.size / 1e6:.1f} MB), "
        f"{len(restored.kept)} were there, all verified, in {to}",
        soft_wrap=True,
    )


def _system_and_place(run_name: str) -> tuple[str, str]:
    """Return the system that a run's name begins with, and the name as the store takes it."""
    parts = run_name.strip("/").split("/")
    area = parts[:1] if parts[0] in list(Area) else []
    system, *run = parts[len(area) :] or [""]
    return system, "/".join([*area, system, *(run or ["latest"])])
