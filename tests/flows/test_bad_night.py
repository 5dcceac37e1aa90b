"""One result that fails does not cost the others: what is delivered, what is said, what comes next."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import yaml

from mlperf_submission import rounds
from mlperf_submission.harness import settings
from mlperf_submission.rounds import Round
from tests.conftest import Rehearsal, shell
from tests.flows.short_round import FEW_QUERIES, short
from tests.mlperf_submission.validation.sample_official import checkout
from tests.planned import done_steps, left_to_do, shown_steps
from tests.small_system import prepared_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-night")


REFUSES = 'log.error("closed/Rehearsal is refused"); log.error("SUMMARY: submission has errors"); sys.exit(1)'
"""Of a stand-in for the official checker."""
ENDS_TOO_EARLY, LASTS = 1, 40_000
"""Targets of Offline whose run is too short, or long enough, on any machine: of 1 and of 8,800 samples."""


def system_file(folder: Path, rehearsal_file: Path, *, offline_qps: float) -> Path:
    """Write a system of resnet50 with a target for Offline."""
    content = yaml.safe_load(rehearsal_file.read_text())
    resnet50 = content["benchmarks"]["resnet50"]
    resnet50["Offline"]["target_qps"] = offline_qps
    resnet50["Server"]["target_qps"] = 125
    content["official_checker"] = str(folder / "inference")
    path = folder / "system.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return shell(
        sys.executable,
        *("-m", "tests.flows.short_round", "run", str(folder / "system.yaml"), "--full-length"),
        *("--work", str(folder / "work"), *arguments),
    )


def test_the_others_are_delivered_and_the_same_command_measures_only_what_is_missing(
    rehearsal: Rehearsal, folder: Path, rehearsal_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared_folder(folder / "work", rehearsal.work)
    checkout(folder / "inference", REFUSES)
    system_file(folder, rehearsal_file, offline_qps=ENDS_TOO_EARLY)
    night = run(folder)
    assert night.returncode == 1, night.stdout + night.stderr
    # Measured, packaged, judged, uploaded: Server.
    assert {("performance", "resnet50 Server"), ("upload", "rehearsal")} <= done_steps(night.stdout)
    # Said: what failed, why, and what to do.
    failed = [label for mark, _, label in shown_steps(night.stdout) if mark == "✗"]
    assert failed.count("resnet50 Offline") == 3, "it is tried thrice"
    assert (
        "1 of 2 results are missing: resnet50/Offline: the performance of resnet50 Offline is INVALID: "
        in (night.stderr)
    )
    assert "the run is too short" in night.stderr
    assert "the same command measures only what is missing" in night.stderr
    (manifest,) = (folder / "work" / "s3" / "mlperf" / "rehearsals").rglob("manifest.json")
    stored = json.loads(manifest.read_text())
    assert stored["lacks"] == ["resnet50/Offline"]
    assert any(file["path"].startswith("evidence/resnet50/Server/performance/") for file in stored["files"])
    # Beside it stands what the official checker says.
    assert "refused by the official checker: 0 of 0 results, 1 errors" in night.stdout
    assert any(file["path"] == "official/official.json" for file in stored["files"])
    (page,) = (folder / "work" / "submissions").glob("*/*/page/index.html")
    assert "refused by the official checker: 0 of 0 results, 1 errors" in page.read_text()

    system_file(folder, rehearsal_file, offline_qps=LASTS)
    monkeypatch.setitem(cast("dict[str, Round]", rounds.ROUNDS), "v4.1", short(rounds.ROUNDS["v4.1"]))
    monkeypatch.setattr(settings, "MIN_QUERIES", FEW_QUERIES)
    planned = left_to_do(folder / "work", folder / "system.yaml", full_length=True)
    again = run(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert done_steps(again.stdout) == planned
    assert not any("Server" in label for _, label in planned)
    assert ("performance", "resnet50 Offline") in planned
    assert "2 of 2 results, 0 errors" in again.stdout
