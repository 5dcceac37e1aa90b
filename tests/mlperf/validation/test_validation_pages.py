"""The pages of the rules and the catalogue's ids."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mlperf.validation import pages
from mlperf.validation.catalogue import ELSEWHERE
from mlperf.validation.judge import all_rules

COUNTS = {
    "G": 12,
    "S": 13,
    "Y": 13,
    "N": 4,
    "M": 9,
    "E": 14,
    "C": 3,
    "P": 21,
    "L": 5,
    "I": 5,
    "A": 13,
    "T": 15,
}
COUNTS |= {"W": 14, "D": 7, "R": 6, "X": 17}


def test_pages_are_current() -> None:
    assert pages.outdated() == [], "run `python -m mlperf.validation.pages`"


def test_outdated_page_is_named(tmp_path: Path) -> None:
    pages.write(tmp_path)
    (tmp_path / "S-03.md").write_text("old")
    (tmp_path / "S-99.md").write_text("gone")
    assert pages.outdated(tmp_path) == ["S-03.md", "S-99.md"]
    pages.write(tmp_path)
    assert pages.outdated(tmp_path) == []


def test_every_id_of_the_catalogue_is_a_rule_or_says_where_it_is() -> None:
    ids = {rule.id for rule in all_rules()} | set(ELSEWHERE)
    wanted = {f"{letter}-{number:02d}" for letter, count in COUNTS.items() for number in range(1, count + 1)}
    assert wanted <= ids
    assert not set(ELSEWHERE) & {rule.id for rule in all_rules()}


def test_ids_are_unique() -> None:
    assert [rule for rule, count in Counter(rule.id for rule in all_rules()).items() if count > 1] == []
