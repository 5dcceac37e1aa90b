"""From logits to answers, and from answers to exact match and F1, as the official script of bert counts them.

Source of the rules: MLPerf Inference v4.1, language/bert/accuracy-squad.py and evaluate_v1.1.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bert.features import Feature
from models.bert.squad import Question
from models.bert.wordpiece import WordPiece

BEST = 20
"""Starts and ends that are tried with each other (n_best_size)."""
LONGEST_ANSWER = 30
"""Pieces (max_answer_length)."""
NO_ANSWER = "empty"
"""What a question without a valid span is answered with."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


@dataclass(frozen=True)
class AnswerRules:
    """How spans are chosen; the default is the benchmark's."""

    best: int = BEST
    longest: int = LONGEST_ANSWER
    use_max_context: bool = True


OFFICIAL = AnswerRules()


@dataclass(frozen=True)
class Span:
    """A piece of a window that may be the answer: first and last position in its sequence."""

    first: int
    last: int
    score: float


@dataclass(frozen=True)
class SquadScore:
    """Both metrics in percent, and over how many questions."""

    exact_match: float
    f1: float
    questions: int


def best_span(
    feature: Feature,
    starts: NDArray[np.floating],
    ends: NDArray[np.floating],
    rules: AnswerRules = OFFICIAL,
) -> Span | None:
    """Return the valid span with the greatest start + end logit, the first of equals; None if none is valid.

    Only the best starts and ends are tried. A span is valid if both lie in the window (not in the question),
    the start has its maximal context here, the end is not before the start, and it is not too long. The
    script goes through all spans in this order, but reports the first alone.

    Args:
        feature: the window.
        starts: logits from the sequence's beginning; what is missing or beyond the sequence never wins.
        ends: likewise.
        rules: the official ones.
    """
    low, high = feature.window, feature.window + len(feature.max_context)
    first, last = (_best(logits, rules.best)[:, None] for logits in (starts, ends))
    last = last.T
    valid = (first >= low) & (first < high) & (last >= first) & (last < high) & (last - first < rules.longest)
    if rules.use_max_context and len(feature.max_context):
        valid &= feature.max_context[np.clip(first - low, 0, len(feature.max_context) - 1)]
    if not valid.any():
        return None
    sums = np.where(valid, starts[first].astype(np.float64) + ends[last].astype(np.float64), -np.inf)
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return Span(int(first[row, 0]), int(last[0, column]), float(sums[row, column]))


def answer_text(feature: Feature, span: Span, tokenizer: WordPiece) -> str:
    """Return the span as it stands in the original text, or the whole words around it if that fails."""
    context = feature.context
    first, last = (context.word_of[feature.start + at - feature.window] for at in (span.first, span.last))
    original = " ".join(context.words[first : last + 1])
    predicted = tokenizer.joined(feature.ids[span.first : span.last + 1].tolist())
    return project(predicted, original, tokenizer)


def project(predicted: str, original: str, tokenizer: WordPiece) -> str:
    """Find a normalised text in the original one, and return it as it is written there.

    The original is tokenised into words, the predicted text looked up in that, and both are aligned by their
    characters that are no spaces. Wherever this fails the original comes back whole.
    """
    tokenised = " ".join(tokenizer.basic_tokens(original))
    at = tokenised.find(predicted)
    if at < 0:
        return original
    there = [index for index, character in enumerate(tokenised) if character != " "]
    here = [index for index, character in enumerate(original) if character != " "]
    if len(there) != len(here):  # e.g. an accent that is a character of its own
        return original
    place = {index: number for number, index in enumerate(there)}
    first, last = place.get(at), place.get(at + len(predicted) - 1)
    if first is None or last is None:
        return original
    return original[here[first] : here[last] + 1]


def normalised(text: str) -> str:
    """Lower-case, drop ASCII punctuation and the words a, an and the, and collapse white space."""
    text = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def f1_of(predicted: str, answer: str) -> float:
    """Return the harmonic mean of precision and recall over normalised words (0 to 1)."""
    ours, theirs = normalised(predicted).split(), normalised(answer).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def evaluate(questions: Sequence[Question], answers: Mapping[int, str]) -> SquadScore:
    """Score answers by the number of their question; one without an answer is scored as `empty`, so as 0.

    Of several reference answers the one that fits best counts.
    """
    exact = f1 = 0.0
    for number, question in enumerate(questions):
        text = answers.get(number, NO_ANSWER)
        exact += max(normalised(text) == normalised(answer) for answer in question.answers)
        f1 += max(f1_of(text, answer) for answer in question.answers)
    return SquadScore(100.0 * exact / len(questions), 100.0 * f1 / len(questions), len(questions))


def answers_of(
    found: Iterable[tuple[Feature, NDArray[np.floating], NDArray[np.floating]]],
    tokenizer: WordPiece,
    rules: AnswerRules = OFFICIAL,
) -> dict[int, str]:
    """Return the answer to every question that has a window here, by the question's number.

    Args:
        found: windows with their start and end logits, in the order of the QSL.
        tokenizer: that made the windows.
        rules: the official ones.
    """
    best: dict[int, tuple[Feature, Span] | None] = {}
    for feature, starts, ends in found:
        span = best_span(feature, starts, ends, rules)
        before = best.setdefault(feature.number, None)
        if span is not None and (before is None or span.score > before[1].score):
            best[feature.number] = feature, span
    return {
        number: answer_text(*chosen, tokenizer) if chosen else NO_ANSWER for number, chosen in best.items()
    }


def _best(logits: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return the indices of the greatest values, the first of equals first."""
    if len(logits) > 4 * count:  # sort only what can be among them
        least = np.partition(logits, len(logits) - count)[len(logits) - count]
        candidates = np.flatnonzero(logits >= least)
        return candidates[np.argsort(-logits[candidates], kind="stable")][:count]
    return np.argsort(-logits, kind="stable")[:count]
