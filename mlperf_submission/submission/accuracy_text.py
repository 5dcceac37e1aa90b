"""accuracy.txt: the metrics that its lines state, as the official checkers find them, and its hash lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from mlperf_submission.rounds import AccuracyTarget
from mlperf_submission.submission.files import lines

_HASH = re.compile(r"^hash=([\w\d]+)$")
_COUNT = re.compile(r"'gen_num':\s(\d{1,9})")
_NUMBER = r"([\d.]+(?:[eE][+-]?\d+)?)"
"""Digits as the official checker reads them, and the exponent, which it overlooks."""
_GOES_ON = re.compile(r"(?:\w|[,'_]\d)[\w.,'_]*")
"""What makes another number of the digits before it: the `x4C` of 0x4C, the `,1` of 76,1."""
_OLD = {
    "acc": rf"^accuracy={_NUMBER}",
    "AUC": rf"^AUC={_NUMBER}",
    "mAP": rf"^mAP={_NUMBER}",
    "F1": rf"^{{[\"']exact_match[\"']:\s*[\d.]+,\s*[\"']f1[\"']:\s*{_NUMBER}}}",
    "WER": rf"Word Error Rate:.*, accuracy={_NUMBER}%",
    "DICE": rf"Accuracy:\s*mean\s*=\s*{_NUMBER}",
}
_IN_LINE = {
    "ROUGE1": "rouge1",
    "ROUGE2": "rouge2",
    "ROUGEL": "rougeL",
    "ROUGELSUM": "rougeLsum",
    "GEN_LEN": "gen_len",
    "TOKENS_PER_SAMPLE": "tokens_per_sample",
    "CLIP_SCORE": "CLIP_SCORE",
    "FID_SCORE": "FID_SCORE",
    "gsm8k_accuracy": "gsm8k",
    "mbxp_accuracy": "mbxp",
    "exact_match": "exact_match",
    "vbench_score": "vbench_score",
}
_QUOTED = {"ROUGE1", "ROUGE2", "ROUGEL", "ROUGELSUM", "CLIP_SCORE", "FID_SCORE"}
_NEW = {
    "acc": rf"^(?:{{\"accuracy|accuracy)[\": ]*=?\s*{_NUMBER}",
    "mAP": rf".*(?:mAP=|'Total':)\s*{_NUMBER}",
    "DLRM_NE": rf".*metric/lifetime_ne/rating:\s*{_NUMBER}",
    "DLRM_ACC": rf".*metric/lifetime_accuracy/rating:\s*{_NUMBER}",
    "DLRM_AUC": rf".*metric/lifetime_gauc/rating:\s*{_NUMBER}",
    "ACCURACY": rf"Word Error Rate:.*, accuracy={_NUMBER}%",
    "F1_HIERARCHICAL": rf"{{.*\"f1\":\s*{_NUMBER}.*}}",
    "E2E_ACCURACY": rf"Accuracy:\s*{_NUMBER}",
}


def all_metrics(newer: bool) -> tuple[str, ...]:
    """Return the metrics that a round knows: the old ones, and from v5.0 those of its own."""
    return tuple(dict.fromkeys((*_OLD, *_IN_LINE, *(_NEW if newer else ()))))


@cache
def metric_pattern(metric: str, newer: bool) -> re.Pattern[str]:
    """Return how a metric stands in a line of accuracy.txt (A-04; V-09 for the newer rounds)."""
    if newer and metric in _NEW:
        return re.compile(_NEW[metric])
    if metric in _OLD:
        return re.compile(_OLD[metric])
    quote = r"\s+'?" if newer and metric in _QUOTED else r"\s"
    return re.compile(rf".*'{_IN_LINE[metric]}':{quote}{_NUMBER}")


@dataclass(frozen=True)
class Reading:
    """A metric that a line states.

    Attributes:
        metric: its name.
        text: the digits.
        number: their number; NaN if the text is none.
        rest: what stands right behind the digits and makes another number of them; empty if nothing does.
    """

    metric: str
    text: str
    number: float
    rest: str


@dataclass(frozen=True)
class Line:
    """A line that states something.

    Attributes:
        number: its number, from 1.
        digest: the hash that it states; empty if none.
        readings: the metrics that it states, in the order in which they were asked for.
        samples: over how many samples the line says that its totals are; None if it does not say.
    """

    number: int
    digest: str
    readings: tuple[Reading, ...]
    samples: int | None


def read_lines(content: str, metrics: Sequence[str], newer: bool) -> Iterator[Line]:
    """Yield the lines of an accuracy.txt that state a hash or one of the metrics.

    Args:
        content: the text.
        metrics: the metrics that are asked for.
        newer: whether the round is v5.0 or later.
    """
    patterns = [(metric, metric_pattern(metric, newer)) for metric in metrics]
    for number, line in enumerate(lines(content), start=1):
        digest = _HASH.match(line)
        readings = tuple(
            Reading(metric, match[1], as_number(match[1]), _rest(line, match.end(1)))
            for metric, pattern in patterns
            if (match := pattern.match(line))
        )
        if digest or readings:
            count = _COUNT.search(line)
            yield Line(number, digest[1] if digest else "", readings, int(count[1]) if count else None)


def official_part(found: Iterable[Line], targets: Sequence[AccuracyTarget]) -> Iterator[tuple[Line, bool]]:
    """Yield each line, and whether the official checker reads it.

    It stops when all required metrics have reached their floors and it has seen a hash (A-04).
    """
    floors = {target.metric: target.floor for target in targets if target.required}
    passed: set[str] = set()
    digest = done = False
    for line in found:
        yield line, not done
        passed |= {one.metric for one in line.readings if one.number >= floors.get(one.metric, math.inf)}
        digest = digest or bool(line.digest)
        done = done or (digest and passed >= floors.keys())


def _rest(line: str, at: int) -> str:
    found = _GOES_ON.match(line, at)
    return found[0][:40] if found else ""


def as_number(text: str) -> float:
    """Return a number; NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
