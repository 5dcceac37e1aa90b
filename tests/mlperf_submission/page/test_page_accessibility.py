"""axe-core, in a real browser, finds nothing to complain about: light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.page.evidence import PageEvidence, Probe, ResultEvidence
from mlperf_submission.page.fleet import write_fleet
from mlperf_submission.page.system_page import write_page
from mlperf_submission.rounds import Scenario
from mlperf_submission.validation import Failure, Verdict


@pytest.fixture
def pages(make_tree: Callable[..., Path], tmp_path: Path) -> dict[str, Path]:
    """A rehearsal with everything that a page can show, and a fleet page."""
    tree = make_tree("rehearsal_4")
    make_tree("server_4")
    path = "closed/Acme/results/rehearsal_4/resnet50/Server"
    verdict = Verdict(
        round="v4.1",
        ok=False,
        results=(),
        failures=(
            Failure(rule="P-07", severity="error", path=path, message="too short", remedy="run longer"),
            Failure(rule="+X", severity="warning", path=path, message="odd", remedy="look"),
        ),
    )
    evidence = PageEvidence(
        notice="Run by ONNX Runtime",
        results=(
            ResultEvidence(
                benchmark="resnet50",
                scenario=Scenario.SERVER,
                probes=(Probe(target_qps=10, latency_ns=5e6, valid=True),),
            ),
        ),
    )
    return {
        "system": write_page(
            tree,
            "rehearsal_4",
            tmp_path / "page",
            round_name="v4.1",
            verdict=verdict,
            evidence=evidence,
            compare_trees=[tree],
        ),
        "fleet": write_fleet(tree, tmp_path / "fleet", round_name="v4.1", verdict=verdict),
    }


@pytest.mark.parametrize("name", ["system", "fleet"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_violation(
    pages: dict[str, Path], visit: Callable[..., Any], name: str, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(pages[name], color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.run(page).response["violations"]
    assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


def test_axe_finds_no_violation_in_the_model_system(
    lenovo: Path, tmp_path: Path, visit: Callable[..., Any]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(write_page(lenovo, "SR650_V3_3xL40S_TRT", tmp_path, round_name="v4.1"))
    found = axe.run(page).response["violations"]
    assert [(one["id"], one["impact"]) for one in found] == []
