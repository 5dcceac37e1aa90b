"""The page of all failures, made from the table: `python -m tools.failure_pages` writes docs/triage.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlperf_submission.triage.delivering import DELIVERING, OTHERWISE_DELIVERING
from mlperf_submission.triage.diagnose import EVIDENCE
from mlperf_submission.triage.entry import Entry
from mlperf_submission.triage.loadgen import LOADGEN
from mlperf_submission.triage.preparing import OTHERWISE_PREPARING, PREPARING
from mlperf_submission.triage.rules import RULE_GROUPS
from mlperf_submission.triage.runs import OTHERWISE_RUNS, RUNS
from tasks.engine.spec import said_again
from tools.rule_pages import anchor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "triage.md"
_PARTS: tuple[tuple[str, Sequence[Entry]], ...] = (
    ("A run, its accuracy, its audits", (*RUNS, *OTHERWISE_RUNS)),
    ("What LoadGen says", LOADGEN),
    ("Sources, networks, engines, hardware", (*PREPARING, *OTHERWISE_PREPARING)),
    ("Settings, disk, host, tree, store", (*DELIVERING, *OTHERWISE_DELIVERING)),
)


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# What went wrong, and what to do"
    yield ""
    yield "Made from the table of failures by `python -m tools.failure_pages`. A failed run ends with"
    yield "the lines of this page that concern it, in its log, its final state and the output of the command;"
    yield "the results page of a refused tree has them too."
    yield ""
    yield "Whatever has to be done again, the same command does it: what is finished is found, and exactly"
    yield "the steps that are named here run. A failure that is not here is said to be unknown."
    yield EVIDENCE
    for title, entries in _PARTS:
        yield from ("", f"## {title}", "")
        yield "| what is said | cause | what to do | done again |"
        yield "|---|---|---|---|"
        yield from (_row(entry) for entry in entries)
    yield from ("", "## Rules of the validation", "")
    yield "What to do about each stands beside the rule."
    yield ""
    yield "| what they are about | rules | cause | done again |"
    yield "|---|---|---|---|"
    for group in RULE_GROUPS:
        links = ", ".join(f"[{rule}](rules.md#{anchor(rule)})" for rule in group.rules)
        yield _cells(group.title, links, group.cause, said_again(group.redo))


def _row(entry: Entry) -> str:
    signs = "<br>".join(f"`{sign.strip()}`" for sign in entry.signs)
    return _cells(
        signs or f"any other {' or '.join(entry.kinds)}", entry.cause, entry.remedy, said_again(entry.redo)
    )


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
