"""The official checker beside ours: run unmodified out of a clone of mlcommons/inference, and compared.

The checker is a program of others: it runs in a child process, and what it prints is its verdict. Up to
v5.1 it was one file, from v6.0 on it is a module.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.errors import SettingError
from mlperf_submission.files import sha256_of
from mlperf_submission.process import run_command
from mlperf_submission.submission.files import shown
from mlperf_submission.submission.results import scenario_of
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
_START_SECONDS = 120.0


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

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")
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
    root, checker, lines = str(tree.resolve()), _checker_in(checkout), list[str]()
    with tempfile.TemporaryDirectory() as place:
        asked = ["--input", root, "--version", round_name, "--csv", str(Path(place, "summary.csv"))]
        status = _started(checkout, round_name, asked, timeout_seconds, lines)
    return _parsed(lines, root, (FOLDER / checker).as_posix(), status)


def require_checker(checkout: Path, round_name: str) -> None:
    """Raise SettingError unless there is a checker in a checkout that starts here and knows the round."""
    lines: list[str] = []
    # It refuses a round that it does not know before it comes to the request for help.
    asked = ["--input", ".", "--version", round_name, "--help"]
    if _started(checkout, round_name, asked, _START_SECONDS, lines):
        raise SettingError(
            f"the submission checker does not start: {shown(lines[-1]) if lines else 'it says nothing'}",
            where=checkout / FOLDER / _checker_in(checkout),
            remedy="install what it asks for beside this program, or name another clone",
        )


def checker_version(checkout: Path) -> str:
    """Return the SHA-256 over the checker's programs and their sums, all below `tools/submission`."""
    folder = checkout / FOLDER
    files = sorted({*folder.rglob("*.py"), *folder.glob("power/**/*.json")})
    listing = "".join(f"{path.relative_to(folder)} {sha256_of(path)}\n" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _checker_in(checkout: Path) -> str:
    """Return the checker's file below `tools/submission` of a checkout.

    Raises:
        SettingError: there is none.
    """
    folder = checkout / FOLDER
    found = next((one for one in (_FILE, f"{_MODULE}/main.py") if (folder / one).is_file()), None)
    if found is None:
        raise SettingError(
            "there is no submission checker here",
            where=folder,
            remedy="name a clone of https://github.com/mlcommons/inference; up to v5.1 at the round's tag",
        )
    return found


def _started(
    checkout: Path, round_name: str, asked: Sequence[str], timeout_seconds: float, lines: list[str]
) -> int:
    """Run the checker of a checkout, add its lines, and return its exit status.

    Raises:
        SettingError: there is none, or it does not know the round.
    """
    checker = _checker_in(checkout)
    program = [_FILE] if checker == _FILE else ["-m", f"{_MODULE}.main"]
    folder = (checkout / FOLDER).resolve()
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
    return status


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
    """Return the value of a result's line; of one with power more words follow it."""
    try:
        return float((text or "").partition(" ")[0])
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
    theirs = {_spelled(place): value for place, value in official.results.items()}
    for place in sorted({*mine, *theirs}):
        if place not in theirs:
            yield f"{place}: the official checker does not name it"
            continue
        if place not in mine:
            yield f"{place}: ours does not name it"
            continue
        value, result = theirs[place], mine[place]
        if result.ok != (value is not None):
            words = ("accepts", "refuses") if result.ok else ("refuses", "accepts")
            yield f"{place}: ours {words[0]} it, the official checker {words[1]} it"
        elif value is not None and not _same(result.value, value):
            yield f"{place}: ours reads {result.value}, the official checker {value}"


def _spelled(place: str) -> str:
    """Return a place with its scenario as LoadGen spells it: folders may have it in lower case."""
    above, _, folder = place.rpartition("/")
    return f"{above}/{scenario_of(folder) or folder}"


def _same(ours: float | None, theirs: float) -> bool:
    return ours is not None and math.isclose(ours, theirs, rel_tol=_AGREEMENT)
