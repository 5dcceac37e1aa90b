from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import SourceError
from models.gptj import text as gptj_text
from models.gptj.facts import MERGES_FILE, VOCABULARY_FILE
from models.gptj.mini import files as gptj_files
from models.gptj.text import NewsItem, PromptSamples


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    for name in (VOCABULARY_FILE, MERGES_FILE):
        shutil.copyfile(gptj_files.committed_file(name), folder / name)
    return folder


def item(text: str = "A fire in {city}.", output: str = "A fire .") -> NewsItem:
    return NewsItem(instruction=gptj_text.INSTRUCTION, input=text, output=output)


def test_the_prompt_is_the_official_one() -> None:
    assert gptj_text.prompt_of(item()) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n"
        "\n"
        "### Instruction:\n"
        "Summarize the following news article:\n"
        "\n"
        "### Input:\n"
        "A fire in {city}.\n"
        "\n"
        "### Response:"
    )


def test_an_article_with_braces_is_taken_as_it_is() -> None:
    prompt = gptj_text.prompt_of(NewsItem(instruction="{input} {0}", input="{instruction}", output=""))
    assert "### Instruction:\n{input} {0}\n\n### Input:\n{instruction}\n" in prompt


@given(text=st.text(max_size=60))
def test_any_text_comes_back_from_its_tokens(vocabulary: Path, text: str) -> None:
    tokenizer = gptj_text.open_tokenizer(vocabulary)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_tokens_are_those_of_merges_applied_by_rank(vocabulary: Path) -> None:
    """Byte-level BPE once more, plainly, on words of ASCII letters."""
    merges = (vocabulary / MERGES_FILE).read_text().splitlines()[1:]
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(merges)}
    ids = json.loads((vocabulary / VOCABULARY_FILE).read_text())
    tokenizer = gptj_text.open_tokenizer(vocabulary)
    for word in ("fire", " firefighters", " Thornbury", " zyxw", " completely"):
        parts = list(word.replace(" ", "Ġ"))
        while pairs := [pair for pair in itertools.pairwise(parts) if pair in ranks]:
            best = min(pairs, key=lambda pair: ranks[pair])
            merged, position = [], 0
            while position < len(parts):
                if tuple(parts[position : position + 2]) == best:
                    merged.append("".join(best))
                    position += 2
                else:
                    merged.append(parts[position])
                    position += 1
            parts = merged
        assert tokenizer.encode(word, add_special_tokens=False).ids == [ids[part] for part in parts]


def test_samples_of_unequal_length_are_cut_at_their_right_end(vocabulary: Path, tmp_path: Path) -> None:
    tokenizer = gptj_text.open_tokenizer(vocabulary)
    items = [item("short"), item("a much longer text " * 40), item("")]
    figures = gptj_text.write_samples(items, tokenizer, tmp_path, limit=100)
    samples = PromptSamples(tmp_path)
    whole = [tokenizer.encode(gptj_text.prompt_of(one)).ids for one in items]
    assert len(samples) == 3 and figures["cut"] == 1 and figures["longest"] == 100
    found = samples.prompts(np.array([1, 0, 2]))
    assert [one.tolist() for one in found] == [whole[1][:100], whole[0], whole[2]]


def test_no_samples_are_an_empty_set(vocabulary: Path, tmp_path: Path) -> None:
    gptj_text.write_samples([], gptj_text.open_tokenizer(vocabulary), tmp_path, limit=100)
    assert len(PromptSamples(tmp_path)) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Invalid JSON|JSON"),
        ("{}", "list"),
        ("[]", "there are no articles"),
        ('[{"instruction": "x", "input": "y"}]', "0.output: Field required"),
        ('[{"instruction": "x", "input": 3, "output": "z"}]', "0.input"),
        (json.dumps([{"instruction": "x", "input": " \n", "output": "z"}]), "item 0 has no article"),
    ],
)
def test_a_damaged_list_of_articles_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "cnn_eval.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=message):
        gptj_text.read_items(path)


def test_a_missing_list_of_articles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        gptj_text.read_items(tmp_path / "cnn_eval.json")


def test_a_damaged_tokenizer_is_refused(vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="tokenizer cannot be read"):
        gptj_text.open_tokenizer(tmp_path)
    shutil.copyfile(vocabulary / "merges.txt", tmp_path / "merges.txt")
    ids = json.loads((vocabulary / "vocab.json").read_text())
    del ids[gptj_text.END_OF_TEXT]
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    with pytest.raises(SourceError, match="endoftext"):
        gptj_text.open_tokenizer(tmp_path)


def test_damaged_samples_are_refused(vocabulary: Path, tmp_path: Path) -> None:
    gptj_text.write_samples([item()], gptj_text.open_tokenizer(vocabulary), tmp_path, limit=100)
    np.save(tmp_path / "tokens.npy", np.zeros(3, np.int32))
    with pytest.raises(SourceError, match="belong together"):
        PromptSamples(tmp_path)
