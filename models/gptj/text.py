"""Texts of gptj-99: the prompt, its tokens, and the samples that they become.

Source: MLPerf Inference v4.1, language/gpt-j/dataset.py and prepare-calibration.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.parts import OnProgress, Progress, ignore_progress
from mlperf_submission.errors import SourceError
from mlperf_submission.files import disk_full_named, write_atomic
from models.gptj.facts import FULL_PROMPT, MERGES_FILE, VOCABULARY_FILE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
"""First, last and padding token of GPT-2's vocabulary."""
INSTRUCTION = "Summarize the following news article:"
TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
TOKENS_FILE, OFFSETS_FILE, FACTS_FILE = "tokens.npy", "offsets.npy", "facts.json"
_CHUNK = 256
LIMIT_FILE = "prompt_limit.txt"
"""In a mini edition: the tokens of its longest prompt, beside the vocabulary."""


class NewsItem(BaseModel):
    """One element of the data set's JSON list; further keys are ignored as the reference does."""

    model_config = ConfigDict(frozen=True, strict=True)
    instruction: str
    input: str
    output: str


_ITEMS = TypeAdapter(list[NewsItem])


class SampleFacts(BaseModel):
    """What the search has to know about the samples.

    Attributes:
        end: id of the end token.
        limit: tokens that a prompt was cut to.
        cut: how many prompts were.
    """

    model_config = ConfigDict(frozen=True)
    end: int
    limit: int
    cut: int


def read_items(path: Path) -> list[NewsItem]:
    """Read a file of the data set: a JSON list of objects with `instruction`, `input` and `output`.

    Raises:
        SourceError: it cannot be read, is no such list, or an article is empty; the message names the item.
    """
    remedy = "make it anew with language/gpt-j/download_cnndm.py of MLPerf Inference v4.1"
    try:
        items = _ITEMS.validate_json(path.read_bytes())
    except OSError as error:
        raise SourceError(
            f"the articles cannot be read: {error.strerror}", where=path, remedy=remedy, code="data-set"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SourceError(f"{place}: {first['msg']}", where=path, remedy=remedy) from error
    empty = [index for index, item in enumerate(items) if not item.input.strip()]
    if empty or not items:
        what = f"item {empty[0]} has no article" if empty else "there are no articles"
        raise SourceError(what, where=path, remedy=remedy)
    return items


def prompt_of(item: NewsItem) -> str:
    """Return the official prompt; nothing follows the last colon."""
    return TEMPLATE.format(instruction=item.instruction, input=item.input)


def open_tokenizer(folder: Path) -> Tokenizer:
    """Open GPT-2's byte-level BPE from `vocab.json` and `merges.txt`, as GPT2Tokenizer does.

    Raises:
        SourceError: one of them is missing or damaged, or the vocabulary has no end token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    remedy = "fetch vocab.json and merges.txt of GPT-2 anew"
    try:
        model = models.BPE.from_file(str(folder / VOCABULARY_FILE), str(folder / MERGES_FILE))
    except Exception as error:  # the library raises plain Exceptions
        raise SourceError(
            f"the tokenizer cannot be read: {str(error)[:200]}", where=folder, remedy=remedy
        ) from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise SourceError(f"the vocabulary has no {END_OF_TEXT}", where=folder, remedy=remedy)
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def prompt_limit(folder: Path) -> int:
    """Return how many tokens a prompt may have: 1,919, or what the file of a mini edition says."""
    path = folder / LIMIT_FILE
    return int(path.read_text()) if path.exists() else FULL_PROMPT


def write_samples(
    items: Sequence[NewsItem],
    tokenizer: Tokenizer,
    output: Path,
    *,
    limit: int,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, object]:
    """Tokenise the prompts, cut each at its right end to `limit` tokens, and write them as they are.

    Lengths differ, so the tokens of all prompts lie in one array (int32) behind one another.

    Returns:
        Figures: count, shape (of the tokens), dtype, cut (prompts), longest and mean (tokens).
    """
    lengths = np.zeros(len(items), np.int64)
    parts: list[NDArray[np.int32]] = []
    cut = 0
    for first in range(0, len(items), _CHUNK):
        chunk = items[first : first + _CHUNK]
        for row, encoded in enumerate(
            tokenizer.encode_batch([prompt_of(item) for item in chunk], add_special_tokens=False), first
        ):
            cut += len(encoded.ids) > limit
            parts.append(np.array(encoded.ids[:limit], np.int32))
            lengths[row] = len(parts[-1])
        on_progress(Progress(first + len(chunk), len(items)))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.concatenate([np.empty(0, np.int32), *parts])
    facts = SampleFacts(end=tokenizer.get_vocab()[END_OF_TEXT], limit=limit, cut=cut)
    with disk_full_named(output):
        np.save(output / TOKENS_FILE, tokens)
        np.save(output / OFFSETS_FILE, offsets)
        write_atomic(output / FACTS_FILE, facts.model_dump_json())
    return {
        "count": len(items),
        "shape": [len(tokens)],
        "dtype": "int32",
        "cut": cut,
        "longest": int(lengths.max(initial=0)),
        "mean": round(len(tokens) / max(len(items), 1), 2),
    }


class PromptSamples(Samples):
    """Tokenised prompts of unequal length, memory-mapped read-only."""

    def __init__(self, folder: Path) -> None:
        try:
            self._tokens: NDArray[np.int32] = np.load(folder / TOKENS_FILE, mmap_mode="r", allow_pickle=False)
            self._offsets: NDArray[np.int64] = np.load(folder / OFFSETS_FILE, allow_pickle=False)
            self.facts = SampleFacts.model_validate_json((folder / FACTS_FILE).read_bytes())
            if self._tokens.dtype != np.int32 or self._offsets[-1] != len(self._tokens):
                raise ValueError("tokens and offsets do not belong together")
        except (OSError, ValueError, EOFError) as error:
            raise SourceError(
                f"the preprocessed samples cannot be opened: {error}",
                where=folder,
                remedy="remove the folder and start the same command again; the step is then repeated",
                code="samples-damaged",
            ) from error

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._offsets) - 1

    @property
    def costs(self) -> NDArray[np.int64]:
        """Tokens of each prompt: a step reads as much of every cache as the longest prompt has filled."""
        lengths: NDArray[np.int64] = np.diff(self._offsets)
        return lengths

    def prompts(self, indices: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        """Return the tokens of these samples, each of its own length."""
        return [self._tokens[self._offsets[index] : self._offsets[index + 1]] for index in indices]


def as_json(items: Iterator[NewsItem]) -> bytes:
    """Return a file of the data set."""
    content: list[dict[str, Any]] = [item.model_dump() for item in items]
    return json.dumps(content, indent=1).encode()
