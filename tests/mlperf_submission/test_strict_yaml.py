"""YAML is read as YAML 1.2 has it, refused with its line where it is not plain, and never unfolds on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import SettingError
from mlperf_submission.strict_yaml import LARGEST_BYTES, read_yaml, written_yaml

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
)
WORDS = st.sampled_from(
    ["no", "On", "y", "12:30", "0o17", "017", "1e3", ".inf", "<<", "=", "~", "null", "2024-01-01"]
)
TEXT = st.text(st.characters(codec="utf-8")) | WORDS
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level + 1}: &a{level + 1} [{', '.join([f'*a{level}'] * 9)}]\n" for level in range(8)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("On", "On"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("True", True),
        ("~", None),
        ("'8.9'", "8.9"),
        ("8.9", 8.9),
        ("!!str 8.9", "8.9"),
    ],
)
def test_a_scalar_is_what_the_core_schema_of_yaml_1_2_says(text: str, value: object) -> None:
    (found,) = read_yaml(f"- {text}\n".encode(), "here")
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n", r"the key 'c' is there already, in line 3 \(line 5\)"),
        ("a: 1\nb: .inf\n", r"'.inf' is no finite number; quote it if it is text \(line 2\)"),
        ("a: -.INF\n", "no finite number"),
        ("a: .NaN\n", "no finite number"),
        ("a: 1e999\n", "no finite number"),
        (f"a: {'9' * 5000}\n", r"a number of 5000 characters \(line 1\)"),
        (
            "a: !!python/object:os.system {}\n",
            "the tag 'tag:yaml.org,2002:python/object:os.system' is not known",
        ),
        ("a: !!int 1:30\n", "'1:30' is not what its tag !!int says"),
        ("a: !!timestamp 2024-01-01\n", "not known"),
        ("? [1]\n: 2\n", "a key must be a word"),
        ('a: "\\ud83d"\n', "half of a character"),
        ("a: &a [*a]\n", "an alias stands for what it lies in"),
        ("[" * 100_000, "more than 20 levels"),
        ("- " * 100_000, "more than 20 levels"),
        (BOMB, "it unfolds to more than"),
        ("#" * (LARGEST_BYTES + 1), "KiB"),
        ("a: 1\n---\na: 2\n", "single document"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        read_yaml(text.encode(), "here")
    assert caught.value.where == "here"
    assert len(str(caught.value)) < 500


def test_an_alias_stands_for_its_anchor() -> None:
    assert read_yaml(b"a: &x {b: 1}\nc: *x\n", "here") == {"a": {"b": 1}, "c": {"b": 1}}


@given(st.dictionaries(TEXT, PLAIN | TEXT | st.lists(PLAIN | TEXT, max_size=3), max_size=5))
def test_what_is_written_is_read_again_here_and_by_readers_of_yaml_1_1(value: dict[str, Any]) -> None:
    text = written_yaml(value)
    assert read_yaml(text.encode(), "here") == value
    assert yaml.safe_load(text) == value


@given(st.binary(max_size=200) | st.text("-:[]{}&*!|>'\"#%@,?~ \n\tab01.e", max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        found = read_yaml(content, "here")
    except SettingError:
        return
    assert not isinstance(found, float) or math.isfinite(found)
