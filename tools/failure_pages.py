"""The page of all failures, made from the table: `python -m tools.failure_pages` writes docs/triage.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mlperf_submission.failures import EVIDENCE, Entry, table
from tasks.engine.spec import said_again
from tools.rule_pages import anchor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "triage.md"


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    known = table()
    yield "# What went wrong, and what to do"
    yield ""
    yield "Made from the table of failures by `python -m tools.failure_pages`. A failed run ends with"
    yield "the lines of this page that concern it, in its log, its final state and the output of the command;"
    yield "the results page of a refused tree has them too."
    yield ""
    yield "Whatever has to be done again, the same command does it: what is finished is found, and exactly"
    yield "the steps that are named here run. A failure that is not here is said to be unknown."
    yield EVIDENCE
    yield from ("", "## Errors of the pipeline", "")
    yield "What to do stands in the message; the column of that name is for those that do not say it."
    yield from _rows("error", ((f"`{one.id}`", one) for one in known.kinds.values()))
    yield from ("", "## What an error is known by, where its class says too little", "")
    yield from _rows("code", ((f"`{one.id}`", one) for one in known.codes.values()))
    yield from ("", "## Messages of LoadGen, CUDA and the kernel", "")
    signs = (("<br>".join(f"`{sign.strip()}`" for sign in one.signs), one) for one in known.messages)
    yield from _rows("what is said", signs)
    yield from ("", "## Rules of the validation", "")
    yield "What to do about each stands beside the rule."
    yield ""
    yield "| what they are about | rules | cause | done again |"
    yield "|---|---|---|---|"
    for group in known.rules:
        links = ", ".join(f"[{rule}](rules.md#{anchor(rule)})" for rule in group.rules)
        yield _cells(group.id, links, group.cause, said_again(group.redo))


def _rows(heading: str, entries: Iterable[tuple[str, Entry]]) -> Iterator[str]:
    yield ""
    yield f"| {heading} | cause | what to do | done again |"
    yield "|---|---|---|---|"
    for name, entry in entries:
        yield _cells(name, entry.cause, entry.remedy, said_again(entry.redo))


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
