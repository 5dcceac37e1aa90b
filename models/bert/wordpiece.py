"""Uncased WordPiece tokenisation as BERT's, by the `tokenizers` library, from a `vocab.txt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from mlperf_submission.errors import SourceError

PAD, UNKNOWN, CLASSIFY, SEPARATE = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100
"""Characters; a longer word is unknown (BertTokenizer of the reference, max_input_chars_per_word)."""
_LARGEST_VOCABULARY = 1 << 20


@dataclass(frozen=True)
class Pieces:
    """Word pieces of a text.

    Attributes:
        ids: int32, one per piece.
        words: int32, the number of the word (of those that were given) that each piece is of.
    """

    ids: NDArray[np.int32]
    words: NDArray[np.int32]


class WordPiece:
    """The uncased BERT tokeniser over one vocabulary.

    Text is cleaned, lower-cased and stripped of accents, split at white space, punctuation and around CJK
    characters, and each word is split greedily into its longest known pieces. A text cannot name the special
    tokens: `[SEP]` in a question is three pieces like any other text.
    """

    def __init__(self, vocabulary: Path, *, lowercase: bool = True) -> None:
        """Read a vocabulary.

        Args:
            vocabulary: UTF-8, one piece per line; the line number is its id, as in the official `vocab.txt`.
            lowercase: False leaves case and accents as they are, which the benchmark's network cannot read.

        Raises:
            SourceError: the file cannot be read, has doubled lines, or lacks a special token.
        """
        self.tokens = _read(vocabulary)
        known = {token: number for number, token in enumerate(self.tokens)}
        missing = [token for token in (PAD, UNKNOWN, CLASSIFY, SEPARATE) if token not in known]
        if missing or len(known) != len(self.tokens):
            raise _bad(f"lacks {', '.join(missing)}" if missing else "has doubled lines", vocabulary)
        self.pad, self.classify, self.separate = (known[token] for token in (PAD, CLASSIFY, SEPARATE))
        self._tokenizer = Tokenizer(
            models.WordPiece(known, unk_token=UNKNOWN, max_input_chars_per_word=_LONGEST_WORD)
        )
        self._normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
        )
        self._splitter = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.normalizer = self._normalizer
        self._tokenizer.pre_tokenizer = self._splitter

    def pieces(self, words: Sequence[str]) -> Pieces:
        """Return the pieces of words, each tokenised on its own."""
        found = self._tokenizer.encode([*words], is_pretokenized=True, add_special_tokens=False)
        return Pieces(np.array(found.ids, np.int32), np.array(found.word_ids, np.int32))

    def basic_tokens(self, text: str) -> list[str]:
        """Return a text's words and punctuation marks before they are split into pieces."""
        return [word for word, _ in self._splitter.pre_tokenize_str(self._normalizer.normalize_str(text))]

    def joined(self, ids: Sequence[int]) -> str:
        """Return pieces as text: separated by spaces, continuations joined to what they continue."""
        text = " ".join(self.tokens[number] for number in ids)
        return " ".join(text.replace(" ##", "").replace("##", "").split())


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"cannot be read: {error}", path) from error
    # Not splitlines: characters such as U+2028 are pieces of their own in the official file.
    lines = tuple(line.rstrip("\r") for line in text.removesuffix("\n").split("\n"))
    if len(lines) > _LARGEST_VOCABULARY:
        raise _bad(f"has {len(lines)} lines, more than any vocabulary", path)
    return lines


def _bad(what: str, path: Path) -> SourceError:
    return SourceError(f"the vocabulary {what}", where=path, remedy="fetch vocab.txt anew from its source")
