from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import Preprocessing, Score, ignore_progress
from mlperf_submission.errors import NetworkFileError, SettingError, SourceError
from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.backends.onnxruntime import OnnxBackend
from mlperf_submission.rounds import get_round
from mlperf_submission.submission.accuracy import judge, targets_for
from models.gptj import text as gptj_text
from models.gptj.answer import responses_of
from models.gptj.facts import ARTICLES_FILE
from models.gptj.mini import articles
from models.gptj.mini import files as gptj_files
from models.network.agreement import agreement, drained
from models.registry import get_benchmark

COUNT = 24
BENCHMARK = get_benchmark("gptj-99")


@dataclass
class Mini:
    dataset: Path
    edition: Edition
    samples: Path
    network: Path


@dataclass
class Entry:
    qsl_idx: int
    data: bytes


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Mini:
    folder = tmp_path_factory.mktemp("gptj")
    dataset, samples, network = folder / "data", folder / "samples", folder / "network.onnx"
    dataset.mkdir()
    samples.mkdir()
    edition = BENCHMARK.data.mini_edition(BENCHMARK.data.make_mini(dataset, COUNT, ignore_progress))
    preprocess(dataset, samples, edition)
    BENCHMARK.network.convert(dataset / gptj_files.NETWORK_FILE, network, "fp16", ignore_progress)
    return Mini(dataset, edition, samples, network)


def preprocess(dataset: Path, output: Path, edition: Edition) -> None:
    output.mkdir(exist_ok=True)
    BENCHMARK.data.preprocess(
        Preprocessing(
            dataset,
            output,
            edition=edition,
            subset="validation",
            precision="fp16",
            workers=1,
        )
    )


def answer(mini: Mini, samples: Path | None = None, batch: int = 8) -> list[Entry]:
    options = BackendOptions(
        BENCHMARK, "fp16", mini.network, BENCHMARK.data.open(samples or mini.samples), batch
    )
    backend = OnnxBackend(options)
    found = drained(backend.open_loop(0), np.arange(COUNT))
    backend.close()
    return [Entry(index, data) for index, data in enumerate(found)]


def rouge(mini: Mini, found: list[Entry]) -> Score:
    return BENCHMARK.scorer.score(found, mini.dataset, mini.edition)


@pytest.fixture(scope="module")
def answers(mini: Mini) -> list[Entry]:
    return answer(mini)


def test_the_mini_edition_in_fp16_reaches_the_official_targets(mini: Mini, answers: list[Entry]) -> None:
    rules = get_round("v4.1").model("gptj-99")
    score = rouge(mini, answers)
    assert judge(score.metrics, targets_for(rules.accuracy, score.samples, rules.dataset_size)) == []
    assert score.metrics["GEN_LEN"] / COUNT > 3_615_190.2 / 13_368


def test_answers_do_not_depend_on_who_is_in_the_batch(mini: Mini, answers: list[Entry]) -> None:
    assert answer(mini, batch=5) == answers


def broken_template(prompt: str) -> Callable[[gptj_text.NewsItem], str]:
    return lambda item: prompt.format(instruction=item.instruction, input=item.input)


