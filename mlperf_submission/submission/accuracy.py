"""What surrounds an accuracy score: `accuracy.txt` with its hash line, the target, the truncated log."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mlperf_submission.errors import AccuracyError, LogError
from mlperf_submission.files import sha256_of, write_atomic
from mlperf_submission.rounds import AccuracyTarget

VIEWABLE_BYTES = 4096
"""Bytes kept of each end of a truncated log (`truncate_accuracy_log.py`, rule R-02)."""
SMALL_BYTES = 10 * 1024
"""A log below this size with its hash stays whole in `truncate_accuracy_log.py`; rule A-08 allows it."""
GAP = b"\n\n...\n\n"

TOTALS = frozenset({"GEN_LEN"})
"""Metrics that are sums over the samples: the round's limits are for the whole data set."""

_HASH_LINE = re.compile(r"hash=(\w+)")


def write_accuracy_txt(path: Path, score_lines: Sequence[str], accuracy_log: Path) -> None:
    """Write `accuracy.txt`: the lines of the accuracy script, then `hash=` of the complete log (rule A-05).

    Args:
        path: the file to write.
        score_lines: lines in the format that the official checker reads, e.g. `accuracy=76.078%, …`.
        accuracy_log: the complete `mlperf_log_accuracy.json`.

    Raises:
        AccuracyError: there is no line, one is no single line, or one is a hash line itself.
        LogError: the log cannot be read.
    """
    for line in score_lines:
        if len(line.splitlines()) > 1 or _HASH_LINE.fullmatch(line.strip()):
            raise AccuracyError(
                f"this is no line of an accuracy script: {line[:80]!r}",
                where=path,
                remedy="give one line per entry, without the hash line",
                code="accuracy-missing",
            )
    if not score_lines:
        raise AccuracyError(
            "there is no score to write",
            where=path,
            remedy="score the accuracy log first",
            code="accuracy-missing",
        )
    with _unreadable_named(accuracy_log):
        digest = sha256_of(accuracy_log)
    write_atomic(path, "\n".join([*score_lines, f"hash={digest}"]) + "\n")


def hash_in(accuracy_txt: str) -> str | None:
    """Return the hash that an `accuracy.txt` states on a line of its own, or None."""
    for line in accuracy_txt.split("\n"):
        if match := _HASH_LINE.fullmatch(line.strip()):
            return match[1]
    return None


def judge(metrics: Mapping[str, float], targets: Iterable[AccuracyTarget]) -> list[str]:
    """Compare a score with a round's targets (rules A-01 to A-03); the caller raises AccuracyError.

    Args:
        metrics: metric name as in the targets to its value.
        targets: floors and ceilings, both inclusive.

    Returns:
        One line per shortfall: a metric that is missing or no number, below its floor, or above its ceiling.
    """
    shortfalls = []
    for target in targets:
        value = metrics.get(target.metric)
        if value is None:
            known = ", ".join(sorted(metrics)) or "none"
            shortfalls.append(f"{target.metric} is missing; the score has: {known}")
        elif not math.isfinite(value):
            shortfalls.append(f"{target.metric} is {value}, which is no number")
        elif value < target.floor:
            shortfalls.append(
                f"{target.metric} is {value:.7g}, below the target {target.floor:.7g} "
                f"by {target.floor - value:.3g}"
            )
        elif target.ceiling is not None and value > target.ceiling:
            shortfalls.append(
                f"{target.metric} is {value:.7g}, above the limit {target.ceiling:.7g} "
                f"by {value - target.ceiling:.3g}"
            )
    return shortfalls


def targets_for(
    targets: Sequence[AccuracyTarget], samples: int, dataset_size: int
) -> tuple[AccuracyTarget, ...]:
    """Return the targets for a data set of fewer samples than the official one, as a rehearsal has it.

    A metric that is a total over all samples (`TOTALS`) has its limits scaled by the share of samples, so
    that the mean per sample is judged; the others stay as they are. With all samples nothing changes.
    """
    share = min(samples / dataset_size, 1.0)
    return tuple(
        replace(
            target,
            floor=target.floor * share,
            ceiling=None if target.ceiling is None else target.ceiling * share,
        )
        if target.metric in TOTALS
        else target
        for target in targets
    )


def truncated(log: Path) -> bytes:
    """Return the official short form of an accuracy log: its first and last 4,096 bytes around a gap.

    A log below 10,240 bytes is returned whole, so that the result is never longer than the log. Only the two
    ends are read.

    Raises:
        LogError: the log cannot be read.
    """
    with _unreadable_named(log), log.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        if size < SMALL_BYTES:
            return stream.read()
        start = stream.read(VIEWABLE_BYTES)
        stream.seek(size - VIEWABLE_BYTES)
        return start + GAP + stream.read(VIEWABLE_BYTES)


@contextmanager
def _unreadable_named(log: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogError(
            f"the accuracy log cannot be read: {error.strerror or error}",
            where=log,
            remedy="keep the complete log of the accuracy run, or run it again",
        ) from error
