"""The official checker beside ours: run unmodified out of a clone of mlcommons/inference, and compared.

The checker is a program of others: it runs in a child process, and what it prints is its verdict. Up to
v5.1 it was one file, from v6.0 on it is a module.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.errors import SettingError
from mlperf_submission.process import run_command
from mlperf_submission.submission.files import shown
from mlperf_submission.validation.verdict import Verdict

FOLDER = Path("tools", "submission")
_FILE = "submission_checker.py"
_MODULE = "submission_checker"
_LINE = re.compile(r"\[[^]]*? (?P<level>INFO|WARNING|ERROR|CRITICAL)\] (?P<text>.*)")
_PLACE = re.compile(r"((?:closed|open|network)/[^/\s]+/results/[^/\s]+/[^/\s]+/[^/\s,]+)")
_RESULT = re.compile(r"(?P<kind>Results|NoResults) (?P<path>\S+)(?: (?P<value>.*))?")
_ANSWERED = re.compile(r"SUMMARY: submission (looks OK|has errors)")
_USAGE = 2
_AGREEMENT = 1e-6
_TIMEOUT_SECONDS = 3600.0


class OfficialVerdict(BaseModel):
    """What the official checker says of a tree.

    Attributes:
        checker: its file below the checkout.
        ok: it ended with 0.
        crashed: its last line if it broke off, as it does over some trees; empty if it came to its end.
        results: value of each result that it accepts, None of one that it refuses; by
            `<division>/<submitter>/results/<system>/<benchmark>/<scenario>`.
        errors: its errors in their order, each once; paths relative to the tree.
    """

    model_config = ConfigDict(frozen=True)
    checker: str
    ok: bool
    crashed: str = ""
    results: dict[str, float | None]
    errors: tuple[str, ...]

    def summary(self) -> str:
        """Return one line: accepted or refused, with counts."""
        accepted = sum(value is not None for value in self.results.values())
        word = "accepted" if self.ok else "refused"
        broke_off = f"; it broke off: {self.crashed}" if self.crashed else ""
        return (
            f"{word} by the official checker: {accepted} of {len(self.results)} results, "
            f"{len(self.errors)} errors{broke_off}"
        )


def official_verdict(
    tree: Path, round_name: str, checkout: Path, *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> OfficialVerdict:
    """Run the official checker of a checkout on a tree.

    Args:
        tree: the root of the tree; nothing is written there.
        round_name: the round whose rules apply.
        checkout: a clone of mlcommons/inference; for rounds up to v4.1 at the tag of the round.
        timeout_seconds: after this the checker is ended.

    Raises:
        SettingError: there is no checker in the checkout, or it does not know the round.
        StepTimeoutError: it took too long.
    """
    folder = (checkout / FOLDER).resolve()
    root = tree.resolve()
    if (folder / _FILE).is_file():
        checker, program = _FILE, [_FILE]
    elif (folder / _MODULE / "main.py").is_file():
        checker, program = f"{_MODULE}/main.py", ["-m", f"{_MODULE}.main"]
    else:
        raise SettingError(
            "there is no submission checker here",
            where=folder,
            remedy="name a clone of https://github.com/mlcommons/inference; up to v4.1 at the round's tag",
        )
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        asked = ["--input", str(root), "--version", round_name, "--csv", str(Path(place, "summary.csv"))]
        status, last = run_command(
            [sys.executable, "-B", *program, *asked],
            timeout_seconds=timeout_seconds,
            on_line=lines.append,
            cwd=folder,
        )
    if status == _USAGE:
        raise SettingError(
            f"the checker does not know {round_name}: {last[-1] if last else 'it says nothing'}",
            where=folder / checker,
            remedy="check out the tag of the round in the clone",
        )
    return _parsed(lines, str(root), (FOLDER / checker).as_posix(), status)


def _parsed(lines: list[str], root: str, checker: str, status: int) -> OfficialVerdict:
    results: dict[str, float | None] = {}
    errors: dict[str, None] = {}
    finished = False
    for line in lines:
        if not (match := _LINE.match(line)):
            continue
        text = shown(match["text"].replace(f"{root}/", ""))
        finished |= bool(_ANSWERED.search(text))
        if (result := _RESULT.match(text)) and (place := _PLACE.search(result["path"])):
            results[place[1]] = _number(result["value"]) if result["kind"] == "Results" else None
        elif match["level"] in ("ERROR", "CRITICAL") and not finished:
            errors[text] = None
    crashed = "" if finished or not lines else shown(lines[-1])[:300]
    return OfficialVerdict(
        checker=checker, ok=status == 0, crashed=crashed, results=results, errors=tuple(errors)
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def differences(ours: Verdict, official: OfficialVerdict) -> list[str]:
    """Return every difference between the two verdicts, a sentence each; empty if they agree."""
    found = list(_of_results(ours, official))
    if ours.ok != official.ok:
        words = ("accepts", "refuses") if ours.ok else ("refuses", "accepts")
        found.append(f"the whole tree: ours {words[0]} it, the official checker {words[1]} it")
    return found


def _of_results(ours: Verdict, official: OfficialVerdict) -> Iterator[str]:
    mine = {
        f"{one.division}/{one.submitter}/results/{one.system}/{one.benchmark}/{one.scenario}": one
        for one in ours.results
    }
    for place in sorted({*mine, *official.results}):
        if place not in official.results:
            yield f"{place}: the official checker does not name it"
            continue
        if place not in mine:
            yield f"{place}: ours does not name it"
            continue
        value, result = official.results[place], mine[place]
        if result.ok != (value is not None):
            words = ("accepts", "refuses") if result.ok else ("refuses", "accepts")
            yield f"{place}: ours {words[0]} it, the official checker {words[1]} it"
        elif value is not None and not _same(result.value, value):
            yield f"{place}: ours reads {result.value}, the official checker {value}"


def _same(ours: float | None, theirs: float) -> bool:
    return ours is not None and math.isclose(ours, theirs, rel_tol=_AGREEMENT)
