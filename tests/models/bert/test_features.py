"""SQuAD files and windows: counted by hand, against loops written out, and on bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.benchmark.parts import Progress, ignore_progress
from mlperf_submission.errors import SourceError
from models.bert.features import (
    WindowRules,
    features,
    max_context,
    split_words,
    window_starts,
)
from models.bert.samples import SquadSamples, write_samples
from models.bert.squad import Paragraph, Question, read_squad
from models.bert.wordpiece import WordPiece

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "##s", "?", "."]
ID = {token: number for number, token in enumerate(VOCABULARY)}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> WordPiece:
    path = tmp_path_factory.mktemp("squad") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n")
    return WordPiece(path)


def asked(context: str, *questions: str) -> Paragraph:
    return Paragraph(
        context,
        tuple(Question(f"{context[:3]}{number}", text, ("a",)) for number, text in enumerate(questions)),
    )


def ids(text: str) -> list[int]:
    return [ID[token] for token in text.split()]


def test_a_short_text_is_one_window(tokenizer: WordPiece) -> None:
    (found,) = features([asked("A bs. c", "D e?")], tokenizer)
    assert found.ids.tolist() == ids("[CLS] d e ? [SEP] a b ##s . c [SEP]")
    assert found.window == 5
    assert found.context.words == ("A", "bs.", "c")
    assert found.context.word_of.tolist() == [0, 1, 1, 1, 2]
    assert found.max_context.all()


def test_windows_slide_by_the_stride_and_end_with_the_text(tokenizer: WordPiece) -> None:
    text = " ".join("abcdefghijklmnop")  # 16 pieces; 20 - 2 - 3 = 15 fit
    found = [*features([asked(text, "x y")], tokenizer, WindowRules(20, 64, 6))]
    assert [one.ids[one.window : -1].tolist() for one in found] == [
        ids(" ".join("abcdefghijklmno")),
        ids(" ".join("ghijklmnop")),
    ]
    assert [one.start for one in found] == [0, 6]
    # g to p are in both: from k on the second has as much or more on its poorer side.
    left = [min(at, 14 - at) + 0.15 for at in range(15)]
    right = [min(at, 9 - at) + 0.10 for at in range(10)]
    assert found[0].max_context.tolist() == [at < 6 or left[at] >= right[at - 6] for at in range(15)]
    assert found[1].max_context.tolist() == [at >= 9 or right[at] > left[at + 6] for at in range(10)]


def test_the_official_window_of_a_long_text(tokenizer: WordPiece) -> None:
    text = " ".join("a" for _ in range(700))
    found = [*features([asked(text, "b c d e ?")], tokenizer)]
    # 384 - 5 - 3 = 376 pieces fit: 0..375, 128..503, 256..631, 384..699
    assert [(one.start, len(one.ids)) for one in found] == [(0, 384), (128, 384), (256, 384), (384, 324)]
    assert sum(int(one.max_context.sum()) for one in found) == 700


def test_a_long_question_is_cut(tokenizer: WordPiece) -> None:
    (found,) = features([asked("a", "b " * 90)], tokenizer)
    assert found.window == 66
    assert len(found.ids) == 66 + 2


def test_the_order_is_paragraphs_questions_windows(tokenizer: WordPiece) -> None:
    long = " ".join("a" for _ in range(500))
    found = [*features([asked(long, "b", "c"), asked("d", "e")], tokenizer)]
    assert [(one.number, one.start) for one in found] == [(0, 0), (0, 128), (1, 0), (1, 128), (2, 0)]


@pytest.mark.parametrize("context", ["", " \n\t\u202f", "\u200b \u0301"])
def test_an_empty_context_has_no_window(tokenizer: WordPiece, context: str) -> None:
    assert [one.number for one in features([asked(context, "b"), asked("c", "d")], tokenizer)] == [1]


def test_words_are_split_at_the_reference_s_white_space_alone() -> None:
    assert split_words("a\tb\r\nc\u202fd  e\u00a0f\u3000g ") == ("a", "b", "c", "d", "e\u00a0f\u3000g")


@given(st.integers(0, 900), st.integers(1, 380), st.integers(1, 400))
def test_windows_cover_the_text(length: int, capacity: int, stride: int) -> None:
    spans = window_starts(length, capacity, stride)
    covered = {piece for start, taken in spans for piece in range(start, start + taken)}
    assert len(covered) == length or stride > capacity
    assert all(0 < taken <= capacity for _, taken in spans)
    assert (spans[-1][0] + spans[-1][1] if spans else 0) == length


@given(st.integers(1, 300), st.integers(1, 80), st.integers(1, 80))
def test_the_window_of_maximal_context_by_loops(length: int, capacity: int, stride: int) -> None:
    spans = window_starts(length, capacity, min(stride, capacity))
    for piece, found in enumerate(max_context(spans, length).tolist()):
        best, score = -1, -1.0
        for number, (start, taken) in enumerate(spans):
            if start <= piece < start + taken:
                here = min(piece - start, start + taken - 1 - piece) + 0.01 * taken
                if here > score:
                    best, score = number, here
        assert found == best


def test_samples_come_back_padded_to_the_longest_of_the_batch(tokenizer: WordPiece, tmp_path: Path) -> None:
    found = [*features([asked("a b c", "d ?", "e"), asked("a " * 400, "f")], tokenizer)]
    seen: list[Progress] = []
    figures = write_samples(found, tmp_path, len(found), seen.append)
    assert figures["count"] == 4
    assert seen[-1] == Progress(4, 4)
    samples = SquadSamples(tmp_path)
    assert samples.costs.tolist() == [8, 7, 384, 276], "400 pieces: 0..379, then from 128 on, with 4 others"
    batch = samples.batch(np.array([1, 0]))
    assert {name: (values.dtype.name, values.shape) for name, values in batch.items()} == dict.fromkeys(
        ("input_ids", "input_mask", "segment_ids"), ("int64", (2, 8))
    )
    assert batch["input_ids"].tolist() == [
        ids("[CLS] e [SEP] a b c [SEP] [PAD]"),
        ids("[CLS] d ? [SEP] a b c [SEP]"),
    ]
    assert batch["input_mask"].tolist() == [[1] * 7 + [0], [1] * 8]
    assert batch["segment_ids"].tolist() == [[0] * 3 + [1] * 4 + [0], [0] * 4 + [1] * 4]
    assert samples.batch(np.array([1]), 384)["input_mask"].sum() == 7


def test_samples_that_do_not_belong_together_are_refused(tokenizer: WordPiece, tmp_path: Path) -> None:
    found = [*features([asked("a b c", "d ?")], tokenizer)]
    write_samples(found, tmp_path, 1, ignore_progress)
    np.save(tmp_path / "lengths.npy", np.array([3, 4], np.int32))
    with pytest.raises(SourceError, match="do not belong together"):
        SquadSamples(tmp_path)
    (tmp_path / "lengths.npy").unlink()
    with pytest.raises(SourceError, match="cannot be opened"):
        SquadSamples(tmp_path)


def _file(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "dev.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _squad(*questions: object, context: object = "a") -> object:
    return {
        "version": "1.1",
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": [*questions]}]}],
    }


GOOD = {
    "id": "1",
    "question": "b",
    "answers": [{"answer_start": 0, "text": "a"}, {"answer_start": 0, "text": "c"}],
}


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = _file(tmp_path, _squad(GOOD, {**GOOD, "id": "2"}))
    (paragraph,) = read_squad(path)
    assert [one.identity for one in paragraph.questions] == ["1", "2"]
    assert paragraph.questions[0].answers == ("a", "c")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ({"data": []}, "holds no question"),
        ({}, "data: Field required"),
        (_squad({**GOOD, "answers": []}), "question '1' has no answer"),
        (_squad(GOOD, GOOD), "two questions have the id '1'"),
        (_squad({"id": "1", "question": "b"}), "qas.0.answers: Field required"),
        (_squad(GOOD, context=7), "context: Input should be a valid string"),
    ],
)
def test_what_is_no_squad_file_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        read_squad(_file(tmp_path, content))
    with pytest.raises(SourceError, match="cannot be read"):
        read_squad(tmp_path / "absent.json")
