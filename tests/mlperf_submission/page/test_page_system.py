"""What a system's page shows beyond the published one: evidence, verdict, places, comparisons, rehearsals."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mlperf_submission.errors import SettingError, TreeError
from mlperf_submission.page.compare import neighbours_in
from mlperf_submission.page.evidence import (
    EngineEvidence,
    Fact,
    Link,
    PageEvidence,
    Probe,
    ResultEvidence,
    ThroughputPoint,
    TimelineStep,
)
from mlperf_submission.page.read import find_system, read_system
from mlperf_submission.page.system_page import write_page
from mlperf_submission.rounds import Scenario
from mlperf_submission.tree.plan import TreePlan
from mlperf_submission.tree.write import write_tree
from mlperf_submission.validation import Failure, ResultVerdict, Verdict
from tests.mlperf_submission.conftest import EDGE_SCENARIOS

MakeTree = Callable[..., Path]


def _page(tree: Path, out: Path, system: str = "server_4", **options: Any) -> str:
    return write_page(tree, system, out, round_name="v4.1", **options).read_text(encoding="utf-8")


def _verdict(*failures: Failure, results: tuple[ResultVerdict, ...] = ()) -> Verdict:
    errors = any(one.severity == "error" for one in failures)
    return Verdict(round="v4.1", ok=not errors, results=results, failures=failures)


def _failure(path: str, severity: Any = "error") -> Failure:
    return Failure(rule="P-07", severity=severity, path=path, message=f"wrong: {path}", remedy="run it again")


def _evidence() -> PageEvidence:
    begin = datetime(2026, 1, 2, 3, tzinfo=UTC)
    return PageEvidence(
        run_id="run-17",
        s3_address="s3://mlperf/run-17",
        manifest=Link(label="manifest.json", href="https://s3.example/mlperf/run-17/manifest.json"),
        notice="Run by ONNX Runtime on the CPU",
        results=(
            ResultEvidence(
                benchmark="resnet50",
                scenario=Scenario.SERVER,
                batch_size=8,
                notice="engine kept as artifact",
                engine=EngineEvidence(
                    title="TensorRT 10.2.0, INT8",
                    sha256="ab" * 32,
                    measured=False,
                    facts=(Fact(label="Compute capability", value="8.9"),),
                ),
                links=(
                    Link(label="engine record", href="../engine.json"),
                    Link(label="x", href="javascript:1"),
                ),
                throughput=tuple(ThroughputPoint(seconds=at, samples=100 + at) for at in range(1, 9)),
                probes=(
                    Probe(target_qps=800, latency_ns=9e6, valid=True),
                    Probe(target_qps=1200, latency_ns=30e6, valid=False),
                ),
            ),
        ),
        timeline=(
            TimelineStep(name="download", start=begin, end=begin + timedelta(seconds=5)),
            TimelineStep(
                name="Server",
                start=begin + timedelta(seconds=65),
                end=begin + timedelta(seconds=75),
                kind="measure",
            ),
        ),
    )


def test_each_number_links_to_the_line_that_it_was_read_from(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree()
    data = read_system(tree, find_system(tree, "server_4"), "v4.1")
    for result in data.results:
        assert result.place is not None and result.place.line is not None
        line = (tree / result.place.path).read_text().splitlines()[result.place.line - 1]
        assert f'"{result.place.key}"' in line
        assert str(result.value) in line
    out = tmp_path / "out" / "page"
    hrefs = re.findall(r'class="source" href="([^"#]+)', _page(tree, out))
    assert len(hrefs) > 4
    assert all((out / href).resolve().is_file() for href in hrefs)


def test_accuracy_stands_beside_its_target_with_the_margin(
    make_tree: MakeTree, tmp_path: Path, scenario: Any
) -> None:
    values = {"result_samples_per_second": 10}
    reached = _page(make_tree(results=(scenario(values=values),)), tmp_path / "a")
    assert (
        "76.1" in reached and "75.6954" in reached and "+0.53 %" in reached and "accuracy reached" in reached
    )
    below = make_tree("low", results=(scenario(values=values, accuracy="accuracy=75.000%, good=1\n"),))
    assert "accuracy below target" in (page := _page(below, tmp_path / "b", "low"))
    assert "\u22120.92 %" in page


def test_the_verdict_names_what_concerns_the_system_and_its_remedies(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    mine = "closed/Acme/results/server_4/resnet50/Server/performance"
    verdict = _verdict(
        _failure("closed/Acme/systems/server_4.json", "warning"),
        _failure(mine),
        _failure("closed/Acme/results/server_5/resnet50/Offline"),
        _failure("closed/Other/results/server_4/resnet50/Offline"),
    )
    page = _page(make_tree(), tmp_path / "out", verdict=verdict)
    assert "Refused" in page and f"wrong: {mine}" in page and "run it again" in page
    assert "server_5" not in page and "closed/Other" not in page
    assert page.index(f"wrong: {mine}") < page.index("wrong: closed/Acme/systems/server_4.json")


def test_the_same_finding_in_many_places_is_said_once(make_tree: MakeTree, tmp_path: Path) -> None:
    places = [f"closed/Acme/compliance/server_4/resnet50/Server/TEST0{at}" for at in (1, 4, 5)]
    failures = [
        Failure(
            rule="P-06", severity="warning", path=place, message=f"too short ({place[-6:]})", remedy="longer"
        )
        for place in places
    ]
    page = _page(make_tree(), tmp_path / "out", verdict=_verdict(*failures))
    section = page[page.index('id="verdict"') : page.index('id="evidence"')]
    assert section.count("too short") == 1 and "In 3 places" in section
    assert all(place in section for place in places)
    assert "3 warnings of the validation" in page, "and at the result that it concerns"


def test_errors_of_other_systems_do_not_refuse_this_one(make_tree: MakeTree, tmp_path: Path) -> None:
    verdict = _verdict(_failure("closed/Acme/results/server_5/resnet50/Offline"))
    page = _page(make_tree(), tmp_path / "out", verdict=verdict)
    assert "Accepted" in page and "Other systems of the tree have 1 error." in page
    assert "Not validated" in _page(make_tree(), tmp_path / "out")


def test_evidence_of_the_flow_is_shown_and_only_safe_links_are_links(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    page = _page(make_tree(), tmp_path / "out", evidence=_evidence())
    for text in (
        "run-17",
        "Run by ONNX Runtime on the CPU",
        "kept as an artifact",
        "ab" * 32,
        "engine record",
    ):
        assert text in page
    assert 'href="https://s3.example/mlperf/run-17/manifest.json"' in page
    assert 'href="../engine.json"' in page
    assert 'href="javascript' not in page
    assert "s3://mlperf/run-17/closed/Acme/results/server_4/resnet50/Server/accuracy/accuracy.txt" in page
    assert "60.0 s from 2026-01-02 03:00:05 UTC" in page, "the gap between the steps"


def test_sources_of_the_description_and_warnings_are_shown(make_tree: MakeTree, tmp_path: Path) -> None:
    evidence = PageEvidence(
        warnings=("it logged 2 devices",), field_sources=(Fact(label="framework", value="read: importlib"),)
    )
    page = _page(make_tree(), tmp_path / "out", evidence=evidence)
    assert "it logged 2 devices" in page
    assert "<bdi>TensorRT 10.2.0</bdi>" in page and page.count("read: importlib") == 1


def test_pictures_are_well_formed_and_say_in_words_what_they_show(
    make_tree: MakeTree, tmp_path: Path
) -> None:
    page = _page(make_tree(), tmp_path / "out", evidence=_evidence())
    titles = []
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        root = ElementTree.fromstring(svg)  # noqa: S314 - our own page
        title, summary = (root.find(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc"))
        assert title is not None and title.text and summary is not None and summary.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {summary.get('id')}"
        titles.append(title.text)
    assert titles == [
        "Latency by percentile, resnet Server",
        "Throughput over time, resnet Server",
        "Probes of the search, resnet Server",
        "Server result as a share of Offline",
        "Where the wall time went",
    ]
    assert "p99 12 ms; max 21 ms; mean 4 ms; limit 15 ms at 99%" in page


def test_without_evidence_the_time_line_is_read_from_the_logs(make_tree: MakeTree, tmp_path: Path) -> None:
    page = _page(make_tree(), tmp_path / "out")
    assert "power_end (UTC) and the times of the messages" in page
    assert "2026-01-02 03:04:05 UTC" in page


def test_a_comparison_is_per_accelerator_and_says_what_differs(make_tree: MakeTree, tmp_path: Path) -> None:
    make_tree("before", description={"accelerators_per_node": 4, "framework": "TensorRT 9.0"})
    tree = make_tree()
    page = _page(tree, tmp_path / "out", compare_trees=[tree])
    section = page[page.index('id="comparison"') : page.index('id="system"')]
    assert "617.25" in section and "308.625" in section and "+100.0 %" in section
    assert "TensorRT 10.2.0" in section and "TensorRT 9.0" in section
    assert "The same in both: Accelerator, Nodes." in section


def test_neighbours_are_the_systems_with_the_same_accelerator(make_tree: MakeTree) -> None:
    make_tree("alike")
    make_tree("other", description={"accelerator_model_name": "NVIDIA H200"})
    tree = make_tree()
    mine = read_system(tree, find_system(tree, "server_4"), "v4.1")
    assert [other.system for _, other in neighbours_in(tree, mine)] == ["alike"]


def test_another_tree_with_the_same_system_is_a_run_of_it(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree()
    before = tmp_path / "before"
    shutil.copytree(tree, before)
    page = _page(tree, tmp_path / "out", compare_trees=[before])
    assert "<bdi>The same system</bdi>" in page and "what differs (0 things)" in page


def test_the_data_beside_the_page_is_the_page_s(make_tree: MakeTree, tmp_path: Path) -> None:
    _page(make_tree(), tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["scenario"], row["value"], row["units"]) for row in rows] == [
        ("Server", "1000.25", "Queries/s"),
        ("Offline", "1234.5", "Samples/s"),
    ]
    content = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert content["systems"][0]["results"][0]["latency_ns"]["p99"] == 12_000_000
    assert content["systems"][0]["verdict"] == "not validated"


@pytest.mark.parametrize("how", ["name", "evidence", "verdict"])
def test_a_rehearsal_says_so_at_the_top(make_tree: MakeTree, tmp_path: Path, how: str) -> None:
    tree = make_tree("rehearsal_box") if how == "name" else make_tree("box")
    options: dict[str, Any] = {}
    if how == "evidence":
        options["evidence"] = PageEvidence(rehearsal=True)
    if how == "verdict":
        options["verdict"] = Verdict(round="v4.1", ok=True, results=(), failures=(), rehearsal=True)
    page = _page(tree, tmp_path / "out", "rehearsal_box" if how == "name" else "box", **options)
    assert page.index("<strong>REHEARSAL</strong>") < page.index("<h1>")
    assert "<title>REHEARSAL" in page


def test_a_result_has_no_rehearsal_banner(make_tree: MakeTree, tmp_path: Path) -> None:
    assert "<strong>REHEARSAL</strong>" not in _page(make_tree(), tmp_path / "out")


def test_the_banner_stays_on_every_screen_and_every_printed_page(
    make_tree: MakeTree, tmp_path: Path, visit: Callable[..., Any]
) -> None:
    tree = make_tree("rehearsal_box")
    page = visit(write_page(tree, "rehearsal_box", tmp_path / "out", round_name="v4.1"))
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    box = page.locator(".rehearsal").bounding_box()
    assert box["y"] == 0 and box["height"] > 20

    pdf = tmp_path / "page.pdf"
    page.pdf(path=pdf, prefer_css_page_size=True, print_background=True)
    try:
        text = subprocess.run(
            ["pdftotext", "-layout", pdf, "-"], capture_output=True, check=True
        ).stdout.decode()
    except FileNotFoundError:
        pytest.skip("pdftotext is not installed (on Debian: apt-get install poppler-utils)")
    sheets = text.split("\f")[:-1]
    assert len(sheets) > 1
    assert all("REHEARSAL" in sheet for sheet in sheets)


def test_the_page_fits_a_telephone(make_tree: MakeTree, tmp_path: Path, visit: Callable[..., Any]) -> None:
    path = write_page(make_tree(), "server_4", tmp_path / "out", round_name="v4.1", evidence=_evidence())
    page = visit(path, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_what_is_damaged_is_said_and_the_rest_is_shown(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree()
    results = tree / "closed/Acme/results/server_4/resnet50"
    (results / "Server/performance/run_1/mlperf_log_detail.txt").write_text(':::MLLOG {"key": \n')
    (results / "Offline/accuracy/accuracy.txt").unlink()
    (tree / "closed/Acme/systems/server_4.json").write_text("{")
    page = _page(tree, tmp_path / "out")
    assert "is no LoadGen message" in page
    assert "accuracy.txt: the file is missing" in page
    assert "description cannot be read" in page
    assert "1" in page and "234.5" in page, "the Offline result is still there"


def test_a_link_out_of_the_tree_is_not_followed(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree()
    secret = tmp_path / "secret.json"
    secret.write_text('{"system_name": "not yours"}')
    description = tree / "closed/Acme/systems/server_4.json"
    description.unlink()
    description.symlink_to(secret)
    page = _page(tree, tmp_path / "out")
    assert "not yours" not in page and "the system has no description" in page


def test_unknown_names_are_refused_with_the_known_ones(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree()
    with pytest.raises(SettingError, match="closed/Acme/server_4"):
        _page(tree, tmp_path, "server_9")
    with pytest.raises(TreeError):
        _page(tmp_path / "nothing", tmp_path, "server_4")
    make_tree(submitter="Other")
    with pytest.raises(SettingError, match="closed/Other/server_4"):
        _page(tree, tmp_path, "server_4")
    assert "Acme" in _page(tree, tmp_path / "out", "closed/Acme/server_4")


def test_an_error_has_its_cause_and_what_is_done_again(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree()
    path = "closed/Acme/results/server_4/resnet50/Server/performance/run_1/mlperf_log_detail.txt"
    page = _page(tree, tmp_path / "refused", verdict=_verdict(_failure(path)))
    assert "The run was not made with the settings of the round" in page
    assert "<span>Done again</span> <bdi>performance, accuracy, audits" in page
    accepted = _page(tree, tmp_path / "accepted", verdict=_verdict(_failure(path, "warning")))
    assert "Done again" not in accepted


def test_the_page_of_an_edge_system_of_v6_1_shows_latencies(
    plan_of: Callable[..., TreePlan], description: dict[str, str | int], tmp_path: Path
) -> None:
    fields = {**description, "system_type": "edge"}
    plan = plan_of(*EDGE_SCENARIOS, round="v6.1", system_type="edge", description=fields)
    write_tree(plan, tmp_path / "tree")
    found = read_system(tmp_path / "tree", find_system(tmp_path / "tree", "cpu_rehearsal"), "v6.1")
    assert {one.scenario.value: one.units for one in found.results} == {
        "SingleStream": "Latency (ms)",
        "MultiStream": "Latency (ms)",
        "Offline": "Samples/s",
    }
    assert all(one.value for one in found.results)
    assert found.scenarios == (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM, Scenario.OFFLINE)
    page = write_page(tmp_path / "tree", "cpu_rehearsal", tmp_path / "page", round_name="v6.1")
    assert "MultiStream" in page.read_text(encoding="utf-8")
