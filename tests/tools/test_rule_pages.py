"""The page of the rules and the catalogue's ids."""

from __future__ import annotations

import re
from collections import Counter

from mlperf_submission.validation.catalogue import ELSEWHERE
from mlperf_submission.validation.judge import all_rules
from tools import rule_pages as pages

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


def test_the_page_is_current() -> None:
    assert pages.PAGE.read_text() == pages.page(), "run `python -m tools.rule_pages`"


def test_every_rule_has_an_anchor_of_its_own_that_links_reach() -> None:
    anchors = re.findall(r'<a id="([^"]+)">', pages.page())
    assert anchors == [pages.anchor(rule.id) for rule in all_rules()]
    assert len(set(anchors)) == len(anchors)
    linked = set(re.findall(r"rules\.md#([\w-]+)", (pages.PAGE.parent / "triage.md").read_text()))
    assert linked <= set(anchors)


def test_the_page_says_in_which_rounds_a_rule_is_what() -> None:
    text = pages.page()
    assert '### <a id="v-43"></a>V-43' in text
    assert "error in v6.0, v6.1; other rounds do not have it" in text
    assert "in v6.0 the model's results" in text


def test_every_id_of_the_catalogue_is_a_rule_or_says_where_it_is() -> None:
    ids = {rule.id for rule in all_rules()} | set(ELSEWHERE)
    wanted = {f"{letter}-{number:02d}" for letter, count in COUNTS.items() for number in range(1, count + 1)}
    assert wanted <= ids
    assert not set(ELSEWHERE) & {rule.id for rule in all_rules()}


def test_ids_are_unique() -> None:
    assert [rule for rule, count in Counter(rule.id for rule in all_rules()).items() if count > 1] == []
