"""The result of a run: the page and the validation read the same key, value and unit in every round."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlperf_submission.page.read import SystemPlace, read_system
from mlperf_submission.rounds import ROUNDS, ModelRules, Round, Scenario
from mlperf_submission.submission.results import logged_scenario, read_value, scenario_of
from mlperf_submission.validation import validate_tree
from tests.mlperf_submission.validation.sample_later import build_later
from tests.mlperf_submission.validation.sample_submission import build

PAIRS = [
    (round_, model, scenario)
    for round_ in ROUNDS.values()
    for model in round_.models.values()
    for scenario in sorted(model.scenarios)
]


@pytest.mark.parametrize(
    ("round_", "model", "scenario"), PAIRS, ids=[f"{r.name}-{m.name}-{s}" for r, m, s in PAIRS]
)
def test_every_result_of_every_round_has_a_key_and_a_unit(
    round_: Round, model: ModelRules, scenario: Scenario
) -> None:
    logged = Scenario.SERVER if scenario is Scenario.INTERACTIVE else scenario
    key = round_.result_field(model, logged)
    values = {"effective_scenario": str(logged), round_.result_fields[logged]: 8e9, key: 4e9}
    found = read_value(round_, model, scenario, values)
    assert (found.key, found.missing, found.inferred) == (key, (), False)
    stream = 1e9 if model.latency_in_seconds else 1e6
    assert found.value == 4e9 / (stream if "Stream" in scenario else 1)
    assert found.units == round_.units(model, scenario)
    if round_.is_newer and model.token_latencies and "Stream" not in scenario:
        assert found.units == "Tokens/s"


@pytest.mark.parametrize(("round_name", "parts"), [("v4.1", "box models"), ("v6.0", "box models")])
def test_page_and_verdict_name_the_same_results(tmp_path: Path, round_name: str, parts: str) -> None:
    tree = tmp_path / "tree"
    made = build(tree, parts) if round_name == "v4.1" else build_later(tree, round_name, parts)
    verdict = validate_tree(made.root, round_name)
    page = read_system(made.root, SystemPlace("closed", "Acme", "box"), round_name)
    told = {(one.benchmark, one.scenario): one for one in verdict.results}
    shown = {(one.benchmark, str(one.scenario)): one for one in page.results}
    assert {place: one.value for place, one in shown.items()} == {
        place: one.value for place, one in told.items()
    }
    assert all(one.units == told[place].units for place, one in shown.items())
    assert not any(one.problems for one in page.results)
    first = {(one.benchmark, str(one.scenario)): one.accuracy[0].measured for one in page.results}
    assert first == {(one.benchmark, one.scenario): float(one.accuracy or 0) for one in verdict.results}


def test_an_inferred_result_is_the_same_on_the_page(tmp_path: Path) -> None:
    submission = build(tmp_path / "tree", "tin")
    tin = "closed/Acme/results/tin/resnet50"
    submission.copy(f"{tin}/SingleStream/performance/run_1", f"{tin}/Offline/performance/run_1")
    verdict = validate_tree(submission.root, "v4.1")
    page = read_system(submission.root, SystemPlace("closed", "Acme", "tin"), "v4.1")
    (told,) = [one for one in verdict.results if one.scenario == "Offline"]
    (shown,) = [one for one in page.results if one.scenario == "Offline"]
    assert told.value == shown.value == 700.5
    assert shown.place
    assert shown.place.key == "result_qps_without_loadgen_overhead"


def test_scenarios_are_known_in_two_spellings_as_folders_and_in_one_in_logs() -> None:
    assert scenario_of("singlestream") is scenario_of("SingleStream") is Scenario.SINGLE_STREAM
    assert scenario_of("Singlestream") is None
    assert logged_scenario({"effective_scenario": "Server"}) is Scenario.SERVER
    for said in ("server", 3, None, ["Server"]):
        assert logged_scenario({"effective_scenario": said}) is None
