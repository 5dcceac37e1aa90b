"""SQuAD v1.1 files: articles of paragraphs, each with its questions and the answers that people gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from mlperf_submission.errors import SourceError

_REMEDY = "fetch the file anew from its source; it must be SQuAD v1.1 (not v2.0) with answers"


@dataclass(frozen=True)
class Question:
    """One question on a paragraph.

    Attributes:
        identity: unique in the file.
        text: the question.
        answers: what people answered, at least one text.
    """

    identity: str
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Paragraph:
    """A context and its questions, in the order of the file."""

    context: str
    questions: tuple[Question, ...]


class _Answer(BaseModel):
    text: str


class _Question(BaseModel):
    id: str
    question: str
    answers: list[_Answer]


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]


class _Article(BaseModel):
    paragraphs: list[_Paragraph]


class _File(BaseModel):
    data: list[_Article]


def read_squad(path: Path) -> tuple[Paragraph, ...]:
    """Read the paragraphs of a SQuAD v1.1 file, in order. An empty context is allowed: it has no windows.

    Raises:
        SourceError: the file cannot be read, is no SQuAD, has a question without answer, or two of one id.
    """
    try:
        content = json.loads(path.read_bytes())
        found = _File.model_validate(content, strict=True)
    except (OSError, ValueError, RecursionError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else str(error)
        raise SourceError(
            f"the questions cannot be read: {reason}", where=path, remedy=_REMEDY, code="data-set"
        ) from error
    seen: set[str] = set()
    for question in (one for article in found.data for part in article.paragraphs for one in part.qas):
        if not question.answers:
            raise SourceError(
                f"question {question.id!r} has no answer", where=path, remedy=_REMEDY, code="data-set"
            )
        if question.id in seen:
            raise SourceError(
                f"two questions have the id {question.id!r}", where=path, remedy=_REMEDY, code="data-set"
            )
        seen.add(question.id)
    if not seen:
        raise SourceError("the file holds no question", where=path, remedy=_REMEDY, code="data-set")
    return tuple(_paragraphs(found))


def _paragraphs(found: _File) -> Iterator[Paragraph]:
    for article in found.data:
        for part in article.paragraphs:
            yield Paragraph(
                part.context,
                tuple(
                    Question(one.id, one.question, tuple(answer.text for answer in one.answers))
                    for one in part.qas
                ),
            )


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
