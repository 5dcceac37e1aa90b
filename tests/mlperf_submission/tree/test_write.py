"""The official tree, written whole from real runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.errors import TreeError
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission import conf
from mlperf_submission.submission.accuracy import truncated
from mlperf_submission.submission.description import REQUIRED
from mlperf_submission.submission.detail_log import read_detail
from mlperf_submission.submission.round import round_of
from mlperf_submission.tree.plan import CodeSource, TreePlan
from mlperf_submission.tree.write import write_tree
from mlperf_submission.validation import validate_tree
from tests.mlperf_submission.conftest import EDGE_SCENARIOS

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
AUDITS = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
SYSTEM = "cpu_rehearsal"


def paths_of(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scenario", [OFFLINE, SERVER])
def test_the_tree_is_the_official_layout(
    plan_of: Callable[..., TreePlan], tmp_path: Path, scenario: Scenario
) -> None:
    files = write_tree(plan_of(scenario), tmp_path / "tree")
    place = f"{SYSTEM}/resnet50/{scenario}"
    logs = {"mlperf_log_detail.txt", "mlperf_log_summary.txt"}
    accuracy = {"mlperf_log_accuracy.json", "accuracy.txt"}
    wanted = {
        f"systems/{SYSTEM}.json",
        "documentation/calibration.md",
        "code/resnet50/onnxruntime/README.md",
        f"code/resnet50/onnxruntime/{SYSTEM}.yaml",
        *(
            f"measurements/{place}/{name}"
            for name in (
                f"{SYSTEM}_onnxruntime_{scenario}.json",
                "user.conf",
                "mlperf.conf",
                "README.md",
                "calibration_process.adoc",
            )
        ),
        *(f"results/{place}/performance/run_1/{name}" for name in logs),
        *(f"results/{place}/accuracy/{name}" for name in logs | accuracy),
        *(f"compliance/{place}/{kind}/performance/run_1/{name}" for kind in AUDITS for name in logs),
        *(f"compliance/{place}/{kind}/verify_performance.txt" for kind in AUDITS),
        f"compliance/{place}/TEST01/verify_accuracy.txt",
        *(f"compliance/{place}/TEST01/accuracy/{name}" for name in accuracy),
    }
    assert paths_of(tmp_path / "tree") == {f"closed/Us/{path}" for path in wanted}
    assert [file.path for file in files] == sorted(f"closed/Us/{path}" for path in wanted)
    assert all((tmp_path / "tree" / file.path).read_bytes() for file in files)


@pytest.fixture
def edge_plan(plan_of: Callable[..., TreePlan], description: dict[str, Any]) -> TreePlan:
    """resnet50 in edge in v6.1, whole."""
    return plan_of(
        *EDGE_SCENARIOS, round="v6.1", system_type="edge", description={**description, "system_type": "edge"}
    )


def test_from_v6_0_on_a_result_has_its_measurements_and_audits_beside_it(
    edge_plan: TreePlan, tmp_path: Path
) -> None:
    write_tree(edge_plan, tmp_path / "tree")
    logs = {"mlperf_log_detail.txt", "mlperf_log_summary.txt"}
    accuracy = {"mlperf_log_accuracy.json", "accuracy.txt"}
    of_a_result = {
        *("measurements.json", "user.conf", "mlperf.conf", "README.md", "calibration_process.adoc"),
        *(f"performance/run_1/{name}" for name in logs),
        *(f"accuracy/{name}" for name in logs | accuracy),
        *(f"{kind}/performance/run_1/{name}" for kind in ("TEST01", "TEST04") for name in logs),
        *(f"{kind}/verify_performance.txt" for kind in ("TEST01", "TEST04")),
        "TEST01/verify_accuracy.txt",
        *(f"TEST01/accuracy/{name}" for name in accuracy),
    }
    wanted = {
        f"systems/{SYSTEM}.json",
        "documentation/calibration.md",
        "src/resnet50/onnxruntime/README.md",
        f"src/resnet50/onnxruntime/{SYSTEM}.yaml",
        *(
            f"results/{SYSTEM}/resnet50/{scenario}/{name}"
            for scenario in EDGE_SCENARIOS
            for name in of_a_result
        ),
    }
    assert paths_of(tmp_path / "tree") == {f"closed/Us/{path}" for path in wanted}


def test_a_tree_of_v6_1_in_edge_breaks_no_rule_but_those_of_length(
    edge_plan: TreePlan, tmp_path: Path
) -> None:
    write_tree(edge_plan, tmp_path / "tree")
    assert round_of(tmp_path / "tree") == "v6.1"
    verdict = validate_tree(tmp_path / "tree", "v6.1", rehearsal=True)
    assert verdict.errors == ()
    assert {one.scenario: (one.ok, one.units) for one in verdict.results} == {
        "Offline": (True, "Samples/s"),
        "SingleStream": (True, "Latency (ms)"),
        "MultiStream": (True, "Latency (ms)"),
    }
    assert all(one.value for one in verdict.results)


def test_the_conf_files_of_a_stream_name_its_expected_latency(edge_plan: TreePlan, tmp_path: Path) -> None:
    write_tree(edge_plan, tmp_path / "tree")
    for scenario in EDGE_SCENARIOS[1:]:
        place = tmp_path / "tree" / "closed" / "Us" / "results" / SYSTEM / "resnet50" / scenario
        user, mlperf = ((place / name).read_text() for name in ("user.conf", "mlperf.conf"))
        assert f"*.{scenario}.target_latency = 0.002\n" in user
        log = read_detail(place / "performance" / "run_1" / "mlperf_log_detail.txt")
        assert conf.check(user, mlperf, log, "resnet50") == []


def test_measured_files_are_copied_byte_for_byte_and_accuracy_logs_shortened(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    plan = plan_of(OFFLINE)
    for file in write_tree(plan, tmp_path / "tree"):
        if file.source is None:
            continue
        content = (tmp_path / "tree" / file.path).read_bytes()
        if file.path.endswith("mlperf_log_accuracy.json"):
            assert content == truncated(file.source)
            assert len(content) == 8199
        else:
            assert content == file.source.read_bytes()
    base = tmp_path / "tree" / "closed" / "Us"
    for folder, run in (
        ("results", plan.results[0].accuracy),
        ("compliance", plan.results[0].audits[0].run),
    ):
        found = next((base / folder).rglob("accuracy.txt")).read_text()
        assert hashlib.sha256(run.accuracy_log.read_bytes()).hexdigest() in found


def test_conf_files_stand_beside_the_run_that_they_were_written_from(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    write_tree(plan_of(OFFLINE, SERVER), tmp_path / "tree")
    base = tmp_path / "tree" / "closed" / "Us"
    for scenario in (OFFLINE, SERVER):
        place = Path(SYSTEM, "resnet50", scenario)
        confs = base / "measurements" / place
        user, mlperf = (confs / "user.conf").read_text(), (confs / "mlperf.conf").read_text()
        log = read_detail(base / "results" / place / "performance" / "run_1" / "mlperf_log_detail.txt")
        assert conf.check(user, mlperf, log, "resnet50") == []


def test_the_same_plan_gives_the_same_bytes(plan_of: Callable[..., TreePlan], tmp_path: Path) -> None:
    plan = plan_of(OFFLINE, SERVER)
    first, second = tmp_path / "one", tmp_path / "two"
    for root in (first, second):
        write_tree(plan, root)
    assert paths_of(first) == paths_of(second)
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in paths_of(first))


def test_a_rehearsal_says_so_everywhere_and_a_result_nowhere(
    plan_of: Callable[..., TreePlan], tmp_path: Path, refused: Callable[[TreePlan], str]
) -> None:
    write_tree(plan_of(OFFLINE), tmp_path / "tree")
    base = tmp_path / "tree" / "closed" / "Us"
    texts = [path for path in base.rglob("*") if path.suffix in (".md", ".adoc")]
    assert len(texts) == 4
    for path in texts:
        assert "THIS IS A REHEARSAL AND NO RESULT" in path.read_text()
    system = json.loads((base / "systems" / f"{SYSTEM}.json").read_text())
    for field in ("system_name", "sw_notes"):
        assert "THIS IS A REHEARSAL AND NO RESULT" in system[field]
    real = plan_of(OFFLINE)
    other = real.model_copy(update={"rehearsal": False})
    assert "the data set had 2000 samples, the benchmark has 50000" in refused(other)


def test_the_system_description_has_every_required_field(
    plan_of: Callable[..., TreePlan], tmp_path: Path, description: dict[str, Any]
) -> None:
    short = {field: value for field, value in description.items() if field not in ("hw_notes", "division")}
    write_tree(plan_of(OFFLINE, description={**short, "is_network": "false"}), tmp_path / "tree")
    system = json.loads((tmp_path / "tree" / "closed" / "Us" / "systems" / f"{SYSTEM}.json").read_text())
    assert set(REQUIRED) <= set(system)
    assert "is_network" not in system
    assert (system["division"], system["submitter"], system["hw_notes"]) == ("closed", "Us", "")


def test_readme_files_hold_the_exact_command_and_the_engine(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    command = "mlperf-submission run x --models resnet50 --scenarios Offline # ```"
    write_tree(plan_of(OFFLINE, result={"command": command}), tmp_path / "tree")
    base = tmp_path / "tree" / "closed" / "Us"
    measured = (base / "measurements" / SYSTEM / "resnet50" / "Offline" / "README.md").read_text()
    assert f"````\n{command}\n````" in measured  # the fence is longer than what the command holds
    assert "backend: onnxruntime 1.32" in measured
    assert "target rate (samples/s): 2000" in measured
    code = (base / "code" / "resnet50" / "onnxruntime" / "README.md").read_text()
    assert command in code
    assert "mlperf-submission 0.1.0" in code


def test_code_folders_are_copied_without_caches_and_hidden_files(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    source = tmp_path / "harness"
    for name in ("run.py", "backends/base.py", "__pycache__/run.pyc", ".git/config", ".hidden"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    code = (CodeSource(path=source, name="harness"),)
    write_tree(plan_of(OFFLINE, SERVER, result={"code": code}), tmp_path / "tree")
    found = {path for path in paths_of(tmp_path / "tree") if "/harness/" in path}
    assert found == {
        f"closed/Us/code/resnet50/onnxruntime/harness/{name}" for name in ("run.py", "backends/base.py")
    }


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", ".hidden", "with blank", "a//b", "__pycache__/x"]
)
def test_code_cannot_leave_its_folder_or_take_a_forbidden_name(
    plan_of: Callable[..., TreePlan], tmp_path: Path, refused: Callable[[TreePlan], str], name: str
) -> None:
    source = tmp_path / "code.py"
    source.write_text("x")
    plan = plan_of(OFFLINE, result={"code": (CodeSource(path=source, name=name),)})
    if name == "a//b":  # a clean path after all
        write_tree(plan, tmp_path / "tree")
        return
    assert "not allowed in a tree" in refused(plan)


def test_code_that_is_too_large_missing_or_double_is_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path, refused: Callable[[TreePlan], str]
) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as stream:
        stream.truncate((50 << 20) + 1)
    code = (
        CodeSource(path=big, name="big.bin"),
        CodeSource(path=tmp_path / "none", name="none"),
        CodeSource(path=tmp_path / "tuning.yaml", name="README.md"),
    )
    text = refused(plan_of(OFFLINE, result={"code": code}))
    assert "big.bin is larger than 50 MiB" in text
    assert "none cannot be read" in text
    assert "README.md: two files want this place" in text


def test_a_used_folder_is_refused(plan_of: Callable[..., TreePlan], tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "note").write_text("mine")
    with pytest.raises(TreeError, match="not empty"):
        write_tree(plan_of(OFFLINE), used)
    assert paths_of(used) == {"note"}


def test_the_two_files_of_the_fallback_stand_there_exactly_if_it_was_needed(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    plan = plan_of(OFFLINE)
    result = plan.results[0]
    first, *others = result.audits
    texts = {"baseline_accuracy": "accuracy=76.0%\n", "compliance_accuracy": "accuracy=75.9%\n"}
    verdict = first.verdict.model_copy(update={**texts, "verify_accuracy": "TEST FAIL\n"})
    audits = (first.model_copy(update={"verdict": verdict}), *others)
    needed = plan.model_copy(update={"results": (result.model_copy(update={"audits": audits}),)})
    for name, one, wanted in (("exact", plan, set()), ("not_exact", needed, set(texts))):
        write_tree(one, tmp_path / name)
        found = list((tmp_path / name).rglob("TEST01/accuracy/*_accuracy.txt"))
        assert {path.stem: path.read_text() for path in found} == {stem: texts[stem] for stem in wanted}
