"""What a trial is, and the table of trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HEADINGS = ("what was done", "trials", "the run went on", "it ended, a rerun finished", "lost")


@dataclass(frozen=True)
class Trial:
    """One fault and what came of it.

    Attributes:
        what: the fault, e.g. `kill -9 of the flow`.
        moment: where it hit, e.g. the step that was at work.
        went_on: whether the run that was hit finished by itself.
        lost: everything that was lost or wrong afterwards; empty if nothing was.
        seconds: how long the trial took.
    """

    what: str
    moment: str
    went_on: bool
    lost: tuple[str, ...]
    seconds: float


def table(trials: Sequence[Trial]) -> str:
    """Return the table of docs/faults.md: one line per fault."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---|---|"]
    for what in dict.fromkeys(trial.what for trial in trials):
        same = [trial for trial in trials if trial.what == what]
        went_on = sum(trial.went_on for trial in same)
        lost = sum(bool(trial.lost) for trial in same)
        lines.append(f"| {what} | {len(same)} | {went_on} | {len(same) - went_on} | {lost or 'nothing'} |")
    return "\n".join(lines)


def moments(trials: Sequence[Trial]) -> str:
    """Return how often each step was hit by a kill."""
    hit = [trial.moment for trial in trials if trial.what.startswith("kill -9")]
    return ", ".join(f"{moment} {hit.count(moment)}" for moment in sorted(set(hit)))


def write(trials: Sequence[Trial], path: Path) -> None:
    """Write all trials as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")
