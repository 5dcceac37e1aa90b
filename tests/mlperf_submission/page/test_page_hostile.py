"""Names and texts that somebody else wrote are shown, and do nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from mlperf_submission.page.evidence import PageEvidence, ResultEvidence
from mlperf_submission.page.links import safe_href
from mlperf_submission.page.svg import Drawing
from mlperf_submission.page.system_page import write_page
from mlperf_submission.page.text import clean, table_cell
from mlperf_submission.rounds import Scenario
from mlperf_submission.validation import Failure, Verdict

SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
RIGHT_TO_LEFT = "نظام الاختبار ١٢٣ (L40S)"


def test_markup_in_names_is_text(
    make_tree: Callable[..., Path], tmp_path: Path, visit: Callable[..., Any]
) -> None:
    tree = make_tree(
        "evil_4",
        submitter="Acme & <b>Sons",
        description={
            "system_name": SCRIPT,
            "submitter": "\u202eevil\u0000",
            "framework": "</style><style>body{display:none}</style>",
            "operating_system": "x" * 5000,
            "hw_notes": RIGHT_TO_LEFT,
            "cooling": "",
            "other_<i>field</i>": ["a", {"b": "</td>"}],
        },
    )
    verdict = Verdict(
        round="v4.1",
        ok=False,
        results=(),
        failures=(
            Failure(
                rule="<u>", severity="error", path="closed", message=SCRIPT, remedy="</main><h1>gone</h1>"
            ),
        ),
    )
    evidence = PageEvidence(
        notice=SCRIPT,
        results=(ResultEvidence(benchmark="resnet50", scenario=Scenario.OFFLINE, notice=SCRIPT),),
    )
    path = write_page(tree, "evil_4", tmp_path / "out", round_name="v4.1", verdict=verdict, evidence=evidence)
    page = visit(path, viewport={"width": 390, "height": 800})
    assert page.locator("h1").count() == 1
    assert page.locator("h1").inner_text() == SCRIPT
    assert page.locator("script, img, b, u, i:not(.key), style").count() == 1, "only our own style sheet"
    assert page.locator("#tester").inner_text() == "\ufffdevil\ufffd"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("bdi", has_text=RIGHT_TO_LEFT).count() == 1
    assert page.locator("footer").is_visible()


def test_the_page_lets_nothing_run_or_load(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    page = write_page(make_tree(), "server_4", tmp_path / "out", round_name="v4.1").read_text(
        encoding="utf-8"
    )
    policy = page.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert "default-src &#39;none&#39;" in policy and "script-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert "<script" not in page and " style=" not in page and " onclick=" not in page


@settings(deadline=None)
@given(st.text())
def test_any_text_makes_a_well_formed_picture(text: str) -> None:
    drawing = Drawing("name", 10, 10, text, text)
    drawing.text(0, 0, text)
    drawing.box(0, 0, 1, 1, "bar", text)
    ElementTree.fromstring(str(drawing.markup()).encode("utf-8"))  # noqa: S314 - our own drawing


@settings(deadline=None)
@given(st.text())
def test_clean_text_can_be_written_and_cleaned_again(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned
    if text.isascii() and text.isprintable():
        assert cleaned == text.strip()


@settings(deadline=None)
@given(st.text())
def test_only_web_and_relative_addresses_are_links(address: str) -> None:
    href = safe_href(address)
    assert href is None or href.startswith(("http://", "https://")) or ":" not in href.split("/")[0]


def test_addresses_that_run_or_read_are_not_links() -> None:
    hostile = [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:x",
        "java\nscript:x",
        "vbscript:x",
        "",
    ]
    for address in [*hostile, "data:text/html,x", "file:///etc/passwd", "//evil.example", "s3://bucket/key"]:
        assert safe_href(address) is None, address
    assert safe_href("https://example.org/a?b") and safe_href("../a/b.txt") and safe_href("a b.txt")


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("=+-@\t\r1a'\",\n"), max_size=8))
def test_no_cell_is_a_formula(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([table_cell(text), "x"])
    cell = next(csv.reader(io.StringIO(stream.getvalue(), newline="")))[0]
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
