"""Uncased WordPiece against a tokeniser written out in plain Python, and on odd characters."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import SourceError
from models.bert.wordpiece import WordPiece

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "sat",
    "##s",
    "un",
    "##aff",
    "##able",
    "a",
    "b",
    "c",
    "e",
    "##a",
    "##b",
    "##c",
    "##e",
    ".",
    ",",
    "'",
    "-",
    "(",
    ")",
    "!",
    "1",
    "9",
    "##9",
    "é",
    "東",
]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Path) -> WordPiece:
    return WordPiece(vocabulary)


def plain_words(text: str) -> list[str]:
    """BERT's basic tokenisation as its paper's code describes it: clean, lower-case, strip accents, split."""
    spaced = ""
    for character in text:
        kind = unicodedata.category(character)
        if character in "\t\n\r" or kind == "Zs":
            spaced += " "
        elif character not in "\0\ufffd" and not kind.startswith("C"):
            spaced += f" {character} " if 0x4E00 <= ord(character) <= 0x9FFF else character
    words: list[str] = []
    for word in spaced.split():
        current = ""
        for character in unicodedata.normalize("NFD", word.lower()):
            if unicodedata.category(character) == "Mn":
                continue
            ascii_mark = character.isascii() and not character.isalnum()
            if ascii_mark or unicodedata.category(character).startswith("P"):
                words += [current, character]
                current = ""
            else:
                current += character
        words.append(current)
    return [word for word in words if word]


def plain_pieces(text: str) -> list[str]:
    """Longest known piece first; a word of which any part is unknown is unknown as a whole."""
    pieces: list[str] = []
    for word in plain_words(text):
        found: list[str] = []
        rest = word if len(word) <= 100 else "\ufffd"
        while rest:
            mark = "##" if found else ""
            length = next((n for n in range(len(rest), 0, -1) if mark + rest[:n] in VOCABULARY), 0)
            if not length:
                found = ["[UNK]"]
                break
            found.append(mark + rest[:length])
            rest = rest[length:]
        pieces += found
    return pieces


def tokens(tokenizer: WordPiece, text: str) -> list[str]:
    return [tokenizer.tokens[number] for number in tokenizer.pieces([text]).ids]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The CATS sat.", ["the", "cat", "##s", "sat", "."]),
        ("unaffable", ["un", "##aff", "##able"]),
        ("thé", ["the"]),
        ("the\u0301", ["the"]),
        ("dog", ["[UNK]"]),
        ("(the cat's)", ["(", "the", "cat", "'", "[UNK]", ")"]),
        ("a東b", ["a", "東", "b"]),
        ("a\u00a0b\u3000c", ["a", "b", "c"]),
        ("a\u200bb\x00c", ["a", "##b", "##c"]),
        ("a" * 101, ["[UNK]"]),
        ("", []),
        ("\u0301\u200b", []),
        ("[SEP] [CLS]", ["[UNK]", "[UNK]", "[UNK]", "[UNK]", "[UNK]", "[UNK]"]),
    ],
)
def test_texts_become_the_expected_pieces(tokenizer: WordPiece, text: str, pieces: list[str]) -> None:
    assert tokens(tokenizer, text) == pieces


@given(st.text(alphabet="aAbBcCeEéÉ\u0301ßİ 19.,'-()!\t\n\u00a0\u202f東京the", max_size=40))
def test_it_agrees_with_plain_python(tokenizer: WordPiece, text: str) -> None:
    assert tokens(tokenizer, text) == plain_pieces(text)
    assert tokenizer.basic_tokens(text) == plain_words(text)


def test_pieces_know_their_words(tokenizer: WordPiece) -> None:
    pieces = tokenizer.pieces(["The", "\u200b", "cats,", "unaffable"])
    assert [tokenizer.tokens[one] for one in pieces.ids] == [
        "the",
        "cat",
        "##s",
        ",",
        "un",
        "##aff",
        "##able",
    ]
    assert pieces.words.tolist() == [0, 2, 2, 2, 3, 3, 3]


def test_pieces_are_joined_to_words(tokenizer: WordPiece) -> None:
    assert tokenizer.joined(tokenizer.pieces(["the cats, unaffable"]).ids.tolist()) == "the cats , unaffable"
    assert tokenizer.joined(tokenizer.pieces(["unaffable"]).ids.tolist()[1:]) == "affable"


def test_cased_text_is_not_read(vocabulary: Path) -> None:
    assert tokens(WordPiece(vocabulary, lowercase=False), "The thé the") == ["[UNK]", "[UNK]", "the"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb\n", r"lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n", "doubled"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "lacks"),
    ],
)
def test_a_damaged_vocabulary_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=said):
        WordPiece(path)
    with pytest.raises(SourceError, match="cannot be read"):
        WordPiece(tmp_path / "absent.txt")


def test_a_line_may_hold_a_unicode_line_separator(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\u2028\r\nb\r\n".encode())
    assert WordPiece(path).tokens == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2028", "b")
