"""Every rule of sections 1 to 12 fails on a tree that breaks it, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlperf_submission.validation import validate_tree
from mlperf_submission.validation.judge import all_rules
from tests.mlperf_submission.validation.sample_mutations import CASES, Case
from tests.mlperf_submission.validation.sample_submission import build


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_mutation_breaks_its_rule_and_no_other_result(case: Case, tmp_path: Path) -> None:
    submission = build(tmp_path / "tree", case.parts)
    case.mutate(submission)
    verdict = validate_tree(submission.root, "v4.1")
    assert verdict.ok == (case.expected != "error")
    assert all(result.ok for result in verdict.results) or case.expected == "error"
    if case.rule:
        found = [failure for failure in verdict.failures if failure.rule == case.rule]
        assert {failure.severity for failure in found} == {case.expected}
        assert all(failure.path and failure.message and failure.remedy for failure in found)
    else:
        assert not verdict.errors


def test_whole_sample_is_accepted_without_a_warning(tmp_path: Path) -> None:
    verdict = validate_tree(build(tmp_path / "tree", "box models tin far lab").root, "v4.1")
    assert verdict.ok
    assert verdict.failures == ()
    assert len(verdict.results) == 15


def test_no_rule_of_the_first_twelve_sections_lacks_a_mutation() -> None:
    rules = {rule.id for rule in all_rules() if rule.id[0] in "GSYNMECPLIATD+"}
    later = {"+unreadable-folder", "+short-testing", "E-09"}  # tested with permissions and with power
    later |= {"+audit-errors", "+another-round"}  # tested with later rounds
    assert rules - {case.rule for case in CASES} == later