@pytest.mark.parametrize(
    ("template", "points"),
    [
        ("{input}", 20.0),
        ("{instruction}\n\n{input}\n\n", 5.0),
        (gptj_text.TEMPLATE.replace("{input}", "The article is missing."), 20.0),
    ],
)
def test_a_broken_prompt_costs_accuracy(
    mini: Mini,
    answers: list[Entry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    points: float,
) -> None:
    monkeypatch.setattr(gptj_text, "prompt_of", broken_template(template))
    preprocess(mini.dataset, tmp_path, mini.edition)
    lost = rouge(mini, answers).metrics["ROUGE1"] - rouge(mini, answer(mini, tmp_path)).metrics["ROUGE1"]
    assert lost > points


def test_a_prompt_cut_at_its_left_end_or_too_early_costs_accuracy(
    mini: Mini, answers: list[Entry], tmp_path: Path
) -> None:
    tokenizer = gptj_text.open_tokenizer(mini.dataset)
    items = gptj_text.read_items(mini.dataset / ARTICLES_FILE)
    gptj_text.write_samples(items, tokenizer, tmp_path, limit=90)
    lost = rouge(mini, answers).metrics["ROUGE1"] - rouge(mini, answer(mini, tmp_path)).metrics["ROUGE1"]
    assert lost > 20


def test_an_article_longer_than_the_limit_is_cut_and_answered(mini: Mini, tmp_path: Path) -> None:
    index = next(i for i in range(1000) if len(articles.article("validation", i).text) > 1500)
    item = gptj_files.news_item(articles.article("validation", index))
    figures = gptj_text.write_samples(
        [item] * COUNT, gptj_text.open_tokenizer(mini.dataset), tmp_path, limit=gptj_files.PROMPT_LIMIT
    )
    assert figures["cut"] == COUNT and figures["longest"] == gptj_files.PROMPT_LIMIT
    found = answer(mini, tmp_path)
    assert len({entry.data for entry in found}) == 1
    assert 2 <= len(found[0].data) // 4 <= 128


def test_responses_are_tokens_without_prompt_padding_and_end(mini: Mini, answers: list[Entry]) -> None:
    end = gptj_text.open_tokenizer(mini.dataset).token_to_id(gptj_text.END_OF_TEXT)
    for entry in answers:
        tokens = np.frombuffer(entry.data, "<i4")
        assert 30 <= len(tokens) <= 128
        assert end not in tokens


def test_short_summaries_are_filled_up_to_two_tokens_and_counted() -> None:
    summaries = [np.array(one, np.int32) for one in ([7, 8, 9], [3], [])]
    responses = responses_of(summaries, end=5)
    ends = zip(responses.offsets, responses.offsets[1:], strict=False)
    assert [responses.data[first:last].view("<i4").tolist() for first, last in ends] == [
        [7, 8, 9],
        [3, 5],
        [5, 5],
    ]
    assert responses.token_counts is not None and responses.token_counts.tolist() == [3, 2, 2]


def test_the_converted_network_agrees_with_its_source(mini: Mini) -> None:
    found = agreement(
        mini.dataset / gptj_files.NETWORK_FILE,
        mini.network,
        benchmark=BENCHMARK,
        samples=BENCHMARK.data.open(mini.samples),
        dataset=mini.dataset,
        edition=mini.edition,
        sample_limit=8,
    )
    assert found.metric == "ROUGE1" and abs(found.reference - found.converted) < 2


def test_there_is_no_int8_network(mini: Mini, tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match="no int8 network"):
        BENCHMARK.network.convert(mini.network, tmp_path / "n.onnx", "int8", ignore_progress)


def test_a_file_that_is_no_network_of_ours_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    with pytest.raises(NetworkFileError):
        BENCHMARK.network.convert(other, tmp_path / "n.onnx", "fp16", ignore_progress)


def test_articles_that_are_missing_or_have_another_instruction_are_refused(
    mini: Mini, tmp_path: Path
) -> None:
    items = gptj_text.read_items(mini.dataset / ARTICLES_FILE)
    file = tmp_path / ARTICLES_FILE
    file.write_bytes(gptj_text.as_json(iter(items[:-1])))
    with pytest.raises(SourceError, match=f"there are {COUNT - 1} articles, not {COUNT}"):
        BENCHMARK.data.verify(tmp_path, mini.edition, ignore_progress)
    changed = [*items[:-1], items[-1].model_copy(update={"instruction": "Translate:"})]
    file.write_bytes(gptj_text.as_json(iter(changed)))
    with pytest.raises(SourceError, match=f"instruction of item {COUNT - 1} is 'Translate:'"):
        BENCHMARK.data.verify(tmp_path, mini.edition, ignore_progress)


def test_the_smaller_edition_is_the_beginning_of_the_larger(tmp_path: Path) -> None:
    for name, count in (("small", 5), ("large", 9)):
        (tmp_path / name).mkdir()
        BENCHMARK.data.make_mini(tmp_path / name, count, ignore_progress)
    small, large = (gptj_text.read_items(tmp_path / name / ARTICLES_FILE) for name in ("small", "large"))
    assert large[:5] == small
    for count in (0, 13_369):
        with pytest.raises(SettingError, match="1 to 13368"):
            BENCHMARK.data.make_mini(tmp_path, count, ignore_progress)


def test_the_full_edition_names_its_sources_and_the_persons_folder(tmp_path: Path) -> None:
    edition = get_benchmark("gptj-99").facts.full
    assert edition.sample_count == 13_368 and edition.network.unpack == "checkpoint"
    assert [source.name for source in edition.data] == ["vocab.json", "merges.txt"]
    assert edition.licensed and edition.licensed.key == "cnn_dailymail"
    assert BENCHMARK.network.agreement_samples(edition) == 0
    with pytest.raises(SourceError, match="cannot be read"):
        BENCHMARK.data.verify(tmp_path, edition, ignore_progress)


def test_the_committed_network_is_gptj_small_enough(mini: Mini) -> None:
    assert gptj_files.committed_file(gptj_files.NETWORK_FILE).stat().st_size < 2_000_000
    session = onnxruntime.InferenceSession(mini.network)
    assert {one.name for one in session.get_inputs()} > {
        spec.name for spec in BENCHMARK.network.inputs("fp16")
    }
