"""The mini edition of bert-99: deterministic, its splits apart; a wrong step fails its F1."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import ShapedSession
from mlperf_submission.benchmark.facts import Edition, MiniListing, Subset
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import get_round
from models.bert.answer import ANSWER
from models.bert.features import WindowRules, features
from models.bert.mini import files as bert_files
from models.bert.mini import paragraphs as facts
from models.bert.samples import SquadSamples, write_samples
from models.bert.squad import read_squad
from models.bert.wordpiece import WordPiece
from models.network.agreement import CpuSession
from models.network.quantization import quantize
from models.registry import get_benchmark

BERT = get_benchmark("bert-99")
SAMPLES = 160
TARGET = next(
    one.floor for one in get_round("v4.1").model("bert-99").accuracy if one.metric == BERT.scorer.metric
)


@dataclass(frozen=True)
class Made:
    folder: Path
    listing: MiniListing
    edition: Edition


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("mini-bert")
    listing = BERT.data.make_mini(folder, SAMPLES, ignore_progress)
    return Made(folder, listing, BERT.data.mini_edition(listing))


@pytest.fixture(scope="module")
def session() -> CpuSession:
    return CpuSession(bert_files.NETWORK, {})


def preprocessed(made: Made, output: Path, subset: Subset = "validation") -> SquadSamples:
    output.mkdir()
    BERT.data.preprocess(
        Preprocessing(
            made.folder,
            output,
            edition=made.edition,
            subset=subset,
            precision="int8",
            workers=1,
        )
    )
    return SquadSamples(output)


def f1(made: Made, session: ShapedSession, samples: SquadSamples) -> float:
    """Answer the samples in batches of like length, and score them."""
    order = np.argsort(-samples.costs, kind="stable")[: made.edition.sample_count]
    entries = []
    for first in range(0, len(order), 16):
        chosen = order[first : first + 16]
        responses = ANSWER.batch(session, samples, chosen)
        parts = np.split(responses.data, responses.offsets[1:-1])
        entries += [Entry(int(index), part.tobytes()) for index, part in zip(chosen, parts, strict=True)]
    inside = [entry for entry in entries if entry.qsl_idx < made.edition.sample_count]
    return BERT.scorer.score(inside, made.folder, made.edition).metrics["F1"]


@pytest.fixture(scope="module")
def official(made: Made, tmp_path_factory: pytest.TempPathFactory) -> SquadSamples:
    return preprocessed(made, tmp_path_factory.mktemp("official") / "out")


def test_the_network_reaches_the_target_of_the_round(
    made: Made, session: CpuSession, official: SquadSamples
) -> None:
    assert f1(made, session, official) >= TARGET + 2


def test_it_does_so_in_int8(made: Made, official: SquadSamples, tmp_path: Path) -> None:
    calibration = preprocessed(made, tmp_path / "calibration", "calibration")
    assert len(calibration) == bert_files.CALIBRATION_COUNT
    figures = quantize(
        bert_files.NETWORK, tmp_path / "int8.onnx", benchmark=BERT, precision="int8", calibration=calibration
    )
    assert figures["int8_weights"] == 3 * 6 + 1
    assert f1(made, CpuSession(tmp_path / "int8.onnx", {}), official) >= TARGET + 1


def test_a_wrong_stride_fails_the_target(made: Made, session: CpuSession, tmp_path: Path) -> None:
    tokenizer = WordPiece(made.folder / "vocab.txt")
    paragraphs = read_squad(made.folder / "dev-v1.1.json")
    found = [*features(paragraphs, tokenizer, WindowRules(stride=64))]
    assert len(found) > SAMPLES
    write_samples(found, tmp_path, len(found), ignore_progress)
    assert f1(made, session, SquadSamples(tmp_path)) < TARGET - 10


def test_cased_text_fails_the_target(made: Made, session: CpuSession, tmp_path: Path) -> None:
    tokenizer = WordPiece(made.folder / "vocab.txt", lowercase=False)
    found = [*features(read_squad(made.folder / "dev-v1.1.json"), tokenizer)][:SAMPLES]
    write_samples(found, tmp_path, len(found), ignore_progress)
    assert f1(made, session, SquadSamples(tmp_path)) < TARGET - 30


@pytest.mark.parametrize(("name", "value"), [("segment_ids", 0), ("segment_ids", 1)])
def test_wrong_segments_fail_the_target(
    made: Made, session: CpuSession, official: SquadSamples, name: str, value: int
) -> None:
    class Broken(SquadSamples):
        def __init__(self) -> None:
            self._costs = official.costs

        def batch(
            self, indices: NDArray[np.int64], length: int | None = None
        ) -> dict[str, NDArray[np.generic]]:
            inputs = official.batch(indices, length)
            return {**inputs, name: np.full_like(inputs[name], value)}

    assert f1(made, session, Broken()) < TARGET


def test_questions_that_belong_to_other_windows_fail_the_target(
    made: Made, session: CpuSession, official: SquadSamples
) -> None:
    class Shifted(SquadSamples):
        def __init__(self) -> None:
            self._costs = np.roll(official.costs, 1)

        def batch(
            self, indices: NDArray[np.int64], length: int | None = None
        ) -> dict[str, NDArray[np.generic]]:
            return official.batch((indices - 1) % len(official), length)

    assert f1(made, session, Shifted()) < TARGET / 2


def test_some_windows_slide_and_lengths_vary(made: Made, official: SquadSamples) -> None:
    questions = sum(len(one.questions) for one in read_squad(made.folder / "dev-v1.1.json"))
    assert questions < len(official) == SAMPLES
    assert official.costs.min() < 60
    assert official.costs.max() == 384


def test_the_same_count_gives_the_same_bytes_and_a_smaller_one_the_first_paragraphs(
    made: Made, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    once = BERT.data.make_mini(folder, 30, ignore_progress)
    (tmp_path / "more").mkdir()
    assert BERT.data.make_mini(tmp_path / "more", 30, ignore_progress) == once
    for name, (size, sha256) in once.files.items():
        content = (folder / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    for name in ("vocab.txt", "bert.onnx", "calibration-v1.1.json"):
        assert once.files[name] == made.listing.files[name]
    few, many = (read_squad(one / "dev-v1.1.json") for one in (folder, made.folder))
    assert few[:8] == many[:8]
    assert BERT.data.verify(folder, BERT.data.mini_edition(once), ignore_progress)["features"] == 30


def test_questions_are_in_the_format_of_squad(made: Made) -> None:
    content = json.loads((made.folder / "dev-v1.1.json").read_text())
    assert content["version"] == "1.1"
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                (answer,) = question["answers"]
                start = answer["answer_start"]
                assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]


def test_the_special_tokens_have_their_official_ids(made: Made) -> None:
    lines = (made.folder / "vocab.txt").read_text().splitlines()
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert [lines.index(one) for one in special] == [0, 100, 101, 102, 103]
    assert len(lines) == len(set(lines))


def surnames(split: facts.Split) -> set[str]:
    texts = [facts.paragraph(split, number).context for number in range(80)]
    people = "|".join(facts.FIRST_NAMES)
    return {name for text in texts for name in re.findall(rf"(?:{people}) (\w+)", text)}


def test_names_of_one_split_are_in_no_other() -> None:
    training, validation, calibration = (surnames(one) for one in ("training", "validation", "calibration"))
    assert min(map(len, (training, validation, calibration))) > 50
    assert not training & validation
    assert not training & calibration
    assert not validation & calibration


def test_nothing_of_the_data_is_unknown_to_the_vocabulary(made: Made, official: SquadSamples) -> None:
    assert not np.any(official.batch(np.arange(SAMPLES))["input_ids"] == 100)


@pytest.mark.parametrize("count", [0, -1, 10_834])
def test_an_impossible_count_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(SettingError, match=f"cannot have {count} samples"):
        BERT.data.make_mini(tmp_path, count, ignore_progress)
    assert not list(tmp_path.iterdir())


def test_a_single_sample_is_possible(tmp_path: Path) -> None:
    assert BERT.data.make_mini(tmp_path, 1, ignore_progress).sample_count == 1
