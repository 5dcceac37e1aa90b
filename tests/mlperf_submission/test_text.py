"""Text of others cannot steer a terminal, wherever it comes out."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import PipelineError
from mlperf_submission.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve ✓ 漢字\n\ttwo lines", "naïve ✓ 漢字\n\ttwo lines"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten", r"over\rwritten"),
        ("\x9b31m", r"\x9b31m"),
        ("txt.\u202eexe", r"txt.\u202eexe"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_only_what_steers_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_what_comes_out_holds_no_control_character_and_is_unicode(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert {one for one in shown if unicodedata.category(one) in ("Cc", "Cs")} <= {"\n", "\t"}
    assert printable(shown) == shown


def test_an_error_shows_every_part_without_what_steers() -> None:
    error = PipelineError("what\x1b[2J", where="where\x1b[2J", remedy="remedy\x1b[2J")
    error.diagnosis = "diagnosis\x1b[2J"
    assert "\x1b" not in str(error)
    assert error.what == "what\x1b[2J"
