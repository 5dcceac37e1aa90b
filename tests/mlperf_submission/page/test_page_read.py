"""Reading trees of every kind: edge systems, unknown models, logs with wrapped times, odd names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from mlperf_submission.page.read import find_system, read_system, systems_of
from mlperf_submission.page.system_page import write_page
from mlperf_submission.page.text import duration, grouped, latency, number, percent, target_number
from mlperf_submission.rounds import Scenario

MakeTree = Callable[..., Path]


def _read(tree: Path, name: str = "server_4") -> Any:
    return read_system(tree, find_system(tree, name), "v4.1")


def test_an_edge_system_has_latencies_in_milliseconds(make_tree: MakeTree, scenario: Any) -> None:
    tree = make_tree(
        description={"system_type": "edge"},
        results=(
            scenario(scenario="SingleStream", values={"early_stopping_latency_ss": 172819}),
            scenario(scenario="multistream", values={"early_stopping_latency_ms": 1_500_000}),
        ),
    )
    data = _read(tree)
    assert [(one.scenario, one.value, one.units) for one in data.results] == [
        (Scenario.SINGLE_STREAM, 0.172819, "Latency (ms)"),
        (Scenario.MULTI_STREAM, 1.5, "Latency (ms)"),
    ]
    assert data.scenarios == (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM, Scenario.OFFLINE)


def test_tokens_are_the_result_where_the_round_counts_tokens(make_tree: MakeTree, scenario: Any) -> None:
    values = {"result_samples_per_second": 35.8728, "result_inferred_tokens_per_second": 2475.22}
    rouge = "{'rouge1': 43.05, 'rouge2': 20.1, 'rougeL': 29.9, 'gen_len': 4111576}\n"
    tree = make_tree(results=(scenario(benchmark="gptj-99", values=values, accuracy=rouge),))
    result = _read(tree).results[0]
    assert (result.value, result.units) == (2475.22, "Tokens/s")
    assert [(one.metric, one.measured) for one in result.accuracy] == [
        ("ROUGE1", 43.05),
        ("ROUGE2", 20.1),
        ("ROUGEL", 29.9),
        ("GEN_LEN", 4111576.0),
    ]
    assert all(one.reached for one in result.accuracy)


@pytest.mark.parametrize("number", ["9" * 5000, "1e400", "-1e400", "nan", "inf", "76.1.2", "..", ""])
def test_an_accuracy_that_is_no_finite_number_is_none(
    make_tree: MakeTree, tmp_path: Path, scenario: Any, number: str
) -> None:
    tree = make_tree(results=(scenario(accuracy=f"accuracy={number}%, good=1, total=1\n"),))
    page = write_page(tree, "server_4", tmp_path / "out", round_name="v4.1")
    (result,) = json.loads((page.parent / "results.json").read_text())["systems"][0]["results"]
    assert set(result["accuracy"].values()) <= {None, 76.1}


def test_a_model_that_the_round_does_not_know_is_shown_without_target(
    make_tree: MakeTree, tmp_path: Path, scenario: Any
) -> None:
    tree = make_tree(
        division="open", results=(scenario(benchmark="my-net", values={"result_samples_per_second": 5}),)
    )
    page = write_page(tree, "server_4", tmp_path / "out", round_name="v4.1").read_text(encoding="utf-8")
    assert "my-net" in page and "not in this round" in page and "no accuracy target" in page


def test_a_system_without_results_has_a_page(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree(results=())
    page = write_page(tree, "server_4", tmp_path / "out", round_name="v4.1").read_text(encoding="utf-8")
    assert "This system has no results." in page


def test_links_to_odd_names_lead_to_their_files(make_tree: MakeTree, tmp_path: Path, scenario: Any) -> None:
    values = {"result_samples_per_second": 5}
    tree = make_tree("a b#c?d%20é", results=(scenario(values=values),))
    out = tmp_path / "out"
    page = write_page(tree, "a b#c?d%20é", out, round_name="v4.1").read_text(encoding="utf-8")
    hrefs = re.findall(r'class="source" href="([^"#]+)', page)
    assert hrefs and all((out / unquote(href)).is_file() for href in hrefs)


def test_hidden_folders_and_loose_files_are_no_systems(make_tree: MakeTree) -> None:
    tree = make_tree()
    (tree / "closed" / ".git" / "results" / "x").mkdir(parents=True)
    (tree / "closed" / "README.md").write_text("x")
    assert [str(place) for place in systems_of(tree)] == ["closed/Acme/server_4"]


def test_numbers_are_written_as_the_published_pages_write_them() -> None:
    assert [number(value) for value in (132008, 2201.83, 11.6149, 0.172819, 1e-7)] == [
        "132008.0",
        "2201.83",
        "11.6149",
        "0.172819",
        "0.0000001",
    ]
    assert [target_number(value) for value in (76.46 * 0.99, 0.8617 * 0.99, 3615190.2)] == [
        "75.6954",
        "0.8531",
        "3615190.2",
    ]
    assert grouped("1234567.5").striptags() == "1234567.5"
    assert [latency(value) for value in (20e9, 13_603_476, 2_500, 7)] == ["20 s", "13.6 ms", "2.5 µs", "7 ns"]
    assert [duration(value) for value in (3.25, 678, 95_100)] == ["3.2 s", "11 min 18 s", "26 h 25 min"]
    assert [percent(value) for value in (0.0051, -0.105, -0.0001)] == ["+0.5 %", "\u221210.5 %", "0.0 %"]
