"""bert-99 through the benchmark's interface: sources, batches, responses, score."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from mlperf_submission.benchmark.facts import Edition, Source
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import LogError, SourceError
from mlperf_submission.rounds import get_round
from models.bert.answer import ANSWER
from models.bert.samples import SquadSamples
from models.registry import get_benchmark

BERT = get_benchmark("bert-99")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "?", "."]
CONTEXTS = ("a b c. d", "", "A long " + "x " * 600 + "end")
ANSWERS = ("c", "nothing", "end")


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


class Counting:
    """A session whose start logits are ids and whose end logits are segments; it notes the lengths."""

    batch_size = 8

    def __init__(self, length: int | None = None) -> None:
        self.input_shapes = {"input_ids": ("N", length or "D1")}
        self.lengths: list[int] = []

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        self.lengths.append(inputs["input_ids"].shape[1])
        start = np.where(inputs["input_mask"] == 1, inputs["input_ids"], -99).astype(np.float32)
        return {"output_start_logits": start, "output_end_logits": inputs["segment_ids"].astype(np.float32)}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    paragraphs = [
        {
            "context": context,
            "qas": [
                {"id": str(number), "question": "q r?", "answers": [{"answer_start": 0, "text": answer}]}
            ],
        }
        for number, (context, answer) in enumerate(zip(CONTEXTS, ANSWERS, strict=True))
    ]
    content = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
    (tmp_path / "dev-v1.1.json").write_text(json.dumps(content))
    return tmp_path


EDITION = Edition("full", Source("n", (), "", None), (), 4)


@pytest.fixture
def samples(dataset: Path, tmp_path: Path) -> SquadSamples:
    output = tmp_path / "samples"
    output.mkdir()
    figures = BERT.data.preprocess(
        Preprocessing(
            dataset,
            output,
            edition=EDITION,
            subset="validation",
            precision="int8",
            workers=1,
        )
    )
    assert figures["count"] == 4
    return SquadSamples(output)


def test_the_full_edition_names_the_official_sources() -> None:
    edition = BERT.facts.full
    assert edition.sample_count == 10_833
    assert edition.network_for("fp16").digest == "md5:819b25b19cd8e59080c10892689750ca"
    assert edition.network_for("int8").digest == "md5:45f88ffb2915362242703c85c38ec2d4"
    assert {source.name: source.digest for source in edition.data} == {
        "dev-v1.1.json": "md5:3e85deb501d4e538b6bc56f786231552",
        "vocab.txt": "md5:64800d5d8528ce344256daf115d4965e",
    }
    assert edition.licensed is None
    assert BERT.scorer.metric in {target.metric for target in get_round("v4.1").model("bert-99").accuracy}


def test_the_calibration_list_is_the_official_file() -> None:
    from models.bert import data as bert

    content = bert._CALIBRATION_LIST.read_bytes()
    assert hashlib.md5(content).hexdigest() == "81fa69eb66f72831edccb624133bb4b3"  # noqa: S324
    assert len(set(map(int, content.split()))) == 100


def test_a_batch_is_padded_to_its_longest_and_responses_have_their_true_length(samples: SquadSamples) -> None:
    # [CLS] q r ? [SEP] a b c . d [SEP]; then 603 pieces in windows of 384 - 3 - 3 = 378: 0, 128, 256
    assert samples.costs.tolist() == [11, 384, 384, 353]
    session = Counting()
    responses = ANSWER.batch(session, samples, np.array([0, 3]))
    assert session.lengths == [353]
    assert responses.offsets.tolist() == [0, 88, 88 + 8 * 353]
    pairs = responses.data[:88].view("<f4").reshape(-1, 2)
    wanted = [
        VOCABULARY.index(token) for token in ("[CLS]", "q", "r", "?", "[SEP]", *"abc", ".", "d", "[SEP]")
    ]
    assert pairs[:, 0].tolist() == wanted
    assert pairs[:, 1].tolist() == [0.0] * 5 + [1.0] * 6
    alone = ANSWER.batch(session, samples, np.array([0]))
    assert session.lengths == [353, 11]
    assert alone.data.tobytes() == responses.data[:88].tobytes()


def test_a_network_of_fixed_length_gets_that_length(samples: SquadSamples) -> None:
    session = Counting(384)
    responses = ANSWER.batch(session, samples, np.array([0]))
    assert session.lengths == [384]
    assert len(responses.data) == 88


def answer(length: int, at: int, value: float = 9.0) -> bytes:
    pairs = np.zeros((length, 2), "<f4")
    if at >= 0:
        pairs[at] = value
    return pairs.tobytes()


def test_the_score_has_the_official_line(dataset: Path) -> None:
    # "c" is piece 7 of the first; "end" is [UNK], the last piece of the last window (position 351)
    entries = [Entry(0, answer(11, 7)), Entry(1, answer(384, 9, 1)), Entry(3, answer(353, 351))]
    score = BERT.scorer.score(entries, dataset, EDITION)
    assert score.samples == 3
    assert score.lines == (json.dumps({"exact_match": 200 / 3, "f1": 200 / 3}),)
    assert score.metrics["F1"] == pytest.approx(200 / 3)


def test_the_last_entry_of_a_sample_counts_and_the_divisor_is_all_questions(dataset: Path) -> None:
    right, wrong = Entry(0, answer(11, 7)), Entry(0, answer(11, 5))
    assert BERT.scorer.score([wrong, right], dataset, EDITION).metrics["F1"] == pytest.approx(100 / 3)
    assert BERT.scorer.score([right, wrong], dataset, EDITION).metrics["F1"] == 0


def test_official_float32_of_384_positions_scores_like_a_short_response(dataset: Path) -> None:
    padded = answer(11, 7) + answer(373, -1, 0)
    assert BERT.scorer.score([Entry(0, padded)], dataset, EDITION) == BERT.scorer.score(
        [Entry(0, answer(11, 7))], dataset, EDITION
    )


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no response"),
        ([Entry(4, answer(3, 1))], "sample 4 is not in the data set of 4"),
        ([Entry(-1, answer(3, 1))], "sample -1 is not"),
        ([Entry(0, b"\0" * 12)], "has 12 bytes"),
        ([Entry(0, b"")], "has 0 bytes"),
        ([Entry(0, b"\0" * 8 * 385)], "has 3080 bytes"),
    ],
)
def test_a_log_that_cannot_be_scored_is_refused(dataset: Path, entries: list[Entry], said: str) -> None:
    with pytest.raises(LogError, match=said):
        BERT.scorer.score(entries, dataset, EDITION)


def test_a_data_set_of_another_size_is_refused(dataset: Path) -> None:
    assert BERT.data.verify(dataset, EDITION, ignore_progress) == {"questions": 3, "features": 4}
    with pytest.raises(SourceError, match="make 4 samples, but the edition has 10833"):
        BERT.data.verify(dataset, BERT.facts.full, ignore_progress)


def test_the_official_calibration_features_are_of_the_validation_set(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="make 4 samples"):
        BERT.data.preprocess(
            Preprocessing(
                dataset,
                tmp_path,
                edition=BERT.facts.full,
                subset="calibration",
                precision="int8",
                workers=1,
            )
        )
