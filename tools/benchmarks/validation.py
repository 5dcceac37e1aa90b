"""The validation of a whole tree beside the official checker's: processor time, wall time and memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.submission.round import round_of
from mlperf_submission.validation.official import FOLDER, require_checker


@dataclass(frozen=True)
class Taken:
    """What a program took: processor and wall time in seconds, the most memory that it had in bytes."""

    name: str
    cpu_seconds: float
    seconds: float
    peak_bytes: int


def against_checker(tree: Path, checkout: Path, *, repeats: int) -> Iterator[Taken]:
    """Judge a tree in turn by our command, by the library alone and by the official checker; yield medians.

    Args:
        tree: the root of a submission tree.
        checkout: a clone of mlcommons/inference with a checker of one file (up to v5.1) at the tree's round.
        repeats: how often each is run, after one run of the command that only fills the caches.

    Raises:
        SettingError: there is no such checker.
        TreeError: the round of the tree cannot be told.
    """
    round_name = round_of(tree)
    require_checker(checkout, round_name)
    library = "import sys, pathlib; from mlperf_submission.validation import validate_tree as judge; "
    library += "judge(pathlib.Path(sys.argv[1]), sys.argv[2])"
    with tempfile.TemporaryDirectory() as folder:
        checker = (checkout / FOLDER / "submission_checker.py").resolve()
        asked = ["--input", str(tree), "--version", round_name, "--csv", f"{folder}/summary.csv"]
        programs: dict[str, Sequence[str]] = {
            "`mlperf-submission validate`": ["-m", "cli.main", "validate", str(tree)],
            "`validate_tree`": ["-c", library, str(tree), round_name],
            "official checker": ["-B", str(checker), *asked],
        }
        found: dict[str, list[Taken]] = {name: [] for name in programs}
        _run("", next(iter(programs.values())))
        for _ in range(repeats):
            for name, arguments in programs.items():
                found[name].append(_run(name, arguments))
    for name, runs in found.items():
        yield Taken(
            name,
            statistics.median(one.cpu_seconds for one in runs),
            statistics.median(one.seconds for one in runs),
            max(one.peak_bytes for one in runs),
        )


def _run(name: str, arguments: Sequence[str]) -> Taken:
    before = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):  # 1: the tree is refused
        raise RuntimeError(f"{name} ended with {child.returncode}")
    return Taken(name, used.ru_utime + used.ru_stime, time.monotonic() - before, used.ru_maxrss << 10)
