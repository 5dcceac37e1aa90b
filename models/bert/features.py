"""Windows over paragraphs: from questions to the sequences that the network takes, in the order of the QSL.

Source of the steps and constants: MLPerf Inference v4.1, language/bert/create_squad_data.py and squad_QSL.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bert.facts import MAX_SEQUENCE
from models.bert.squad import Paragraph, Question
from models.bert.wordpiece import WordPiece

MAX_QUESTION = 64
"""Pieces of a question; what is beyond is cut off (max_query_length)."""
STRIDE = 128
"""Pieces between the starts of neighbouring windows (doc_stride)."""
_WHITE_SPACE = re.compile("[ \t\r\n\u202f]+")
_SPECIAL_TOKENS = 3


@dataclass(frozen=True)
class WindowRules:
    """How a paragraph is cut into windows; the default is the benchmark's."""

    max_sequence: int = MAX_SEQUENCE
    max_question: int = MAX_QUESTION
    stride: int = STRIDE


OFFICIAL = WindowRules()


@dataclass(frozen=True)
class Context:
    """A tokenised paragraph.

    Attributes:
        words: the text split at white space.
        ids: int32, the pieces of all words.
        word_of: int32, the word that each piece is of.
    """

    words: tuple[str, ...]
    ids: NDArray[np.int32]
    word_of: NDArray[np.int32]


@dataclass(frozen=True)
class Feature:
    """One window with its question: a sample of the benchmark.

    The sequence is `[CLS] question [SEP] window [SEP]`.

    Attributes:
        question: what is asked, and `context`, in which the answer is looked for.
        number: of the question, counted through the file.
        ids: int32, the whole sequence without padding.
        window: index in `ids` of the window's first piece; also the length of the first segment.
        start: index in `context.ids` of the window's first piece.
        max_context: bool per piece of the window: no other window shows more of the text around the piece.
    """

    question: Question
    number: int
    context: Context
    ids: NDArray[np.int32]
    window: int
    start: int
    max_context: NDArray[np.bool_]


def split_words(text: str) -> tuple[str, ...]:
    """Split a context at space, tab, CR, LF and U+202F; other spaces stay inside a word."""
    return tuple(word for word in _WHITE_SPACE.split(text) if word)


def window_starts(length: int, capacity: int, stride: int) -> list[tuple[int, int]]:
    """Return first piece and length of each window over `length` pieces; none for an empty text."""
    spans: list[tuple[int, int]] = []
    start = 0
    while start < length:
        taken = min(capacity, length - start)
        spans.append((start, taken))
        if start + taken == length:
            break
        start += min(taken, stride)
    return spans


def max_context(spans: Sequence[tuple[int, int]], length: int) -> NDArray[np.int64]:
    """Return for each of `length` pieces the window that shows most of the text around it.

    That is the greatest min(pieces to its left, pieces to its right) + 0.01 * length of the window; the first
    of equals.
    """
    pieces = np.arange(length)
    scores = np.full((len(spans), length), -np.inf)
    for row, (start, taken) in zip(scores, spans, strict=True):
        inside = pieces[start : start + taken]
        row[inside] = np.minimum(inside - start, start + taken - 1 - inside) + 0.01 * taken
    best: NDArray[np.int64] = scores.argmax(axis=0) if len(spans) else np.empty(0, np.int64)
    return best


def features(
    paragraphs: Sequence[Paragraph], tokenizer: WordPiece, rules: WindowRules = OFFICIAL
) -> Iterator[Feature]:
    """Yield the features of a file in the order of the QSL: paragraphs, questions, windows."""
    number = 0
    for paragraph in paragraphs:
        words = split_words(paragraph.context)
        pieces = tokenizer.pieces(words)
        context = Context(words, pieces.ids, pieces.words)
        for question in paragraph.questions:
            yield from question_features(question, number, context, tokenizer, rules)
            number += 1


def question_features(
    question: Question, number: int, context: Context, tokenizer: WordPiece, rules: WindowRules = OFFICIAL
) -> Iterator[Feature]:
    """Yield the windows of one question; an empty context has none."""
    asked = tokenizer.pieces([question.text]).ids[: rules.max_question]
    spans = window_starts(len(context.ids), rules.max_sequence - len(asked) - _SPECIAL_TOKENS, rules.stride)
    best = max_context(spans, len(context.ids))
    head = np.concatenate(([tokenizer.classify], asked, [tokenizer.separate]))
    for index, (start, taken) in enumerate(spans):
        window = slice(start, start + taken)
        yield Feature(
            question=question,
            number=number,
            context=context,
            ids=np.concatenate((head, context.ids[window], [tokenizer.separate])).astype(np.int32),
            window=len(head),
            start=start,
            max_context=best[window] == index,
        )
