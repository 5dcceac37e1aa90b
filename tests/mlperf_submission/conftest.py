"""Logs to test against: short real LoadGen runs, and a published submission if it lies beside us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.benchmark.parts import Score
from mlperf_submission.compliance.audits import AuditRuns, audit_config, judge_audit
from mlperf_submission.errors import TreeError
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.submission.accuracy import write_accuracy_txt
from mlperf_submission.submission.accuracy_log import AccuracyLogEntry
from mlperf_submission.submission.description import REQUIRED
from mlperf_submission.submission.detail_log import DetailLog, read_detail
from mlperf_submission.submission.results import STREAMS
from mlperf_submission.tree.plan import AuditPlan, Calibration, ResultPlan, RunFolder, TreePlan
from mlperf_submission.tree.write import write_tree
from tests.conftest import ROOT
from tests.waiting import PATIENCE

CHILD = Path(__file__).with_name("loadgen_run.py")
RATE = 2000.0
AUDIT_RATE = 1950.0
SECONDS = 0.7
KINDS = (RunKind.PERFORMANCE, RunKind.ACCURACY, RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
EDGE_SCENARIOS = (Scenario.OFFLINE, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
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
    """v4.1: Offline and Server, each with a performance run, an accuracy run and all three audits."""
    root = tmp_path_factory.mktemp("corpus")
    return _measured(root, "v4.1", (Scenario.OFFLINE, Scenario.SERVER), KINDS, SECONDS)


@pytest.fixture(scope="session")
def edge_corpus(tmp_path_factory: pytest.TempPathFactory) -> RunCorpus:
    """v6.1: the scenarios of resnet50 in edge, each with its runs and the two audits that the round has."""
    return _measured(tmp_path_factory.mktemp("edge"), "v6.1", EDGE_SCENARIOS, KINDS[:4], 0.2)


def _measured(
    root: Path, round_name: str, scenarios: Iterable[Scenario], kinds: Iterable[RunKind], seconds: float
) -> RunCorpus:
    found = RunCorpus(root)
    for scenario in scenarios:
        for kind in kinds:
            folder = found.folder(scenario, kind)
            folder.mkdir(parents=True)
            if kind in (RunKind.TEST01, RunKind.TEST04):
                (folder / "audit.config").write_text(audit_config(kind, "resnet50"))
            rate = AUDIT_RATE if kind.is_audit and scenario is Scenario.SERVER else RATE
            command = [sys.executable, str(CHILD), scenario, kind, str(rate), str(seconds), round_name]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            subprocess.run(command, cwd=folder, check=True, timeout=PATIENCE, env=environment)
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


SYSTEM = "cpu_rehearsal"
DESCRIPTION: dict[str, str | int] = {
    **dict.fromkeys(REQUIRED, "N/A"),
    "division": "closed",
    "submitter": "Us",
    "system_type": "datacenter",
    "status": "available",
    "system_name": "A machine without a GPU",
    "number_of_nodes": 1,
    "accelerators_per_node": "0",
    "sw_notes": "",
}


@pytest.fixture
def description() -> dict[str, str | int]:
    """A complete description of the system that `plan_of` submits."""
    return dict(DESCRIPTION)


@pytest.fixture
def plan_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., TreePlan]:
    """A plan over copies of a corpus's runs; a change spoils one of them after it was judged, or before."""

    def make(
        *scenarios: Scenario,
        before: dict[tuple[Scenario, RunKind], Callable[[Path], None]] | None = None,
        after: dict[tuple[Scenario, RunKind], Callable[[Path], None]] | None = None,
        result: dict[str, Any] | None = None,
        **changes: Any,
    ) -> TreePlan:
        round_name = changes.get("round", "v4.1")
        corpus = request.getfixturevalue("corpus" if round_name == "v4.1" else "edge_corpus")
        runs = tmp_path / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        for scenario in scenarios or (Scenario.OFFLINE,):
            shutil.copytree(corpus.root / scenario, runs / scenario)
        for (scenario, kind), change in (before or {}).items():
            change(runs / scenario / kind)
        results = tuple(
            _result(runs / scenario, scenario, round_name, result or {})
            for scenario in scenarios or (Scenario.OFFLINE,)
        )
        for (scenario, kind), change in (after or {}).items():
            change(runs / scenario / kind)
        tuning = tmp_path / "tuning.yaml"
        tuning.write_text("name: cpu_rehearsal\n")
        values: dict[str, Any] = {
            "round": "v4.1",
            "submitter": "Us",
            "system": SYSTEM,
            "description": DESCRIPTION,
            "results": results,
            "project_version": "0.1.0",
            "tuning_file": tuning,
            "rehearsal": True,
        }
        return TreePlan(**{**values, **changes})

    return make


