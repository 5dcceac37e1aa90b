from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlperf_submission.errors import LogError
from models.gptj import score as gptj_score
from models.gptj import text as gptj_text
from models.gptj.facts import MERGES_FILE, VOCABULARY_FILE
from models.gptj.mini import files as gptj_files


@dataclass
class Entry:
    qsl_idx: int
    data: bytes


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    for name in (VOCABULARY_FILE, MERGES_FILE):
        (folder / name).write_bytes(gptj_files.committed_file(name).read_bytes())
    return gptj_text.open_tokenizer(folder)


def entry(tokenizer: Any, index: int, text: str, *, dtype: str = "<i4") -> Entry:
    return Entry(index, np.array(tokenizer.encode(text).ids, dtype).tobytes())


def test_values_are_those_of_the_definition(tokenizer: Any) -> None:
    """Words that both have, of 3 and of 4: two; pairs: one of 2 and of 3; longest common row: two words."""
    found = gptj_score.score([entry(tokenizer, 0, "the cat sat")], ["the cat lay down"], tokenizer)
    assert found.metrics["ROUGE1"] == round(100 * 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4), 4)
    assert found.metrics["ROUGE2"] == 40.0
    assert found.metrics["ROUGEL"] == found.metrics["ROUGE1"]
    assert found.metrics["GEN_LEN"] == len("the cat sat")


def test_words_are_compared_by_their_stems_without_case_and_punctuation(tokenizer: Any) -> None:
    found = gptj_score.score(
        [entry(tokenizer, 0, "Thieves; ENTERED the museums!")], ["thief entering the museum"], tokenizer
    )
    assert found.metrics["ROUGE1"] == 75.0


def test_the_mean_is_over_samples_and_the_first_entry_of_a_sample_counts(tokenizer: Any) -> None:
    targets = ["one two three", "four five six", "not asked"]
    entries = [
        entry(tokenizer, 1, "four five six"),
        entry(tokenizer, 0, "seven eight nine"),
        entry(tokenizer, 0, "one two three"),
    ]
    found = gptj_score.score(entries, targets, tokenizer)
    assert found.samples == 2
    assert found.metrics["ROUGE1"] == 50.0
    assert found.metrics["GEN_LEN"] == len("four five six") + len("seven eight nine")


def test_lines_are_what_the_official_checker_reads(tokenizer: Any) -> None:
    """Patterns of tools/submission/submission_checker.py at v4.1 (ACC_PATTERN)."""
    found = gptj_score.score([entry(tokenizer, 0, "one two three")], ["one two four"], tokenizer)
    assert found.lines[:3] == ("", "Results", "")
    for name, key in gptj_score.METRICS.items():
        match = re.match(rf".*'{key}':\s([\d.]+).*", found.lines[3])
        assert match and float(match[1]) == found.metrics[name]
    assert found.lines[3].endswith("'gen_num': 1}")


def test_the_end_token_and_white_space_around_do_not_count(tokenizer: Any) -> None:
    ids = [*tokenizer.encode(" a fire \n").ids, tokenizer.token_to_id(gptj_text.END_OF_TEXT)]
    found = gptj_score.score([Entry(0, np.array(ids, "<i4").tobytes())], ["a fire"], tokenizer)
    assert found.metrics == {"ROUGE1": 100.0, "ROUGE2": 100.0, "ROUGEL": 100.0, "GEN_LEN": 6.0}


def test_spaces_before_punctuation_and_contractions_do_not_count_either(tokenizer: Any) -> None:
    """As batch_decode of transformers removes them, from the predictions alone."""
    said = "It is n't so . They 're here , he said ! Why ? I 've ' seen ' it 's ours ; I 'm sure ."
    cleaned = "It isn't so. They're here, he said! Why? I've'seen'it's ours ; I'm sure."
    found = gptj_score.score([entry(tokenizer, 0, said)], [cleaned], tokenizer)
    assert found.metrics == {"ROUGE1": 100.0, "ROUGE2": 100.0, "ROUGEL": 100.0, "GEN_LEN": len(cleaned)}
    kept = gptj_score.score([entry(tokenizer, 0, cleaned)], [said], tokenizer)
    assert kept.metrics["ROUGE1"] < 100


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("He ran . She won .", ["He ran .", "She won ."]),
        ("He ran.  She won.", ["He ran.", "She won."]),
        ("Mr. Smith met Dr. Jones in the U.S. on Monday.", 1),
        ("It cost 3.5 million. Why? Nobody knows!", ["It cost 3.5 million.", "Why?", "Nobody knows!"]),
        ("one line\nand another", 1),
    ],
)
def test_sentences_are_found(text: str, lines: Any) -> None:
    found = gptj_score.split_sentences(text, gptj_score.sentence_splitter())
    if lines == 1:
        assert found == text
    else:
        assert found.split("\n") == lines


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Entry(1, b"\0\0\0\0"), "sample 1 is not in the data set of 1"),
        (Entry(0, b"\0\0\0"), "has 3 bytes"),
        (Entry(0, b""), "has 0 bytes"),
        (Entry(0, b"\xff\xff\xff\xff"), "holds the token -1"),
        (None, "holds no response"),
    ],
)
def test_a_log_that_is_none_is_refused(tokenizer: Any, broken: Entry | None, message: str) -> None:
    with pytest.raises(LogError, match=message):
        gptj_score.score([broken] if broken else [], ["one"], tokenizer)
