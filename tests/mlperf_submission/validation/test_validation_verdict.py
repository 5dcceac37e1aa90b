"""The verdict as JSON, CSV, frames; strict; rehearsals; what is refused with a failure."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError, TreeError
from mlperf_submission.validation import validate_tree
from mlperf_submission.validation.verdict import CSV_COLUMNS
from tests.mlperf_submission.validation.sample_submission import BOX, BOX_SERVER, NULL, Submission, build


def test_json_is_as_the_architecture_says(box: Submission) -> None:
    box.log(f"{BOX_SERVER}/performance/run_1", result_validity="INVALID")
    content = json.loads(validate_tree(box.root, "v4.1").to_json())
    assert list(content) == ["round", "ok", "results", "failures"]
    assert (content["round"], content["ok"]) == ("v4.1", False)
    by_scenario = {result["scenario"]: result for result in content["results"]}
    assert by_scenario["Offline"] == {
        "division": "closed",
        "submitter": "Acme",
        "system": "box",
        "benchmark": "resnet50",
        "scenario": "Offline",
        "ok": True,
        "value": 1234.5,
        "units": "Samples/s",
        "accuracy": "76.100",
    }
    assert by_scenario["Server"]["ok"] is False
    (failure,) = [one for one in content["failures"] if one["severity"] == "error"]
    assert sorted(failure) == ["message", "path", "remedy", "rule", "severity"]
    assert (failure["rule"], failure["severity"]) == ("P-02", "error")
    assert failure["path"] == f"{BOX_SERVER}/performance/run_1/mlperf_log_detail.txt"


def test_csv_has_accepted_results_only_and_is_escaped(box: Submission) -> None:
    box.json("closed/Acme/systems/box.json", system_name='a "b", c', hw_notes="one", sw_notes="two")
    box.delete(f"{BOX_SERVER}/accuracy/accuracy.txt")
    header, row = csv.reader(validate_tree(box.root, "v4.1").to_csv().splitlines())
    assert header == list(CSV_COLUMNS)
    cells = dict(zip(header, row, strict=True))
    assert cells["SystemName"] == 'a "b", c'
    assert cells["notes"] == "one. two"
    assert (cells["Result"], cells["Accuracy"], cells["Units"]) == ("1234.5", "76.100", "Samples/s")


def test_all_failures_are_found_at_once(box: Submission) -> None:
    box.json("closed/Acme/systems/box.json", cooling=None, status="soon", framework=NULL)
    box.log(f"{BOX}/performance/run_1", result_validity="INVALID", effective_min_duration_ms=1)
    box.write("closed/Acme/code/a b", "x")
    box.delete(f"{BOX_SERVER}/accuracy/accuracy.txt")
    rules = {failure.rule for failure in validate_tree(box.root, "v4.1").errors}
    assert rules >= {"Y-03", "Y-05", "Y-06", "P-02", "P-06", "S-09", "A-06"}


def test_a_failure_refuses_what_lies_below_it_and_nothing_else(tmp_path: Path) -> None:
    submission = build(tmp_path / "tree", "box far")
    submission.json("closed/Acme/systems/box.json", status="soon")
    accepted = {(one.division, one.ok) for one in validate_tree(submission.root, "v4.1").results}
    assert accepted == {("closed", False), ("network", True)}


def test_missing_scenario_leaves_the_other_accepted(box: Submission) -> None:
    box.delete(BOX_SERVER)
    verdict = validate_tree(box.root, "v4.1")
    assert not verdict.ok
    assert [result.ok for result in verdict.results] == [True]


def test_strict_makes_warnings_errors(box: Submission) -> None:
    box.delete("closed/Acme/calibration.md")
    assert validate_tree(box.root, "v4.1").ok
    strict = validate_tree(box.root, "v4.1", strict=True)
    assert not strict.ok
    assert [failure.severity for failure in strict.failures] == ["error"]


def test_rehearsal_is_forgiven_its_length_and_speed_and_nothing_else(box: Submission) -> None:
    short = {"effective_min_duration_ms": 2000, "effective_samples_per_query": 100}
    for run in (
        f"{BOX}/performance/run_1",
        f"{BOX.replace('results', 'compliance')}/TEST01/performance/run_1",
    ):
        box.log(run, **short)
    refused = validate_tree(box.root, "v4.1")
    assert {failure.rule for failure in refused.errors} == {"P-06", "P-08"}
    rehearsal = validate_tree(box.root, "v4.1", rehearsal=True)
    assert rehearsal.ok
    assert rehearsal.rehearsal
    assert (rehearsal.errors, rehearsal.warnings) == ((), ())
    assert [failure.rule for failure in rehearsal.failures] == [failure.rule for failure in refused.errors]
    assert "P-06: 2 runs of 2 s instead of 600 s" in rehearsal.by_design
    assert json.loads(rehearsal.to_json())["rehearsal"] is True
    box.log(f"{BOX}/performance/run_1", result_validity="INVALID")
    assert validate_tree(box.root, "v4.1", rehearsal=True).ok
    box.log(f"{BOX}/performance/run_1", effective_qsl_rng_seed=1)
    assert not validate_tree(box.root, "v4.1", rehearsal=True).ok


def test_unknown_round_and_missing_tree_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"unknown round 'v9\.9'"):
        validate_tree(tmp_path, "v9.9")
    with pytest.raises(TreeError, match="no such folder"):
        validate_tree(tmp_path / "none", "v4.1")


def test_each_round_has_its_own_seeds(box: Submission) -> None:
    assert {failure.rule for failure in validate_tree(box.root, "v5.0").errors} >= {"P-05"}
