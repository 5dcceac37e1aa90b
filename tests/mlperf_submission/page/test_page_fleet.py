"""The page of all systems: complete, sortable and filterable by keyboard, readable without JavaScript."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.page.fleet import write_fleet
from mlperf_submission.validation import Failure, Verdict

MakeTree = Callable[..., Path]


@pytest.fixture
def fleet(make_tree: MakeTree, scenario: Any) -> Path:
    """Three systems: rates 100, 30 and 900 with 2, 1 and 8 accelerators."""
    for name, rate, accelerators, division in (
        ("a", 100, 2, "closed"),
        ("b", 30, 1, "open"),
        ("c", 900, 9, "closed"),
    ):
        tree = make_tree(
            name,
            division=division,
            description={"system_name": f"System {name}", "accelerators_per_node": accelerators},
            results=(scenario(values={"result_samples_per_second": rate}),),
        )
    return tree


def _names(page: Any) -> list[str]:
    return [row.inner_text() for row in page.locator("#fleet tbody .name:visible").all()]


def test_all_systems_are_there_without_javascript(
    fleet: Path, tmp_path: Path, visit: Callable[..., Any]
) -> None:
    page = visit(write_fleet(fleet, tmp_path / "out", round_name="v4.1"), java_script_enabled=False)
    assert _names(page) == ["System a", "System c", "System b"]
    assert page.locator("#controls").is_hidden()
    assert [cell.inner_text() for cell in page.locator("td.right").all()] == ["100.0", "900.0", "30.0"]


def test_each_system_links_to_its_page_and_back(
    fleet: Path, tmp_path: Path, visit: Callable[..., Any]
) -> None:
    path = write_fleet(fleet, tmp_path / "out", round_name="v4.1")
    page = visit(path, java_script_enabled=False)
    for link in page.locator("#fleet tbody a.name").all():
        target = path.parent / link.get_attribute("href")
        text = target.read_text(encoding="utf-8")
        assert link.inner_text() in text
        back = text.split('class="back"><a href="')[1].split('"')[0]
        assert (target.parent / back).resolve() == path.resolve()


def test_sorting_and_filtering_by_keyboard(fleet: Path, tmp_path: Path, visit: Callable[..., Any]) -> None:
    page = visit(write_fleet(fleet, tmp_path / "out", round_name="v4.1"))
    rate = page.locator("thead th[data-kind=number]")
    rate.locator("button").focus()
    page.keyboard.press("Enter")
    assert rate.get_attribute("aria-sort") == "descending"
    assert _names(page) == ["System c", "System a", "System b"]
    page.keyboard.press("Enter")
    assert _names(page) == ["System b", "System a", "System c"]

    page.locator("#per").focus()
    page.keyboard.press("Space")
    assert sorted(cell.inner_text() for cell in page.locator("td.right").all()) == ["100", "30", "50"]
    page.keyboard.press("Space")
    assert sorted(cell.inner_text() for cell in page.locator("td.right").all()) == ["100.0", "30.0", "900.0"]

    page.locator("#words").focus()
    page.keyboard.type("system B")
    assert _names(page) == ["System b"]
    assert page.locator("#count").inner_text() == "1 of 3 systems"
    page.locator("#words").fill("")
    page.locator("select[data-field=division]").select_option("closed")
    assert _names(page) == ["System a", "System c"]


def test_the_verdict_is_each_system_s_own(fleet: Path, tmp_path: Path) -> None:
    failure = Failure(
        rule="P-01", severity="error", path="closed/Acme/results/c/resnet50", message="m", remedy="r"
    )
    verdict = Verdict(round="v4.1", ok=False, results=(), failures=(failure,))
    write_fleet(fleet, tmp_path / "out", round_name="v4.1", verdict=verdict)
    content = json.loads((tmp_path / "out" / "fleet.json").read_text(encoding="utf-8"))
    assert {one["system"]: one["verdict"] for one in content["systems"]} == {
        "a": "accepted",
        "b": "accepted",
        "c": "refused",
    }
    with (tmp_path / "out" / "fleet.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["value"] for row in csv.DictReader(stream)] == ["100.0", "900.0", "30.0"]


def test_a_rehearsal_in_the_fleet_is_marked(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree("rehearsal_1")
    page = write_fleet(tree, tmp_path / "out", round_name="v4.1").read_text(encoding="utf-8")
    assert "<strong>REHEARSAL</strong>" in page and '<span class="badge rehearsed">rehearsal</span>' in page
