"""The questions of the validation set, as samples: read for preprocessing, and again for the score."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.errors import SourceError
from models.bert.facts import QUESTIONS_FILE, VOCABULARY_FILE
from models.bert.features import Feature, features
from models.bert.squad import Question, read_squad
from models.bert.wordpiece import WordPiece


def read_questions(dataset: Path, edition: Edition) -> tuple[list[Feature], list[Question], WordPiece]:
    """Return the samples of the validation set, its questions, and the tokenizer that made them.

    Raises:
        SourceError: they cannot be read, or are of another number than the edition says.
    """
    tokenizer = WordPiece(dataset / VOCABULARY_FILE)
    paragraphs = read_squad(dataset / QUESTIONS_FILE)
    found = [*features(paragraphs, tokenizer)]
    if len(found) != edition.sample_count:
        raise SourceError(
            f"the questions make {len(found)} samples, but the edition has {edition.sample_count}",
            where=dataset / QUESTIONS_FILE,
            remedy="fetch the questions and the vocabulary anew from their sources",
            code="data-set",
        )
    return found, [one for paragraph in paragraphs for one in paragraph.questions], tokenizer
