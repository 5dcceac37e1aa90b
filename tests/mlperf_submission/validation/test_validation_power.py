"""Power results: their files, and whether the two sides of a measurement agree (section 13)."""

from __future__ import annotations

import csv

import pytest

from mlperf_submission.rounds import V4_1, RunKind, Scenario
from mlperf_submission.submission.files import Tree
from mlperf_submission.validation import validate_tree
from mlperf_submission.validation.power.read import read_power
from mlperf_submission.validation.read_run import read_run
from mlperf_submission.validation.reader import Located, Place, Reader
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


@pytest.mark.parametrize("count", [float("inf"), float("nan"), 10**400, 0, "many", None])
def test_energy_of_no_number_of_queries_is_none(box: Submission, count: object) -> None:
    add_power(box)
    box.log(f"{PERFORMANCE}/run_1", result_query_count=count)
    located = Located("closed", "Acme", "box", "resnet50", "Offline")
    place = Place(located, V4_1.models["resnet"], Scenario.SINGLE_STREAM, False, False)
    reader = Reader(V4_1, Tree(box.root))
    run = read_run(reader, place, RunKind.PERFORMANCE, f"{PERFORMANCE}/run_1")
    assert read_power(reader, place, run) == 0.0


@pytest.mark.parametrize("time", ["13-01-2024 00:00:00.000", "07-01-2024 25:00:00.000", "x"])
def test_a_time_that_is_none_refuses_the_measurement(box: Submission, time: str) -> None:
    add_power(box)
    box.log(f"{PERFORMANCE}/ranging", power_begin=time)
    record(box)
    verdict = validate_tree(box.root, "v4.1")
    assert {"W-09"} <= {failure.rule for failure in verdict.errors}
