"""`--weights random`: a full network is built and timed, and nothing of it gets into a submission."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from mlperf_submission.config.system import System, load_system
from mlperf_submission.errors import TreeError
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from mlperf_submission.rounds import Scenario
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.store.store import Store
from tasks.engine.perform import perform
from tasks.package import Measured, package
from tasks.random_network import weights_of
from tasks.upload import upload
from tasks.workspace import Workspace
from tests.conftest import PROGRAM, ROOT, Command, hear_ctrl_c, shell
from tests.planned import done_steps, left_to_do


@dataclass(frozen=True)
class RandomRun:
    """A run with random weights of ResNet-50, Offline on the CPU: its system file and what it printed.

    `planned` is what the plan had to do before.
    """

    file: Path
    workspace: Workspace
    output: str
    planned: set[tuple[str, str]]

    @property
    def system(self) -> System:
        return load_system(str(self.file))

    def record(self, step: str) -> StepRecord:
        return next(record for record in self.workspace.cache.records() if record.step == step)


@pytest.fixture(scope="module")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> RandomRun:
    place = tmp_path_factory.mktemp("random-weights")
    content = yaml.safe_load((ROOT / "deployments" / "systems" / "rehearsal.yaml").read_text())
    content["backend"] = "onnxruntime"
    content["rehearsal_seconds"] = 0.5
    resnet = {
        "precision": "int8",
        "mini_samples": 16,
        "performance_sample_count": 16,
        "Offline": {"batch_size": 4, "target_qps": 100},
    }
    content["benchmarks"] = {"resnet50": resnet}
    file = place / "system.yaml"
    file.write_text(yaml.safe_dump(content))
    hear_ctrl_c()
    planned = left_to_do(place / "work", file, weights="random")
    done = shell(str(PROGRAM), "run", str(file), "--weights", "random", "--work", str(place / "work"))
    assert done.returncode == 0, done.stdout + done.stderr
    return RandomRun(file, Workspace.at(place / "work"), done.stdout, planned)


def test_the_plan_is_what_it_does_and_then_nothing_is_left(random_run: RandomRun) -> None:
    assert done_steps(random_run.output) == random_run.planned
    assert left_to_do(random_run.workspace.root, random_run.file, weights="random") == set()


def test_it_prints_what_building_took_and_that_nothing_is_a_result(random_run: RandomRun) -> None:
    assert "RANDOM WEIGHTS, NOT A RESULT: rehearsal" in random_run.output
    line = next(line for line in random_run.output.splitlines() if "│ resnet50 " in line)
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert re.fullmatch(r"int8, 2\d\.\d MB", cells[1])
    assert all(re.fullmatch(r"[\d.]+ s", cells[place]) for place in (2, 4))
    assert all(re.fullmatch(r"[\d.]+ [MG]B", cells[place]) for place in (3, 5, 6, 7))
    assert re.fullmatch(r"Offline [\d.]+ Samples/s", cells[8])


def test_the_engine_is_the_full_networks_and_lies_where_it_says(random_run: RandomRun) -> None:
    engine = random_run.workspace.random_weights("rehearsal") / "resnet50" / "engine.plan"
    assert str(engine.parent.parent) in random_run.output
    info = EngineInfo.model_validate_json(EngineInfo.path(engine).read_text())
    assert (info.compute_capability, info.precision, info.max_batch_size) == ("8.9", "int8", 4)
    assert engine.stat().st_size > 25_000_000


def test_every_step_behind_the_network_says_so_in_its_record(random_run: RandomRun) -> None:
    for step in ("random_network", "quantize", "build_engine", "performance"):
        record = random_run.record(step)
        assert weights_of(record) == "random"
        assert record.label.endswith(", random weights")
    assert weights_of(random_run.record("preprocess")) == "trained"


def test_it_leaves_no_tree_no_page_and_nothing_in_the_store(random_run: RandomRun) -> None:
    root = random_run.workspace.root
    assert not (root / "submissions").exists()
    assert not (root / "s3").exists()
    assert {path.name for path in (root / "cache").iterdir()}.isdisjoint({"package", "report", "accuracy"})


def test_it_can_be_neither_packaged_nor_uploaded(random_run: RandomRun, tmp_path: Path) -> None:
    performance = random_run.record("performance")
    trained = performance.model_copy(update={"inputs": {}})
    for part in ("performance", "quantized", "engine"):
        parts = {"performance": trained, "quantized": trained, "engine": trained, part: performance}
        measured = Measured(
            benchmark="resnet50",
            scenario=Scenario.OFFLINE,
            precision="int8",
            backend="onnxruntime",
            network_file="resnet50.onnx",
            accuracy=trained,
            audits={},
            batch_size=4,
            **parts,
        )
        with pytest.raises(TreeError, match="made from random weights, which are never a result"):
            perform(random_run.workspace, package("sys", random_run.system, False, [measured]))
        store = Store("mlperf", endpoint_url="http://127.0.0.1:9")
        with pytest.raises(TreeError, match="random weights"):
            perform(
                random_run.workspace, upload("sys", random_run.system, "run", {}, [measured], [], store, [])
            )
    assert not (random_run.workspace.root / "cache" / "package").exists()


def test_a_plan_names_only_what_random_weights_need(command: Command, random_run: RandomRun) -> None:
    arguments = (str(random_run.file), "--weights", "random", "--work", str(random_run.workspace.root))
    done = command("plan", *arguments)
    assert done.returncode == 0, done.stderr
    assert "random_network" in done.stdout
    assert not {"accuracy", "test01", "package", "upload"} & set(done.stdout.split())
    assert "8 of 8 steps finished" in done.stdout


def test_no_target_is_searched_with_random_weights(command: Command) -> None:
    done = command("plan", "rehearsal", "--weights", "random", "--find-server-qps")
    assert done.returncode == 2
    assert "not searched with random weights" in done.stderr


@pytest.mark.parametrize("arguments", [("--layers", "2"), ("--layers", "0", "--weights", "random")])
def test_layers_count_for_random_weights_alone(command: Command, arguments: tuple[str, ...]) -> None:
    done = command("plan", "rehearsal", *arguments)
    assert done.returncode == 2
    assert "layers" in done.stderr and ("only with" in done.stderr or "greater than" in done.stderr)
