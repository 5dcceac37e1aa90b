"""The page of a system over time: every run and result of the store's manifests, and nothing that runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.page.trend import render_trend, trend_rows
from mlperf_submission.store.manifest import Area, GpuUse, Manifest, RunAddress, StoredRun

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"


def run(name: str, day: int, **changes: object) -> StoredRun:
    fields: dict[str, object] = {
        "system": "box",
        "run": name,
        "round": "v4.1",
        "created": NOON + timedelta(days=day),
        "rehearsal": False,
        "tool_version": "0.1.0",
        "figures": {"resnet50/Offline": 100.0 + day, "gptj-99/Server": 7.0},
        "files": (),
    }
    manifest = Manifest.model_validate({**fields, **changes})
    address = RunAddress(area=Area.CANDIDATES, system="box", run=name)
    return StoredRun(address=address, manifest=manifest, written=NOON + timedelta(days=99), content=b"")


def test_the_table_has_a_row_per_run_and_a_column_for_what_any_of_them_has() -> None:
    rows = trend_rows([run("b", 2), run("a", 1, figures={"bert-99/SingleStream": 3.5})])
    assert [row["run"] for row in rows] == ["b", "a"]
    assert rows[0]["resnet50/Offline, Samples/s"] == 102.0
    assert rows[0]["gptj-99/Server, Tokens/s"] == 7.0, "with the units of the round"
    assert rows[0]["bert-99/SingleStream, Latency (ms)"] == rows[1]["resnet50/Offline, Samples/s"] == "–"
    assert list(rows[0]) == list(rows[1])


@pytest.mark.parametrize(
    ("used", "hours", "kwh"),
    [
        (GpuUse(hours=12.34, kwh=3.21), "12.34", "3.21"),
        (GpuUse(hours=12.34), "12.34", "NVML gave no energy"),
        (GpuUse(hours=0), "no GPU", "no GPU"),
        (None, "not recorded", "not recorded"),
    ],
)
def test_what_is_not_known_of_the_gpus_is_said(used: GpuUse | None, hours: str, kwh: str) -> None:
    (row,) = trend_rows([run("a", 1, gpus=used)])
    assert (row["GPU hours"], row["GPU kWh"]) == (hours, kwh)


def test_the_newest_run_is_shown_beside_what_was_before(tmp_path: Path, visit: Callable[..., Any]) -> None:
    path = tmp_path / "trend.html"
    runs = [run("c", 9), run("b", 2, figures={"resnet50/Offline": 200.0}), run("a", 1)]
    path.write_text(render_trend(runs, {"resnet50/Offline": 150.5}, {"resnet50/Offline"}))
    page = visit(path, java_script_enabled=False)
    fallen, other = page.locator("main section:has(svg)").all()
    assert "resnet50/Offline, Samples/s fell" in fallen.inner_text()
    assert "−27.6 % against the median" in fallen.inner_text()
    assert fallen.locator("circle").count() == 3 and fallen.locator("circle.over").count() == 1
    assert "Nothing to compare" in other.inner_text() and other.locator("circle").count() == 2
    assert page.locator("tbody tr").count() == 3


def test_a_rehearsals_page_says_so_and_hostile_text_stays_text() -> None:
    page = render_trend(
        [run("a", 1, rehearsal=True, tool_version=HOSTILE, figures={f"{HOSTILE}/Offline": 1.0})], {}, ()
    )
    assert "REHEARSAL" in page
    assert HOSTILE not in page and page.count("&lt;script&gt;") >= 3


def test_figures_that_are_no_results_and_rounds_that_are_unknown_are_borne() -> None:
    figures = {"note": "text", "resnet50/Offline": 1.0, "bert-99/Server": None, "x/Sideways": 2.0}
    (row,) = trend_rows([run("a", 1, round="v9.9", figures=figures)])
    assert row["resnet50/Offline"] == 1.0
    assert not {"note", "bert-99/Server", "x/Sideways"} & set(row)
    assert "<h1>" in render_trend([run("a", 1, figures={})], {}, ())
