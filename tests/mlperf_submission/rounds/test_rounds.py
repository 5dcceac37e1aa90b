"""The rounds as tables."""

from __future__ import annotations

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import ROUNDS, V4_1, RunKind, Scenario, get_round


def test_rounds_are_found_by_name_and_unknown_ones_are_named() -> None:
    assert get_round("v4.1") is V4_1
    with pytest.raises(SettingError, match="unknown round") as caught:
        get_round("v4.2")
    assert "v4.1" in caught.value.remedy


def test_values_of_the_five_benchmarks_in_v4_1() -> None:
    resnet = V4_1.model("resnet50")
    assert (resnet.name, resnet.performance_sample_count, resnet.offline_min_samples) == (
        "resnet",
        1024,
        24576,
    )
    assert resnet.server_target_latency_ns == 15_000_000
    assert resnet.accuracy[0].floor == pytest.approx(75.6954)
    assert resnet.audits == (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
    assert V4_1.model("3d-unet-99").datacenter == {Scenario.OFFLINE}
    assert V4_1.model("gptj-99").audits == ()
    assert [target.metric for target in V4_1.model("gptj-99").accuracy] == [
        "ROUGE1",
        "ROUGE2",
        "ROUGEL",
        "GEN_LEN",
    ]
    assert V4_1.model("bert-99").server_target_latency_ns == 130_000_000
    assert V4_1.model("retinanet").performance_sample_count == 64


def test_names_are_resolved_in_the_checkers_order() -> None:
    assert V4_1.resolve("resnet50") == "resnet"
    assert V4_1.resolve("efficientnet-b0") == "resnet"
    assert V4_1.resolve("bert-99.9-pruned") == "bert-99.9"
    assert V4_1.resolve("mine", {"mine": "retinanet"}) == "retinanet"
    assert V4_1.resolve("mine") == "mine"


def test_required_scenarios_depend_on_the_type_of_system() -> None:
    bert = V4_1.model("bert-99")
    assert bert.required("datacenter") == {Scenario.OFFLINE, Scenario.SERVER}
    assert bert.required("edge") == {Scenario.OFFLINE, Scenario.SINGLE_STREAM}
    assert bert.required("edge,datacenter") == {Scenario.OFFLINE, Scenario.SERVER, Scenario.SINGLE_STREAM}
    assert V4_1.model("llama2-70b-99").required("edge") == frozenset()


def test_result_fields_of_token_models() -> None:
    gptj = V4_1.model("gptj-99")
    assert V4_1.result_field(gptj, Scenario.OFFLINE) == "result_inferred_tokens_per_second"
    assert V4_1.result_field(V4_1.model("resnet"), Scenario.SERVER) == "result_completed_samples_per_sec"
    assert (
        ROUNDS["v4.0"]
        .result_field(ROUNDS["v4.0"].model("resnet"), Scenario.SERVER)
        .startswith("result_scheduled")
    )


@pytest.mark.parametrize("name", ROUNDS)
def test_every_model_of_every_round_is_whole(name: str) -> None:
    round_ = ROUNDS[name]
    for model in round_.models.values():
        assert model.performance_sample_count > 0
        assert model.accuracy
        for target in model.accuracy:
            assert target.ceiling is None or target.floor < target.ceiling
        for scenario in model.scenarios & set(round_.result_fields):
            assert round_.result_field(model, scenario)
    assert all(alias not in round_.models for alias in round_.aliases)
    assert set(round_.equal_issue_enforced) <= set(round_.models)


def test_seeds_differ_between_rounds() -> None:
    assert len({round_.seeds for round_ in ROUNDS.values()}) == len(ROUNDS)
