"""The files of bert-99's mini edition: questions on invented people as SQuAD's, vocabulary and network."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import normalizers, pre_tokenizers

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.files import disk_full_named, require_free_space, write_atomic
from models.bert.facts import MINI_CALIBRATION_FILE, NETWORK_FILE, QUESTIONS_FILE, VOCABULARY_FILE
from models.bert.features import features
from models.bert.mini import paragraphs
from models.bert.squad import Paragraph, Question
from models.bert.wordpiece import CLASSIFY, PAD, SEPARATE, UNKNOWN, WordPiece
from models.mini.listing import check_count, copy_committed, listing_of

NETWORK = Path(__file__).with_name(NETWORK_FILE)
NETWORK_SHA256 = "91c286533fd489e11baa3a74fa3a0213c26372b003ecba0ee05a0c259beba437"
"""Part of the code, so that another network is another version of the step that copies it."""
CALIBRATION_COUNT = 40
MOST_SAMPLES = 10_833
_UNUSED = 99
_BYTES_PER_SAMPLE = 1_500
"""Mean size of a question with its share of the context is 0.7 kB."""
_PARAGRAPHS_PER_ARTICLE = 20
_SPECIAL = (PAD, *(f"[unused{number}]" for number in range(_UNUSED)), UNKNOWN, CLASSIFY, SEPARATE, "[MASK]")
"""As in the official vocabulary, so that the special tokens have the same ids."""


def make(folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
    """Write questions, calibration questions, vocabulary and network; the same count gives the same bytes.

    A sample is a window (a feature), as in the official edition. The paragraphs of a smaller edition are the
    first of a larger one; only the last questions may be other ones, so that the number of windows is exact.

    Args:
        folder: an existing, empty folder.
        sample_count: windows, 1 to 10,833.
        on_progress: called from this thread.

    Raises:
        SettingError: the count is out of range.
        SourceError: the committed network is not the one that belongs to this code.
        DiskFullError: there is not enough space.
    """
    check_count("bert-99", sample_count, MOST_SAMPLES)
    require_free_space(folder, sample_count * _BYTES_PER_SAMPLE, f"a mini edition of {sample_count} samples")
    with disk_full_named(folder):
        copy_committed(NETWORK, NETWORK_SHA256, folder / NETWORK.name)
        write_vocabulary(folder / VOCABULARY_FILE)
        tokenizer = WordPiece(folder / VOCABULARY_FILE)
        splits: tuple[tuple[str, paragraphs.Split, int], ...] = (
            (MINI_CALIBRATION_FILE, "calibration", CALIBRATION_COUNT),
            (QUESTIONS_FILE, "validation", sample_count),
        )
        done, total = 0, sample_count + CALIBRATION_COUNT
        for name, split, count in splits:
            chosen: list[dict[str, Any]] = []
            for part, windows in _paragraphs(split, count, tokenizer):
                chosen.append(part)
                done += windows
                on_progress(Progress(done, total))
            write_atomic(folder / name, _squad(chosen))
    names = (NETWORK.name, MINI_CALIBRATION_FILE, QUESTIONS_FILE, VOCABULARY_FILE)
    return listing_of(folder, names, sample_count)


def write_vocabulary(path: Path) -> None:
    """Write the mini edition's vocabulary in the format of the official `vocab.txt`."""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = {
        word
        for text in paragraphs.vocabulary_texts()
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    }
    words |= {*paragraphs.SURNAME_STARTS, *paragraphs.PLACE_STARTS, *map(str, range(1, 29)), "18", "19", "20"}
    ends = {normalizer.normalize_str(end) for end in (*paragraphs.SURNAME_ENDS, *paragraphs.PLACE_ENDS)}
    ends |= {f"{number:02}" for number in range(100)} | {*string.ascii_lowercase, *string.digits}
    single = [*string.punctuation, "—", "“", "”", *string.digits, *string.ascii_lowercase]
    kept = [*single, *sorted(words - {*single})]
    lines = (*_SPECIAL, *kept, *(f"##{end}" for end in sorted(ends)))
    write_atomic(path, "".join(f"{one}\n" for one in lines))


def _paragraphs(
    split: paragraphs.Split, count: int, tokenizer: WordPiece
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield paragraphs as in the file with their number of windows, `count` windows in all."""
    number, left = 0, count
    while left:
        told = paragraphs.paragraph(split, number)
        questions, used = [], 0
        for index, asked in enumerate(told.asked):
            identity = f"{split[:3]}{number:06}{index:02}"
            question = Question(identity, asked.question, (asked.answer,))
            windows = sum(1 for _ in features([Paragraph(told.context, (question,))], tokenizer))
            if used + windows <= left:
                used += windows
                answer = {"answer_start": asked.start, "text": asked.answer}
                questions.append({"answers": [answer], "question": asked.question, "id": identity})
        if questions:
            left -= used
            yield {"context": told.context, "qas": questions}, used
        number += 1


def _squad(paragraphs: list[dict[str, Any]]) -> bytes:
    articles = [
        {
            "title": f"Facts_{first // _PARAGRAPHS_PER_ARTICLE + 1}",
            "paragraphs": paragraphs[first : first + 20],
        }
        for first in range(0, len(paragraphs), _PARAGRAPHS_PER_ARTICLE)
    ]
    return json.dumps({"data": articles, "version": "1.1"}, separators=(",", ":")).encode()
