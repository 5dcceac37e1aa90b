from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError
from mlperf_submission.harness.settings import RunLength, RunSettings, differences, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.submission.detail_log import DetailLog

Make = Callable[..., RunSettings]
V4_1 = (3066443479025735752, 10688027786191513374, 14962580496156340209)
V4_1_TEST05 = (16799458546791641818, 5453809927556429288, 5435552105434836064)


def test_official_settings_are_the_rounds(make_settings: Make) -> None:
    offline = make_settings(Scenario.OFFLINE, seconds=None)
    server = make_settings(Scenario.SERVER, seconds=None)
    assert (offline.qsl_rng_seed, offline.sample_index_rng_seed, offline.schedule_rng_seed) == V4_1
    assert offline.min_query_count == 24576
    assert server.min_query_count == 100
    assert server.target_latency_ns == 15_000_000
    assert {offline.min_duration_ms, server.min_duration_ms} == {600_000}
    assert {offline.performance_sample_count, server.performance_sample_count} == {1024}
    assert offline.official


def test_a_rehearsal_is_shorter_and_keeps_limits_seeds_and_samples(make_settings: Make) -> None:
    for scenario in (Scenario.OFFLINE, Scenario.SERVER):
        official = make_settings(scenario, seconds=None)
        rehearsal = make_settings(scenario, seconds=2)
        changed = {
            name for name in RunSettings.model_fields if getattr(official, name) != getattr(rehearsal, name)
        }
        assert changed == {"min_duration_ms", "min_query_count", "official"}
        assert rehearsal.min_duration_ms == 2000
        assert rehearsal.min_query_count == 1


def test_test05_has_its_own_seeds_beside_the_rounds(make_settings: Make) -> None:
    made = make_settings(kind=RunKind.TEST05)
    assert made.test05
    assert (
        made.test05_qsl_rng_seed,
        made.test05_sample_index_rng_seed,
        made.test05_schedule_rng_seed,
    ) == V4_1_TEST05
    assert made.qsl_rng_seed == V4_1[0]
    assert not make_settings().test05


def test_settings_survive_json(make_settings: Make) -> None:
    made = make_settings(Scenario.SERVER, kind=RunKind.TEST05, target_qps=132008.16)
    assert RunSettings.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("qps", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(make_settings: Make, qps: float) -> None:
    with pytest.raises(SettingError, match="target_qps"):
        make_settings(target_qps=qps)


def test_what_the_round_does_not_have_is_refused(make_settings: Make) -> None:
    with pytest.raises(SettingError, match="cannot be run"):
        make_settings(Scenario.INTERACTIVE)
    with pytest.raises(SettingError, match="at least 1024"):
        make_settings(seconds=None, samples=100)
    with pytest.raises(SettingError, match="TEST05"):
        make_settings(kind=RunKind.TEST05, round_name="v5.0")
    with pytest.raises(SettingError, match="no scenario Server"):
        settings_for(
            get_round("v4.1"),
            "3d-unet-99",
            RunKind.PERFORMANCE,
            Scenario.SERVER,
            target_qps=1,
            performance_sample_count=None,
            length=RunLength.official(),
        )


def test_the_streams_ask_for_what_their_percentile_needs(make_settings: Make) -> None:
    single, multi = (
        make_settings(scenario, seconds=None) for scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
    )
    assert (single.samples_per_query, multi.samples_per_query) == (1, 8)
    assert (single.target_latency_percentile, multi.target_latency_percentile) == (0.9, 0.99)
    assert (single.min_query_count, multi.min_query_count) == (100, 662)
    assert single.expected_latency_ns == 500_000
    assert multi.expected_samples(1024) == 8 * 2000 * 600
    # A rehearsal's is as short as it can be with a result: 1 - 0.9^64 - 64 * 0.1 * 0.9^63 is 99 %.
    short = [make_settings(one, seconds=1).min_query_count for one in (single.scenario, multi.scenario)]
    assert short == [64, 662]
    for percentile, count in zip((0.9, 0.99), short, strict=True):
        outliers = [
            percentile**queries + queries * (1 - percentile) * percentile ** (queries - 1)
            for queries in (count - 1, count)
        ]
        assert outliers[1] <= 0.01 < outliers[0]


def effective(made: RunSettings) -> dict[str, object]:
    """Return what LoadGen logs when it applies `made`."""
    return {
        "effective_scenario": made.scenario.value,
        "effective_test_mode": "PerformanceOnly",
        "effective_target_qps": float(f"{made.target_qps:.6g}"),
        "effective_min_duration_ms": made.min_duration_ms,
        "effective_max_duration_ms": 0,
        "effective_max_query_count": 0,
        "effective_min_query_count": made.min_query_count,
        "effective_samples_per_query": made.samples_per_query,
        "effective_qsl_rng_seed": made.qsl_rng_seed,
        "effective_sample_index_rng_seed": made.sample_index_rng_seed,
        "effective_schedule_rng_seed": made.schedule_rng_seed,
        "effective_performance_sample_count": made.performance_sample_count,
        "effective_performance_issue_same": False,
        "effective_sample_concatenate_permutation": False,
        "effective_target_latency_ns": made.target_latency_ns,
        "effective_target_latency_percentile": made.target_latency_percentile,
        "effective_accuracy_log_sampling_target": 0,
    }


@pytest.mark.parametrize("scenario", [Scenario.SERVER, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM])
def test_a_log_of_other_settings_is_noticed(make_settings: Make, scenario: Scenario) -> None:
    made = make_settings(scenario, seconds=None, target_qps=132008.16)
    values = json.loads(json.dumps(effective(made)))
    if scenario is not Scenario.SERVER:
        del values["effective_target_latency_ns"]
    assert differences(made, DetailLog(Path("log"), values)) == []
    for key, value in values.items():
        other: object = (
            not value if isinstance(value, bool) else "other" if isinstance(value, str) else value + 1
        )
        if key == "effective_target_qps":
            other = value * 1.01
        found = differences(made, DetailLog(Path("log"), {**values, key: other}))
        assert len(found) == 1, key
        assert key in found[0]
