"""The official tree: written whole from real runs, or refused with every reason."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import TreeError
from mlperf import conf
from mlperf.accuracy import truncated, write_accuracy_txt
from mlperf.audits import AuditRuns, judge_audit
from mlperf.description import REQUIRED
from mlperf.logs import read_detail
from mlperf.rounds import V4_1, RunKind, Scenario
from mlperf.tree import write_tree
from mlperf.tree_plan import AuditPlan, Calibration, CodeSource, ResultPlan, RunFolder, TreePlan

OFFLINE, SERVER = Scenario.OFFLINE, Scenario.SERVER
AUDITS = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
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

Changed = Callable[[Path], None]


def shown(folder: Path, name: str = "mlperf_log_detail.txt") -> Path:
    return folder / name


def replace_in_log(pattern: str, by: str) -> Changed:
    def change(folder: Path) -> None:
        text = shown(folder).read_text()
        changed, count = re.subn(pattern, by, text)
        assert count
        shown(folder).write_text(changed)

    return change


@pytest.fixture
def plan_of(corpus: Any, tmp_path: Path) -> Callable[..., TreePlan]:
    """A plan over copies of the corpus's runs; `change` spoils one of them after it was judged, or before."""

    def make(
        *scenarios: Scenario,
        before: dict[tuple[Scenario, RunKind], Changed] | None = None,
        after: dict[tuple[Scenario, RunKind], Changed] | None = None,
        result: dict[str, Any] | None = None,
        **changes: Any,
    ) -> TreePlan:
        runs = tmp_path / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        for scenario in scenarios or (OFFLINE,):
            shutil.copytree(corpus.root / scenario, runs / scenario)
        for (scenario, kind), change in (before or {}).items():
            change(runs / scenario / kind)
        results = tuple(
            _result(runs / scenario, scenario, result or {}) for scenario in scenarios or (OFFLINE,)
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


def _result(runs: Path, scenario: Scenario, changes: dict[str, Any]) -> ResultPlan:
    accuracy = RunFolder(kind=RunKind.ACCURACY, folder=runs / "accuracy")
    performance = RunFolder(kind=RunKind.PERFORMANCE, folder=runs / "performance")
    accuracy_txt = runs / "accuracy.txt"
    write_accuracy_txt(accuracy_txt, ("accuracy=100.000%, good=2000, total=2000",), accuracy.accuracy_log)
    audits = []
    for kind in AUDITS:
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
            round_=V4_1,
            benchmark="resnet50",
            response_dtype="int32",
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


def paths_of(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def refused(plan: TreePlan, root: Path) -> str:
    with pytest.raises(TreeError) as caught:
        write_tree(plan, root)
    assert not root.exists(), "nothing may be written before everything is accepted"
    return str(caught.value)


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
        "code/resnet50/onnxruntime/system.yaml",
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
    for file in files:
        content = (tmp_path / "tree" / file.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
        assert content, file.path


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
        texts = [(base / "measurements" / place / name).read_text() for name in ("user.conf", "mlperf.conf")]
        log = read_detail(base / "results" / place / "performance" / "run_1" / "mlperf_log_detail.txt")
        assert conf.check(*texts, log, "resnet50") == []


def test_the_same_plan_gives_the_same_bytes(plan_of: Callable[..., TreePlan], tmp_path: Path) -> None:
    plan = plan_of(OFFLINE, SERVER)
    first, second = (write_tree(plan, tmp_path / name) for name in ("one", "two"))
    assert first == second


def test_a_rehearsal_says_so_everywhere_and_a_result_nowhere(
    plan_of: Callable[..., TreePlan], tmp_path: Path
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
    assert "the data set had 2000 samples, the benchmark has 50000" in refused(other, tmp_path / "other")


def test_the_system_description_has_every_required_field(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    short = {field: value for field, value in DESCRIPTION.items() if field not in ("hw_notes", "division")}
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
    plan_of: Callable[..., TreePlan], tmp_path: Path, name: str
) -> None:
    source = tmp_path / "code.py"
    source.write_text("x")
    plan = plan_of(OFFLINE, result={"code": (CodeSource(path=source, name=name),)})
    if name == "a//b":  # a clean path after all
        write_tree(plan, tmp_path / "tree")
        return
    assert "not allowed in a tree" in refused(plan, tmp_path / "tree")


def test_code_that_is_too_large_missing_or_double_is_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as stream:
        stream.truncate((50 << 20) + 1)
    code = (
        CodeSource(path=big, name="big.bin"),
        CodeSource(path=tmp_path / "none", name="none"),
        CodeSource(path=tmp_path / "tuning.yaml", name="README.md"),
    )
    text = refused(plan_of(OFFLINE, result={"code": code}), tmp_path / "tree")
    assert "big.bin is larger than 50 MiB" in text
    assert "none cannot be read" in text
    assert "README.md: two files want this place" in text


SPOILED_AFTER = [
    (RunKind.PERFORMANCE, replace_in_log('"value": "VALID"', '"value": "INVALID"'), "the run is INVALID"),
    (
        RunKind.PERFORMANCE,
        replace_in_log('"value": "Offline"', '"value": "Server"'),
        "is of scenario 'Server'",
    ),
    (RunKind.PERFORMANCE, replace_in_log('"value": "PerformanceOnly"', '"value": "AccuracyOnly"'), "of mode"),
    (RunKind.PERFORMANCE, replace_in_log('"is_error": false', '"is_error": true'), "LoadGen logged"),
    (RunKind.PERFORMANCE, replace_in_log("", " "), "the verdict was not given on"),
    (RunKind.PERFORMANCE, lambda folder: shown(folder).unlink(), "mlperf_log_detail.txt is missing"),
    (RunKind.PERFORMANCE, lambda folder: shown(folder).write_text(":::MLLOG {"), "no LoadGen message"),
    (RunKind.ACCURACY, replace_in_log('"AccuracyOnly"', '"PerformanceOnly"'), "not AccuracyOnly"),
    (
        RunKind.ACCURACY,
        lambda folder: shown(folder, "mlperf_log_accuracy.json").write_text("[\n]\n"),
        "accuracy.txt is not that of",
    ),
    (RunKind.ACCURACY, lambda folder: (folder.parent / "accuracy.txt").write_text("x\n"), "no hash line"),
    (RunKind.ACCURACY, lambda folder: (folder.parent / "accuracy.txt").unlink(), "cannot be read"),
    (
        RunKind.TEST01,
        lambda folder: shown(folder, "mlperf_log_summary.txt").unlink(),
        "summary.txt is missing",
    ),
    (
        RunKind.TEST01,
        lambda folder: shown(folder, "mlperf_log_accuracy.json").write_text("[\n]\n"),
        "TEST01: the verdict was not given on",
    ),
    (
        RunKind.TEST04,
        replace_in_log('performance_issue_same", "value": true', 'performance_issue_same", "value": false'),
        "does not prove that TEST04 was applied",
    ),
    (RunKind.TEST05, replace_in_log('"value": "VALID"', '"value": "INVALID"'), "TEST05: the run is INVALID"),
]


@pytest.mark.parametrize(("kind", "spoil", "said"), SPOILED_AFTER)
def test_a_run_that_does_not_fit_its_place_is_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path, kind: RunKind, spoil: Changed, said: str
) -> None:
    text = refused(plan_of(OFFLINE, after={(OFFLINE, kind): spoil}), tmp_path / "tree")
    assert said in text
    assert "resnet50/Offline" in text


def test_an_audit_in_the_place_of_the_result_is_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    plan = plan_of(OFFLINE)
    result = plan.results[0]
    for audit in result.audits:
        run = RunFolder(kind=RunKind.PERFORMANCE, folder=audit.run.folder)
        wrong = plan.model_copy(update={"results": (result.model_copy(update={"performance": run}),)})
        text = refused(wrong, tmp_path / "tree")
        assert f"the log shows the settings of {audit.run.kind}" in text
        assert f"performance and resnet50/Offline {audit.run.kind} are one and the same run" in text


def test_files_other_than_the_recorded_ones_are_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    plan = plan_of(OFFLINE)
    run = plan.results[0].performance
    recorded = run.model_copy(update={"hashes": {"mlperf_log_detail.txt": "0" * 64}})
    wrong = plan.results[0].model_copy(update={"performance": recorded})
    text = refused(plan.model_copy(update={"results": (wrong,)}), tmp_path / "tree")
    assert "is not the file that was recorded" in text


def test_a_failed_missing_or_foreign_audit_is_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    plan = plan_of(OFFLINE)
    result = plan.results[0]
    first, second, _third = result.audits
    failed = first.verdict.model_copy(update={"passed": False, "reasons": ("7 responses differ",)})
    foreign = second.model_copy(update={"verdict": first.verdict})
    audits = (first.model_copy(update={"verdict": failed}), foreign)
    text = refused(
        plan.model_copy(update={"results": (result.model_copy(update={"audits": audits}),)}),
        tmp_path / "tree",
    )
    assert "TEST01 did not pass: 7 responses differ" in text
    assert "TEST04: the verdict is that of TEST01" in text
    assert "TEST05 is missing" in text


def test_runs_that_overlapped_are_refused(plan_of: Callable[..., TreePlan], tmp_path: Path) -> None:
    def took_an_hour(folder: Path) -> None:
        lines = shown(folder).read_text().rstrip("\n").split("\n")
        lines[-1] = re.sub(r'"time_ms": [0-9.]+', '"time_ms": 3600000.5', lines[-1])
        shown(folder).write_text("\n".join(lines) + "\n")

    plan = plan_of(OFFLINE, SERVER, before={(OFFLINE, RunKind.PERFORMANCE): took_an_hour})
    text = refused(plan, tmp_path / "tree")
    assert "resnet50/Offline performance and resnet50/Offline accuracy overlap" in text


def test_a_description_is_refused_for_all_of_its_mistakes(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    wrong = {
        **DESCRIPTION,
        "submitter": "Them",
        "status": "soon",
        "system_type": "laptop",
        "accelerators_per_node": 0,
        "cooling": "",
        "framework": 5,
        "is_network": "true",
        "colour": "blue",
    }
    text = refused(plan_of(OFFLINE, description=wrong), tmp_path / "tree")
    for said in (
        "submitter is 'Them'",
        "status is 'soon'",
        "system_type is 'laptop'",
        'accelerators_per_node is missing or empty (write the text "0" for none)',
        "cooling is missing or empty",
        "framework must be text",
        "is_network is set",
        "unknown field 'colour'",
    ):
        assert said in text


def test_names_are_refused_that_the_checker_refuses_or_misreads(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    text = refused(
        plan_of(OFFLINE, system="my TEST05 box", submitter="Us", result={"implementation": "../x"}),
        tmp_path / "tree",
    )
    assert "'my TEST05 box' is no directory name" in text
    assert "holds the name of an audit" in text
    assert "'../x' is no directory name" in text
    assert "a rehearsal must be named so" in text


def test_a_benchmark_or_scenario_that_the_round_lacks_is_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    assert "no model 'alexnet'" in refused(
        plan_of(OFFLINE, result={"benchmark": "alexnet"}), tmp_path / "tree"
    )
    edge = plan_of(SERVER, description={**DESCRIPTION, "system_type": "edge"})
    assert "no Server for this benchmark on a edge system" in refused(edge, tmp_path / "tree")


def test_a_round_with_another_layout_and_a_used_folder_are_refused(
    plan_of: Callable[..., TreePlan], tmp_path: Path
) -> None:
    assert "round v6.0 cannot be written" in refused(plan_of(OFFLINE, round="v6.0"), tmp_path / "tree")
    used = tmp_path / "used"
    used.mkdir()
    (used / "note").write_text("mine")
    with pytest.raises(TreeError, match="not empty"):
        write_tree(plan_of(OFFLINE), used)
    assert paths_of(used) == {"note"}
