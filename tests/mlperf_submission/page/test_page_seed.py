"""The page of the model system holds everything that its published page holds, with the same values."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.page.system_page import write_page

SYSTEM = "SR650_V3_3xL40S_TRT"


class Cells(HTMLParser):
    """The published page as a list of (tag, id, text) of its cells and headings."""

    TAGS = ("td", "th", "h1", "h3", "p")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: list[tuple[str, str, list[str]]] = []
        self.feed(text[text.index("<div") :])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.TAGS:
            self._open.append((tag, dict(attrs).get("id") or "", []))

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open[-1:]:
            texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.TAGS and self._open and self._open[-1][0] == tag:
            name, identity, texts = self._open.pop()
            self.found.append((name, identity, " ".join("".join(texts).split())))


@pytest.fixture(scope="module")
def published(seed: str) -> list[tuple[str, str, str]]:
    return Cells(seed).found


@pytest.fixture
def page(lenovo: Path, tmp_path: Path, visit: Callable[..., Any]) -> Any:
    return visit(write_page(lenovo, SYSTEM, tmp_path, round_name="v4.1"), java_script_enabled=False)


def _text(page: Any, selector: str) -> str:
    return " ".join(page.locator(selector).inner_text().split())


def test_the_head_is_the_published_one(page: Any, published: list[tuple[str, str, str]]) -> None:
    by_id = {identity: text for _, identity, text in published if identity}
    paragraphs = [text for tag, _, text in published if tag == "p"]
    assert _text(page, "h1") == paragraphs[2]
    assert _text(page, "#tester") == by_id["tester_val"] == paragraphs[1]
    assert _text(page, "#category") == by_id["license_num_val"]
    assert _text(page, "#division") == by_id["test_date_val"]
    assert _text(page, "#availability") == by_id["sw_avail_val"]
    assert _text(page, ".eyebrow") in next(text for tag, _, text in published if tag == "h1")


def test_every_group_has_every_field_with_its_value(page: Any, seed: str) -> None:
    expected = {}
    for part in re.split(r"<h3>", seed)[1:]:
        title, rest = part.split("</h3>", 1)
        if title != "Results Table":
            expected[title] = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td></tr>", rest)
    assert [len(fields) for fields in expected.values()] == [9, 8, 8, 8, 7]

    shown = {}
    for section in page.locator(".groups section").all():
        rows = section.locator("tr").all()
        cells = [(row.locator("th").inner_text(), row.locator("td").inner_text()) for row in rows]
        empty = [bool(row.locator("[aria-label=empty]").count()) for row in rows]
        shown[section.locator("h3").inner_text()] = [
            (name, "" if blank else value) for (name, value), blank in zip(cells, empty, strict=True)
        ]
    assert {title: shown[title] for title in expected} == expected


def test_the_results_table_is_the_published_one(page: Any, seed: str) -> None:
    rows = re.findall(r"<tr><td>(.*?)</td>(?=<tr>|</table>)", seed[seed.index("Results Table") :])
    expected = [
        [" ".join(cell.split()) for cell in re.split(r"</?td[^>]*>", row) if cell.strip()] for row in rows
    ]
    shown = [
        [" ".join(cell.inner_text().split()) for cell in row.locator("th, td").all()]
        for row in page.locator(".results tbody tr").all()
    ]
    assert len(expected) == 5
    assert shown == expected
    heads = [head.inner_text() for head in page.locator(".results thead th").all()]
    assert heads == ["Model", "Accuracy Target", "Server", "Offline", *["Metric", "Performance"] * 2]