def _result(runs: Path, scenario: Scenario, round_name: str, changes: dict[str, Any]) -> ResultPlan:
    round_ = get_round(round_name)
    accuracy = RunFolder(kind=RunKind.ACCURACY, folder=runs / "accuracy")
    performance = RunFolder(kind=RunKind.PERFORMANCE, folder=runs / "performance")
    accuracy_txt = runs / "accuracy.txt"
    write_accuracy_txt(accuracy_txt, ("accuracy=100.000%, good=2000, total=2000",), accuracy.accuracy_log)
    audits = []
    for kind in round_.model("resnet50").audits:
        run = RunFolder(kind=kind, folder=runs / kind)
        sampled = kind is RunKind.TEST01
        verdict = judge_audit(
            kind,
            AuditRuns(
                read_detail(performance.detail),
                read_detail(run.detail),
                accuracy.accuracy_log if sampled else None,
                run.accuracy_log if sampled else None,
            ),
            round_=round_,
            benchmark="resnet50",
            response_dtype="int32",
            rehearsal=scenario in STREAMS,  # a latency of microseconds is as the machine pleases
        )
        audits.append(AuditPlan(run=run, verdict=verdict))
    values: dict[str, Any] = {
        "benchmark": "resnet50",
        "scenario": scenario,
        "implementation": "onnxruntime",
        "input_data_types": "int8",
        "starting_weights_filename": "resnet50.onnx",
        "weight_data_types": "int8",
        "weight_transformations": "quantization",
        "performance": performance,
        "accuracy": accuracy,
        "accuracy_txt": accuracy_txt,
        "audits": tuple(audits),
        "command": "mlperf-submission run rehearsal --models resnet50",
        "engine": ("backend: onnxruntime 1.32", "device: CPU"),
        "calibration": Calibration(method="INT8 by ONNX Runtime.", facts={"samples": "500"}),
    }
    return ResultPlan(**{**values, **changes})


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[TreePlan], str]:
    """Ask for a tree that must be refused, see that nothing of it was written, and return the reasons."""

    def ask(plan: TreePlan) -> str:
        root = tmp_path / "refused"
        with pytest.raises(TreeError) as caught:
            write_tree(plan, root)
        assert not root.exists(), "nothing may be written before everything is accepted"
        return str(caught.value)

    return ask


def share_of_right_labels(entries: Iterable[AccuracyLogEntry]) -> Score:
    """The corpus's ground truth: the label of sample i is i % 1000."""
    first: dict[int, bool] = {}
    for entry in entries:
        right = int.from_bytes(entry.data, "little") == entry.qsl_idx % 1000
        first.setdefault(entry.qsl_idx, right)
    good = sum(first.values())
    share = 100 * good / len(first)
    return Score({"acc": share}, (f"accuracy={share:.3f}%, good={good}, total={len(first)}",), len(first))


@pytest.fixture(scope="session")
def score_labels() -> Callable[[Iterable[AccuracyLogEntry]], Score]:
    """The accuracy script of the corpus."""
    return share_of_right_labels


@pytest.fixture(scope="session")
def write_log() -> Callable[[Path, Iterable[tuple[int, bytes]]], Path]:
    """Write an accuracy log of (sample index, response) as LoadGen does."""

    def write(path: Path, entries: Iterable[tuple[int, bytes]]) -> Path:
        rows = [
            f'{{ "seq_id" : {number}, "qsl_idx" : {index}, "data" : "{data.hex().upper()}" }}'
            for number, (index, data) in enumerate(entries)
        ]
        path.write_text("[\n" + ",\n".join(rows) + "\n]\n")
        return path

    return write
