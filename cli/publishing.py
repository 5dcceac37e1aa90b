"""Approval from a shell: at the end of `mlperf-submission run`, or later by `mlperf-submission publish`."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt
from rich.table import Table

from flows.approval import Decision, Publication, carry_out
from flows.retrieve import file_of
from flows.submission import SubmissionOutcome
from flows.terminal import user_name
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import SettingError
from mlperf_submission.store.store import Area, Store, StoredRun
from mlperf_submission.submission.results import is_number, number
from tasks.check_officially import OFFICIAL, OFFICIAL_FILE, OfficialCheck
from tasks.upload import store_for
from tasks.workspace import Workspace


def offer(console: Console, workspace: Workspace, system: str, outcome: SubmissionOutcome) -> None:
    """Ask whether the candidate that was just shown is to be published; without a terminal, say how.

    Args:
        console: where to ask.
        workspace: where the run lies on this host.
        system: the system as it was named.
        outcome: of the flow.
    """
    later = f"mlperf-submission publish {outcome.system}/{outcome.run}" + _named(system, outcome.system)
    decision = _asked(console) if _is_dialogue(console) else None
    if decision is None:
        console.print(f"not published; to publish exactly this run: {later}", soft_wrap=True, markup=False)
        return
    with store_for(workspace, load_system(system)) as store:
        place = workspace.submission(outcome.system, outcome.run)
        done = carry_out(outcome.system, outcome.run, outcome.s3_address, place, decision, store)
    _say(console, done)


def publish_run(
    console: Console, name: str, yes: bool, by: str | None, comment: str, system: str | None, work: Path
) -> None:
    """Publish a candidate that lies in the store, after a person has seen what it is and agreed.

    Args:
        console: where to show it and ask.
        name: `<system>/<run>`, or `<system>` for its newest candidate.
        yes: do not ask.
        by: who decides; by default the user of this shell.
        comment: why.
        system: the system file that names the store; by default the run's system.
        work: the work folder.

    Raises:
        SettingError: the system is unknown or a rehearsal, or nobody can be asked.
        StoreError: there is no such candidate, or objects of it are missing.
    """
    folder, _, run = name.strip("/").removeprefix(f"{Area.CANDIDATES}/").partition("/")
    loaded = load_system(system or file_of(folder))
    if loaded.is_rehearsal:
        raise SettingError(
            f"{loaded.name} is a rehearsal, which is never published",
            where=name,
            remedy="publish a run of the full edition",
        )
    workspace = Workspace.at(work)
    with store_for(workspace, loaded) as store:
        found = store.find(f"{Area.CANDIDATES}/{folder}/{run or 'latest'}")
        _show(console, found, store)
        user = by or user_name()
        decision: Decision | None
        if yes:
            decision = _decision("approve", user, comment)
        elif _is_dialogue(console):
            decision = _asked(console, user, comment)
        else:
            raise SettingError(
                "nobody can be asked: this is no terminal",
                where=name,
                remedy="look at the run, then add --yes",
            )
        if decision is None:
            console.print("nothing was decided")
            return
        run = found.manifest.run
        address = f"{store.address}{found.address}"
        done = carry_out(folder, run, address, workspace.submission(folder, run), decision, store)
    _say(console, done)


def _show(console: Console, found: StoredRun, store: Store) -> None:
    manifest = found.manifest
    table = Table(
        title=escape(f"{manifest.system}/{manifest.run}"), title_justify="left", header_style="bold"
    )
    table.add_column("result")
    table.add_column("performance", justify="right")
    for result, value in manifest.figures.items():
        table.add_row(escape(result), f"{number(value):,.2f}" if is_number(value) else escape(str(value)))
    console.print(table)
    console.print(
        f"{manifest.round}, made {manifest.created:%Y-%m-%d %H:%M} UTC, {len(manifest.files)} files, "
        f"{manifest.size / 1e6:.1f} MB, at {store.address}{found.address}",
        soft_wrap=True,
        markup=False,
    )
    for note in _official_notes(found, store):
        console.print(note, soft_wrap=True, markup=False)
    console.print(
        f"its page: mlperf-submission fetch {found.address} --only page --to page",
        soft_wrap=True,
        markup=False,
    )


def _official_notes(found: StoredRun, store: Store) -> list[str]:
    """Return what the official checker said of a stored run; nothing if the run was made without it."""
    if not any(file.path == f"{OFFICIAL}/{OFFICIAL_FILE}" for file in found.manifest.files):
        return []
    with tempfile.TemporaryDirectory() as folder:
        store.fetch_run(str(found.address), Path(folder, "run"), only=[OFFICIAL])
        text = Path(folder, "run", OFFICIAL, OFFICIAL_FILE).read_text()
    return OfficialCheck.model_validate_json(text).notes()


def _asked(console: Console, user: str | None = None, comment: str = "") -> Decision | None:
    """Return what the person at the terminal decides; None if they would rather decide later."""
    try:
        answer = Prompt.ask(
            "Publish it?", choices=["approve", "refuse", "later"], default="later", console=console
        )
        if answer not in ("approve", "refuse"):
            return None
        name = Prompt.ask("Your name", default=user or user_name(), console=console)
        said = Prompt.ask("Comment", default=comment, show_default=False, console=console)
    except EOFError:
        return None
    return _decision(answer, name, said)


def _decision(answer: str, name: str, comment: str) -> Decision:
    return Decision.model_validate(
        {"decision": answer, "name": name, "comment": comment, "decided": datetime.now(UTC)}
    )


def _is_dialogue(console: Console) -> bool:
    return console.is_terminal and sys.stdin.isatty()


def _named(system: str, name: str) -> str:
    return "" if system == name else f" --system {system}"


def _say(console: Console, done: Publication) -> None:
    console.print(f"{done.summary()}\n{done.address}", soft_wrap=True, markup=False)
