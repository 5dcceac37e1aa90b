"""user.conf and mlperf.conf: written from a log, and checked against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import LogError
from mlperf_submission.rounds import V4_1, RunKind, Scenario
from mlperf_submission.submission import conf
from mlperf_submission.submission.detail_log import DetailLog

SERVER: dict[str, Any] = {
    "effective_scenario": "Server",
    "effective_target_qps": 132000,
    "effective_target_latency_ns": 15_000_000,
    "effective_target_latency_percentile": 0.99,
    "effective_min_duration_ms": 600_000,
    "effective_min_query_count": 100,
    "effective_performance_sample_count": 2048,
    "effective_qsl_rng_seed": V4_1.seeds.qsl,
    "effective_sample_index_rng_seed": V4_1.seeds.sample_index,
    "effective_schedule_rng_seed": V4_1.seeds.schedule,
    "requested_server_coalesce_queries": True,
}


def server_log(**changes: Any) -> DetailLog:
    return DetailLog(Path("log"), {**SERVER, **changes})


def test_the_published_user_conf_of_another_run_is_named(published: Any) -> None:
    log = published.log("resnet50", Scenario.SERVER)
    user = published.measurement("resnet50", Scenario.SERVER, "user.conf")
    mlperf = published.measurement("resnet50", Scenario.SERVER, "mlperf.conf")
    assert conf.check(user, mlperf, log, "resnet50") == [
        "user.conf does not match the run: target_qps = 126720.0, "
        "but the log says 132000 (effective_target_qps)"
    ]


def test_of_the_published_conf_files_exactly_those_of_other_runs_are_named(published: Any) -> None:
    wrong = set()
    for benchmark, scenario in published.results():
        user = published.measurement(benchmark, scenario, "user.conf")
        mlperf = published.measurement(benchmark, scenario, "mlperf.conf")
        problems = conf.check(user, mlperf, published.log(benchmark, scenario), benchmark)
        assert all("target_qps" in problem for problem in problems)
        wrong |= {f"{benchmark} {scenario}" for _ in problems}
    assert wrong == {
        "3d-unet-99 Offline",
        "bert-99 Server",
        "resnet50 Server",
        "retinanet Offline",
        "retinanet Server",
    }


@pytest.mark.parametrize("scenario", [Scenario.OFFLINE, Scenario.SERVER])
def test_files_of_a_real_run_say_what_was_in_effect(corpus: Any, scenario: Scenario) -> None:
    log = corpus.log(scenario, RunKind.PERFORMANCE)
    user = conf.user_conf(log, "resnet50", scenario, V4_1)
    mlperf = conf.mlperf_conf(log, "resnet50", scenario, V4_1)
    assert conf.check(user, mlperf, log, "resnet50") == []
    assert f"*.{scenario}.target_qps = 2000\n" in user
    assert f"*.{scenario}.min_duration = 700\n" in mlperf
    least = "1024" if scenario is Scenario.OFFLINE else "100"  # Offline: as asked for; in effect is one query
    assert f"resnet50.{scenario}.min_query_count = {least}\n" in mlperf


def test_mlperf_conf_holds_the_settings_of_the_round() -> None:
    entries = conf.parse_conf(conf.mlperf_conf(server_log(), "resnet50", Scenario.SERVER, V4_1)).entries
    assert entries["*.*.qsl_rng_seed"] == "3066443479025735752"
    assert entries["*.*.test05_schedule_rng_seed"] == "5435552105434836064"
    assert entries["resnet50.Server.target_latency"] == "15"
    assert entries["*.Server.target_latency_percentile"] == "99"
    assert entries["*.Server.min_duration"] == "600000"
    assert entries["resnet50.*.performance_sample_count_override"] == "1024"


def test_user_conf_overrides_mlperf_conf_for_every_key() -> None:
    log = server_log()
    user = conf.user_conf(log, "resnet50", Scenario.SERVER, V4_1)
    mlperf = conf.mlperf_conf(log, "resnet50", Scenario.SERVER, V4_1)
    assert "*.Server.performance_sample_count_override = 2048\n" in user
    assert "*.Server.coalesce_queries = 1\n" in user
    assert conf.check(user, mlperf, log, "resnet50") == []


@given(
    qps=st.floats(1e-3, 1e9),
    latency_ms=st.integers(0, 10**6),
    percentile=st.floats(0.01, 0.9999),
    duration=st.integers(0, 10**7),
    queries=st.integers(0, 10**9),
    loaded=st.integers(1, 10**6),
    seeds=st.tuples(*[st.integers(0, 2**64 - 1)] * 3),
    coalesce=st.booleans(),
)
def test_round_trip(
    qps: float,
    latency_ms: int,
    percentile: float,
    duration: int,
    queries: int,
    loaded: int,
    seeds: tuple[int, int, int],
    coalesce: bool,
) -> None:
    log = server_log(
        effective_target_qps=qps,
        effective_target_latency_ns=latency_ms * 1_000_000,
        effective_target_latency_percentile=percentile,
        effective_min_duration_ms=duration,
        effective_min_query_count=queries,
        effective_performance_sample_count=loaded,
        effective_qsl_rng_seed=seeds[0],
        effective_sample_index_rng_seed=seeds[1],
        effective_schedule_rng_seed=seeds[2],
        requested_server_coalesce_queries=coalesce,
    )
    user = conf.user_conf(log, "resnet50", Scenario.SERVER, V4_1)
    mlperf = conf.mlperf_conf(log, "resnet50", Scenario.SERVER, V4_1)
    assert conf.check(user, mlperf, log, "resnet50") == []
    assert not conf.parse_conf(user).problems
    assert not conf.parse_conf(mlperf).problems


CHANGED = {
    "effective_target_qps": 131000,
    "effective_target_latency_ns": 16_000_000,
    "effective_target_latency_percentile": 0.9,
    "effective_min_duration_ms": 2000,
    "effective_min_query_count": 7,
    "effective_performance_sample_count": 1024,
    "effective_qsl_rng_seed": 1,
    "effective_sample_index_rng_seed": 2,
    "effective_schedule_rng_seed": 3,
    "requested_server_coalesce_queries": False,
}


@pytest.mark.parametrize("key", CHANGED)
def test_files_of_another_run_are_named_by_their_key(key: str) -> None:
    log = server_log()
    user = conf.user_conf(log, "resnet50", Scenario.SERVER, V4_1)
    mlperf = conf.mlperf_conf(log, "resnet50", Scenario.SERVER, V4_1)
    problems = conf.check(user, mlperf, server_log(**{key: CHANGED[key]}), "resnet50")
    assert len(problems) == 1
    assert key in problems[0]


def test_missing_target_qps_is_named() -> None:
    log = server_log(effective_performance_sample_count=1024)
    mlperf = conf.mlperf_conf(log, "resnet50", Scenario.SERVER, V4_1)
    assert conf.check("# nothing\n", mlperf, log, "resnet50") == ["user.conf has no target_qps for Server"]


def test_equal_issue_models_get_their_line_in_both_files_and_no_line_that_breaks_the_checker() -> None:
    log = server_log(effective_sample_concatenate_permutation=True)
    user = conf.user_conf(log, "3d-unet-99", Scenario.SERVER, V4_1)
    mlperf = conf.mlperf_conf(log, "3d-unet-99", Scenario.SERVER, V4_1)
    assert "*.Server.sample_concatenate_permutation = 1\n" in user
    assert "3d-unet.*.sample_concatenate_permutation = 1\n" in mlperf
    for line in (user + mlperf).splitlines():
        if not line.startswith("#"):  # rule E-12: the checker splits each line so, and crashes otherwise
            key, _value = line.replace(" ", "").split("=")
            _model, _scenario, _name = key.split(".")


def test_an_equal_issue_model_that_ran_without_it_is_named() -> None:
    log = server_log(effective_sample_concatenate_permutation=False)
    user = conf.user_conf(log, "3d-unet-99", Scenario.SERVER, V4_1)
    assert any("sample_concatenate_permutation" in one for one in conf.check(user, "", log, "3d-unet-99"))


def test_a_latency_that_the_file_cannot_say_is_refused() -> None:
    log = server_log(effective_target_latency_ns=15_500_000)
    with pytest.raises(LogError, match="whole number"):
        conf.mlperf_conf(log, "resnet50", Scenario.SERVER, V4_1)


def test_a_log_without_a_setting_is_refused(fake_log: Callable[..., DetailLog]) -> None:
    with pytest.raises(LogError, match="no effective_target_qps"):
        conf.user_conf(fake_log(effective_scenario="Server"), "resnet50", Scenario.SERVER, V4_1)


def test_lookup_follows_loadgens_order() -> None:
    parsed = conf.parse_conf("*.*.k = 1\nm.*.k = 2\n*.Server.k = 3\nm.Server.k = 4\n*.Offline.k = 5")
    assert parsed.lookup("m", "Server", "k") == "4"
    assert parsed.lookup("other", "Server", "k") == "3"
    assert parsed.lookup("m", "MultiStream", "k") == "2"
    assert parsed.lookup("other", "MultiStream", "k") == "1"
    assert parsed.lookup("m", "Server", "another") is None
    assert conf.parse_conf("m.*.k = 2\n*.Server.k = 3").lookup("m", "Server", "k") == "3"


def test_the_last_of_two_lines_counts() -> None:
    assert conf.parse_conf("a.b.c = 1\na.b.c = 2").entries == {"a.b.c": "2"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("*.Server.target_qps=5", "blanks around"),
        ("*.Server.target_qps = 5 # why", "comment behind"),
        ("*.Server.target_qps = five", "is no number"),
        ("*.Server.target_qps =", "no value"),
        ("target_qps = 5", "three parts"),
        ("3d-unet-99.9.Offline.x = 1", "three parts"),
        ("#a = 1", "blank behind '#'"),
        ("plain text", "expected"),
    ],
)
def test_lines_that_loadgen_or_the_checker_refuse_are_named_with_their_number(line: str, said: str) -> None:
    parsed = conf.parse_conf(f"# first\n\n{line}\n")
    assert parsed.entries == {}
    assert len(parsed.problems) == 1
    assert parsed.problems[0].startswith("line 3: ")
    assert said in parsed.problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("0x1F", 31), ("010", 8), ("600000.5", 600000), ("1e6", 1), (".5", 0), ("-1", 2**64 - 1)],
)
def test_integers_are_read_as_loadgen_reads_them(text: str, value: int) -> None:
    assert conf.as_integer(text) == value


@given(
    st.text(),
    st.text(),
    st.dictionaries(
        st.sampled_from(sorted(SERVER)),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.booleans()),
    ),
)
def test_nothing_makes_the_check_raise(user: str, mlperf: str, values: dict[str, Any]) -> None:
    conf.check(user, mlperf, server_log(**values), "resnet50")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["*", "resnet50"]),
            st.sampled_from(["*", "Server"]),
            st.sampled_from(["target_qps", "target_latency", "min_duration", "qsl_rng_seed"]),
            st.from_regex(r"[-+0-9xXeE.infaN]{1,12}", fullmatch=True),
        )
    )
)
def test_no_value_makes_the_check_raise(lines: list[tuple[str, str, str, str]]) -> None:
    text = "\n".join(f"{model}.{scenario}.{key} = {value}" for model, scenario, key, value in lines)
    conf.check(text, text, server_log(), "resnet50")
