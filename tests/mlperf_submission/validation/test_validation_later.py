"""Trees of v5.1 and v6.0: what their checkers refuse is refused, and what is sound has no warning."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.rounds import Scenario, get_round
from mlperf_submission.validation import validate_tree
from mlperf_submission.validation.judge import all_rules
from tests.mlperf_submission.validation.sample_later import CASES, LLAMA, LaterCase, build_later
from tests.mlperf_submission.validation.sample_power import add_power, edit
from tests.mlperf_submission.validation.sample_submission import Submission, build, write_model, write_system

STRICTER_THAN_OFFICIAL = {
    *("result_negative", "result_nan", "result_true", "everything_removed"),  # no result without a value
    *("invalid", "token_run_invalid", "error_in_log"),  # v6.0: the module does not reach its own checks
    *(
        "not_stopped",
        "no_sample_count",
        "few_accuracy_samples",
        "test01_no_pass",
        "nodes_two",
    ),  # v5.1: the module's
}
READ_BETTER = {"accuracy_with_exponent"}
"""The official checkers read 7.61e+01 as 7.61."""


@pytest.mark.parametrize("case", CASES, ids=[f"{case.round}-{case.name}" for case in CASES])
def test_mutation_is_judged_as_its_rule_says(case: LaterCase, tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", case.round, case.parts)
    case.mutate(submission)
    verdict = validate_tree(submission.root, case.round)
    assert verdict.ok == (case.ours != "error")
    assert all(result.ok for result in verdict.results) or not verdict.ok
    found = {failure.rule: failure.severity for failure in verdict.failures}
    assert found.get(case.rule) == (case.ours if case.rule else None)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.round}-{case.name}" for case in CASES])
def test_nothing_is_accepted_that_the_official_checker_refuses(case: LaterCase) -> None:
    if case.official != "accepts":
        assert case.ours == "error" or case.name in READ_BETTER
    else:
        assert case.ours != "error" or case.name in STRICTER_THAN_OFFICIAL


@pytest.mark.parametrize(
    ("round_name", "parts"),
    [("v5.1", "tin box images lab"), ("v6.0", "tin box images models yolo lab")],
)
def test_sound_tree_has_no_warning(round_name: str, parts: str, tmp_path: Path) -> None:
    verdict = validate_tree(build_later(tmp_path / "tree", round_name, parts).root, round_name)
    assert verdict.failures == ()
    assert all(result.ok for result in verdict.results)


def test_every_later_rule_has_a_mutation() -> None:
    later = {rule.id for rule in all_rules() if rule.later}
    assert later - {case.rule for case in CASES} == {"V-13", "W-02"}  # V-13 below, W-02 with power


def test_log_that_begins_with_another_line_is_refused(tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", "v6.0", "tin")
    path = "closed/Acme/results/tin/resnet50/Offline/performance/run_1/mlperf_log_detail.txt"
    submission.write(path, "hello\n" + submission.read(path))
    assert "V-13" in {failure.rule for failure in validate_tree(submission.root, "v6.0").errors}


@pytest.mark.parametrize(("round_name", "others"), [("v5.1", True), ("v6.0", False)])
def test_missing_scenario_refuses_the_model_from_v6_0(round_name: str, others: bool, tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", round_name, "tin box")
    next(case for case in CASES if case.round == round_name and case.name == "scenario_missing").mutate(
        submission
    )
    verdict = validate_tree(submission.root, round_name)
    assert {one.ok for one in verdict.results if one.benchmark == "llama3.1-8b"} == {others}
    assert {one.ok for one in verdict.results if one.benchmark == "resnet50"} == {True}


@pytest.mark.parametrize(
    ("round_name", "columns"), [("v4.1", 27), ("v5.1", 28), ("v6.0", 31)], ids=["v4.1", "v5.1", "v6.0"]
)
def test_csv_has_the_columns_of_the_round(round_name: str, columns: int, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    made = build(tree, "box") if round_name == "v4.1" else build_later(tree, round_name, "box")
    rows = list(csv.reader(io.StringIO(validate_tree(made.root, round_name).to_csv())))
    assert {len(row) for row in rows} == {columns}


def test_csv_of_a_later_round_says_tokens_and_all_metrics(tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", "v6.0", "box")
    rows = csv.DictReader(io.StringIO(validate_tree(submission.root, "v6.0").to_csv()))
    found = next(row for row in rows if row["Scenario"] == "Interactive")
    assert (found["Units"], found["compliance"], found["inferred"]) == ("Tokens/s", "closed", "0")
    assert found["Accuracy"].startswith("ROUGE1: 38.8  ROUGE2: 16.0  ")
    assert (found["weight_data_types"], found["total_accelerators"]) == ("N/A", "0")
    assert found["Location"] == f"{LLAMA}/Interactive/performance/run_1"


def build_power(root: Path, round_name: str, power_of: str) -> Submission:
    """Write resnet50 of an edge system for a round, with the power measurement of a round."""
    made = Submission(root, round=get_round(round_name))
    write_system(made, "closed", "box", "edge")
    streams = (Scenario.OFFLINE, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
    write_model(made, "closed", "box", "resnet50", streams)
    made.write("closed/Acme/calibration.md", "how")
    add_power(made, get_round(power_of))
    return made


@pytest.mark.parametrize("written_as", ["v4.1", "v5.0", "v5.1"])
@pytest.mark.parametrize("judged_as", ["v4.1", "v5.0", "v5.1"])
def test_power_is_judged_by_the_facts_of_its_round(tmp_path: Path, written_as: str, judged_as: str) -> None:
    submission = build_power(tmp_path / "tree", judged_as, written_as)
    failures = validate_tree(submission.root, judged_as).failures
    if written_as == judged_as:
        assert failures == ()
    else:
        assert {failure.rule for failure in failures} & {"W-06", "W-10", "W-11"}
        assert {failure.severity for failure in failures} == {"error"}


def test_range_may_be_restored_by_the_fourth_command_in_v5_1(tmp_path: Path) -> None:
    submission = build_power(tmp_path / "tree", "v5.1", "v5.1")

    def third(content: dict[str, Any], count: int) -> None:
        ranges = [one for one in content["ptd_messages"] if one["cmd"].startswith("SR,A")]
        ranges[2]["cmd"] = "SR,A,10"
        for one in ranges[count:]:
            content["ptd_messages"].remove(one)

    edit(submission, "server", lambda content: third(content, 4))
    assert validate_tree(submission.root, "v5.1").ok
    edit(submission, "server", lambda content: third(content, 3))
    assert {one.rule for one in validate_tree(submission.root, "v5.1").errors} == {"W-10"}


def test_files_of_power_are_asked_for_where_other_file_lists_are_not(tmp_path: Path) -> None:
    submission = build_later(tmp_path / "tree", "v6.0", "tin")
    folder = "closed/Acme/results/tin/resnet50/Offline/performance"
    submission.write(f"{folder}/power/client.json", "{}")
    found = {failure.rule: failure.severity for failure in validate_tree(submission.root, "v6.0").failures}
    assert (found["W-02"], found["P-01"]) == ("error", "warning")
