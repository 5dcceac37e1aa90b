"""Logs to test against: short real LoadGen runs, and a published submission if it lies beside us."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlperf.audits import audit_config
from mlperf.logs import DetailLog, read_detail
from mlperf.rounds import RunKind, Scenario

CHILD = Path(__file__).with_name("loadgen_run.py")
RATE = 2000.0
AUDIT_RATE = 1950.0
SECONDS = 0.7
KINDS = (RunKind.PERFORMANCE, RunKind.ACCURACY, RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
LENOVO = Path(__file__).resolve().parents[3] / "shared" / "lenovo_v4.1" / "closed" / "Lenovo"


@dataclass(frozen=True)
class RunCorpus:
    """Folders of real runs, one per scenario and kind; they were made one after the other."""

    root: Path

    def folder(self, scenario: Scenario, kind: RunKind) -> Path:
        return self.root / scenario / kind

    def log(self, scenario: Scenario, kind: RunKind) -> DetailLog:
        return read_detail(self.folder(scenario, kind) / "mlperf_log_detail.txt")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> RunCorpus:
    """Offline and Server, each with a performance run, an accuracy run and all three audits."""
    found = RunCorpus(tmp_path_factory.mktemp("corpus"))
    for scenario in (Scenario.OFFLINE, Scenario.SERVER):
        for kind in KINDS:
            folder = found.folder(scenario, kind)
            folder.mkdir(parents=True)
            if kind in (RunKind.TEST01, RunKind.TEST04):
                (folder / "audit.config").write_text(audit_config(kind, "resnet50"))
            rate = AUDIT_RATE if kind.is_audit and scenario is Scenario.SERVER else RATE
            command = [sys.executable, str(CHILD), scenario, kind, str(rate), str(SECONDS)]
            subprocess.run(command, cwd=folder, check=True, timeout=60)
    return found


@dataclass(frozen=True)
class Published:
    """The published v4.1 submission of one system."""

    root: Path
    system: str = "SR650_V3_3xL40S_TRT"

    def results(self) -> list[tuple[str, Scenario]]:
        places = (self.root / "results" / self.system).glob("*/*")
        return sorted((place.parent.name, Scenario(place.name)) for place in places)

    def log(self, benchmark: str, scenario: Scenario, audit: str = "") -> DetailLog:
        section = "compliance" if audit else "results"
        folder = self.root / section / self.system / benchmark / scenario / audit
        return read_detail(folder / "performance" / "run_1" / "mlperf_log_detail.txt")

    def measurement(self, benchmark: str, scenario: Scenario, name: str) -> str:
        return (self.root / "measurements" / self.system / benchmark / scenario / name).read_text()


@pytest.fixture
def published() -> Published:
    if not LENOVO.is_dir():
        pytest.skip(f"the published submission is not there: {LENOVO}")
    return Published(LENOVO)


@pytest.fixture
def fake_log() -> Callable[..., DetailLog]:
    """A detail log with just these values."""

    def make(**values: object) -> DetailLog:
        return DetailLog(Path("mlperf_log_detail.txt"), values)

    return make
