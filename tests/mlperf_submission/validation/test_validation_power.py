"""Power results: their files, and whether the two sides of a measurement agree (section 13)."""

from __future__ import annotations

import csv

import pytest

from mlperf_submission.validation import validate_tree
from tests.mlperf_submission.validation.sample_power import (
    MUTATIONS,
    PERFORMANCE,
    WATTS,
    add_power,
    edit,
    record,
)
from tests.mlperf_submission.validation.sample_submission import Submission


def test_power_result_has_a_second_row_in_watts(box: Submission) -> None:
    add_power(box)
    verdict = validate_tree(box.root, "v4.1")
    assert verdict.failures == ()
    rows = [row for row in csv.DictReader(verdict.to_csv().splitlines()) if row["has_power"] == "True"]
    assert [(row["Units"], float(row["Result"])) for row in rows] == [("Samples/s", 1234.5), ("Watts", WATTS)]


@pytest.mark.parametrize("name", MUTATIONS)
def test_broken_power_measurement_refuses_its_result_only(box: Submission, name: str) -> None:
    rule, mutate = MUTATIONS[name]
    add_power(box)
    mutate(box)
    verdict = validate_tree(box.root, "v4.1")
    assert rule in {failure.rule for failure in verdict.errors}
    assert {result.scenario: result.ok for result in verdict.results} == {"Offline": False, "Server": True}


def test_short_testing_is_a_warning(box: Submission) -> None:
    add_power(box)
    box.log(f"{PERFORMANCE}/ranging", power_begin="06-30-2024 12:00:00.000")
    for side in ("client", "server"):
        edit(box, side, lambda content: content["phases"]["ranging"][1].__setitem__(0, 0.0))
    record(box)
    failures = {failure.rule: failure.severity for failure in validate_tree(box.root, "v4.1").failures}
    assert failures["+short-testing"] == "warning"
