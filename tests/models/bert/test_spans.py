"""Answers from logits and their scores: cases computed by hand, spans against loops written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.bert.features import Feature, WindowRules, features
from models.bert.spans import (
    AnswerRules,
    Span,
    answers_of,
    best_span,
    evaluate,
    f1_of,
    normalised,
    project,
)
from models.bert.squad import Paragraph, Question
from models.bert.wordpiece import WordPiece

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789"]
VOCABULARY += ["steve", "smith", "##son", "zoe", "##s", "?", ".", ",", "'", "(", ")", "-", "$"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> WordPiece:
    path = tmp_path_factory.mktemp("squad") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n")
    return WordPiece(path)


def windows(tokenizer: WordPiece, context: str, rules: WindowRules | None = None) -> list[Feature]:
    question = Question("q", "w ?", ("a",))
    return [*features([Paragraph(context, (question,))], tokenizer, rules or WindowRules())]


def logits(size: int, **values: float) -> NDArray[np.float64]:
    found = np.zeros(size)
    for at, value in values.items():
        found[int(at[1:])] = value
    return found


def test_the_best_sum_of_a_valid_pair_wins(tokenizer: WordPiece) -> None:
    (feature,) = windows(tokenizer, "a b c d e")  # [CLS] w ? [SEP] a b c d e [SEP]: the window is 4..8
    assert feature.window == 4
    starts, ends = logits(10, p5=3, p7=4), logits(10, p6=4, p4=5)
    assert best_span(feature, starts, ends) == Span(5, 6, 7.0), "the end at 4 lies before both starts"


def test_spans_in_the_question_or_on_separators_are_not_answers(tokenizer: WordPiece) -> None:
    (feature,) = windows(tokenizer, "a b c d e")
    for outside in (0, 1, 3, 9):
        starts, ends = logits(10, p6=1, **{f"p{outside}": 50}), logits(10, p6=1, **{f"p{outside}": 50})
        assert best_span(feature, starts, ends) == Span(6, 6, 2.0)


def test_a_span_has_at_most_thirty_pieces(tokenizer: WordPiece) -> None:
    (feature,) = windows(tokenizer, " ".join("a" for _ in range(60)))
    size = len(feature.ids)
    assert best_span(feature, logits(size, p10=9), logits(size, p39=9)) == Span(10, 39, 18.0)
    assert best_span(feature, logits(size, p10=9), logits(size, p40=9)) != Span(10, 40, 18.0)


def test_only_the_twenty_best_of_each_are_tried(tokenizer: WordPiece) -> None:
    (feature,) = windows(tokenizer, " ".join("a" for _ in range(60)))
    starts, ends = np.zeros(len(feature.ids)), np.zeros(len(feature.ids))
    starts[40:60] = 5  # twenty starts after every end
    starts[10] = 4
    ends[11:31] = 5
    assert best_span(feature, starts, ends) is None
    assert best_span(feature, starts, ends, AnswerRules(best=21)) == Span(10, 11, 9.0)


def test_a_short_response_answers_where_it_has_logits(tokenizer: WordPiece) -> None:
    (feature,) = windows(tokenizer, "a b c d e")
    assert best_span(feature, logits(6, p5=2), logits(6, p5=2)) == Span(5, 5, 4.0)
    padded = np.pad(logits(6, p5=2), (0, 378), constant_values=-10_000)
    assert best_span(feature, padded, padded) == Span(5, 5, 4.0)


def greatest(values: NDArray[np.float64], count: int) -> list[int]:
    return sorted(range(len(values)), key=lambda at: -values[at])[:count]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.booleans())
def test_spans_are_those_of_plain_loops(tokenizer: WordPiece, seed: int, words: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    rules = AnswerRules(best=7, longest=5)
    for feature in windows(tokenizer, " ".join(random.choice([*"abcd"], words)), WindowRules(24, 64, 8)):
        starts, ends = random.normal(size=(2, 384))
        if ties:
            starts, ends = starts.round(), ends.round()
        order = [greatest(values, 7) for values in (starts, ends)]
        best: Span | None = None
        for first in order[0]:
            for last in order[1]:
                inside = feature.window <= first <= last < feature.window + len(feature.max_context)
                if not inside or last - first >= 5 or not feature.max_context[first - feature.window]:
                    continue
                if best is None or starts[first] + ends[last] > best.score:
                    best = Span(first, last, starts[first] + ends[last])
        assert best_span(feature, starts, ends, rules) == best


def test_a_start_counts_in_its_window_of_maximal_context_only(tokenizer: WordPiece) -> None:
    """The first window is surer of a piece at its border, but does not see what follows."""
    first, second = windows(tokenizer, " ".join("abcdefghijklmnop"), WindowRules(20, 64, 6))
    at = first.window + 14  # o, at the border of the first window
    wrong = logits(20, **{f"p{at}": 9})
    right = logits(20, **{f"p{second.window + 5}": 5})
    assert best_span(first, wrong, wrong) != Span(at, at, 18.0)
    found = [(first, wrong, wrong), (second, right, right)]
    assert answers_of(found, tokenizer) == {0: "l"}
    assert answers_of(found, tokenizer, AnswerRules(use_max_context=False)) == {0: "o"}


def test_the_best_window_answers_and_the_first_of_equals(tokenizer: WordPiece) -> None:
    first, second = windows(tokenizer, " ".join("abcdefghijklmnop"), WindowRules(20, 64, 6))
    low, high = logits(20, p5=3), logits(20, **{f"p{second.window + 9}": 4})
    assert answers_of([(first, low, low), (second, high, high)], tokenizer) == {0: "p"}
    same = logits(20, **{f"p{second.window + 9}": 3})
    assert answers_of([(first, low, low), (second, same, same)], tokenizer) == {0: "b"}


def test_without_a_valid_span_the_answer_is_empty(tokenizer: WordPiece) -> None:
    (feature,) = windows(tokenizer, "a b c")
    nothing = np.full(2, 1.0)  # logits of the question alone
    assert answers_of([(feature, nothing, nothing)], tokenizer) == {0: "empty"}


@pytest.mark.parametrize(
    ("predicted", "original", "answer"),
    [
        ("steve smith", "Steve Smith's", "Steve Smith"),
        ("smith", "(Steve Smith)", "Smith"),
        ("zoe", "“Zoë,”", "Zoë"),
        ("zoe", "Zoe\u0308,", "Zoe\u0308,"),  # the accent is a character of its own: lengths differ
        ("elsewhere", "Steve Smith.", "Steve Smith."),
        ("smithson", "Smithson.", "Smithson"),
        ("$ 12 . 5", "$12.5 (x)", "$12.5"),
        ("[UNK]", "Ødegård.", "Ødegård."),
        ("mit", "Smith", "mit"),
    ],
)
def test_an_answer_is_found_again_in_the_original(
    tokenizer: WordPiece, predicted: str, original: str, answer: str
) -> None:
    assert project(predicted, original, tokenizer) == answer


@pytest.mark.parametrize(
    ("context", "first", "last", "answer"),
    [
        ("Then Steve Smithson's (a).", 1, 3, "Steve Smithson"),
        ("On 3-4 a, b", 1, 3, "3-4"),
    ],
)
def test_pieces_become_text(tokenizer: WordPiece, context: str, first: int, last: int, answer: str) -> None:
    (feature,) = windows(tokenizer, context)
    base = feature.window
    starts = logits(len(feature.ids), **{f"p{base + first}": 9})
    ends = logits(len(feature.ids), **{f"p{base + last}": 9})
    assert answers_of([(feature, starts, ends)], tokenizer) == {0: answer}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("The  Cat's, an A-team!", "cats ateam"),
        ("theatre a the an", "theatre"),
        ("“Quoted” — Zoë", "“quoted” — zoë"),
        ("...", ""),
        ("A.D.\u00a01,000", "ad 1000"),
    ],
)
def test_texts_are_normalised_as_officially(text: str, result: str) -> None:
    assert normalised(text) == result


@pytest.mark.parametrize(
    ("predicted", "answer", "f1"),
    [
        ("the cat sat", "Cat sat.", 1.0),
        ("cat sat on mat", "cat sat", 2 * (0.5 * 1) / 1.5),
        ("cat cat", "cat", 2 * (0.5 * 1) / 1.5),
        ("a b c", "b d", 2 * (0.5 * 0.5) / 1.0),  # "a" is an article: b c against b d
        ("dog", "cat", 0.0),
        ("the", "the", 0.0),  # nothing is left of either: no common word
        ("", "cat", 0.0),
    ],
)
def test_f1_by_hand(predicted: str, answer: str, f1: float) -> None:
    assert f1_of(predicted, answer) == pytest.approx(f1, abs=1e-12)


def test_the_score_takes_the_best_reference_and_counts_the_unanswered() -> None:
    questions = [
        Question("1", "", ("cat", "the black cat")),
        Question("2", "", ("dog", "dog food")),
        Question("3", "", ("bird",)),
    ]
    score = evaluate(questions, {0: "Black cat!", 1: "old dog food"})
    # 1: exact with the second; 2: 2 * (2/3 * 1) / (5/3) = 0.8 with the second; 3: not answered.
    assert score.exact_match == pytest.approx(100 / 3)
    assert score.f1 == pytest.approx(100 * 1.8 / 3)
    assert score.questions == 3


def test_an_unanswered_question_is_scored_as_the_script_does() -> None:
    assert evaluate([Question("1", "", ("empty",))], {}).f1 == 100, "as the script: no answer is `empty`"
