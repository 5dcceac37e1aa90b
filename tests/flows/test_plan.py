"""The plan: the least time that the rules allow, what is needed, and whether this host has it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cli.plan import show_plan
from flows.durations import floor_seconds, issued_samples
from flows.needs import needs_of, require_fit, total
from flows.plan import Plan, make_plan
from flows.request import SubmissionRequest
from mlperf_submission.config.system import load_system
from mlperf_submission.errors import HostTooSmallError
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from mlperf_submission.rounds import RunKind, Scenario
from models.registry import get_benchmark
from tasks import hardware
from tasks.engine.spec import all_steps
from tasks.workspace import Workspace
from tests.conftest import PROGRAM, ROOT, shell

PUBLISHED = {
    "resnet50": {"Offline": 132_436.0, "Server": 132_008.0},
    "retinanet": {"Offline": 2_290.08, "Server": 2_201.83},
    "bert-99": {"Offline": 9_480.82, "Server": 9_302.0},
    "3d-unet-99": {"Offline": 11.6149},
    "gptj-99": {"Offline": 37.5891, "Server": 35.87},
}
"""What the model system reached in v4.1, samples/s."""
DATASETS = {"resnet50": 50_000, "retinanet": 24_781, "bert-99": 10_833, "3d-unet-99": 43, "gptj-99": 13_368}


def request_of(
    path: Path, targets: Mapping[str, Mapping[str, float]], **changes: object
) -> SubmissionRequest:
    """Return the request of a rehearsal's file with other targets and settings."""
    content = yaml.safe_load(path.read_text()) | changes
    content["benchmarks"] = {
        benchmark: {"precision": "fp16" if benchmark == "gptj-99" else "int8"}
        | {scenario: {"target_qps": rate} for scenario, rate in scenarios.items()}
        for benchmark, scenarios in targets.items()
    }
    path.write_text(yaml.safe_dump(content))
    return SubmissionRequest.checked(str(path), [*targets])


@pytest.fixture
def full(rehearsal_file: Path) -> SubmissionRequest:
    described = load_system("SR650_V3_3xL40S_TRT").description | {"submitter": "Rehearsal"}
    return request_of(rehearsal_file, PUBLISHED, edition="full", name="model_system", description=described)


@pytest.fixture
def plan(full: SubmissionRequest, tmp_path: Path) -> Plan:
    return make_plan(Workspace.at(tmp_path / "work"), full)


def test_the_model_system_takes_34_runs_and_at_least_4_hours_22(plan: Plan) -> None:
    assert (plan.timed, plan.untimed) == (25, 9)
    accuracy = sum(DATASETS[name] / rate for name, both in PUBLISHED.items() for rate in both.values())
    assert plan.floor == pytest.approx(25 * 600 + accuracy)
    assert 4 * 3600 + 22 * 60 < plan.floor < 4 * 3600 + 24 * 60
    assert plan.seconds_of(measuring=True) > plan.floor


def test_an_edge_system_takes_24_runs_and_equal_issue_twice_the_time(tmp_path: Path) -> None:
    request = SubmissionRequest.checked("SE455i_V3_2xL4_TRT")
    plan = make_plan(Workspace.at(tmp_path), request)
    assert (plan.timed, plan.untimed) == (17, 7)
    by_name = {(one.benchmark, one.scenario): one for one in request.results}
    volumes = by_name["3d-unet-99", Scenario.SINGLE_STREAM]
    assert floor_seconds(request, volumes, RunKind.PERFORMANCE) == pytest.approx(1200, rel=0.01)
    assert floor_seconds(request, volumes, RunKind.ACCURACY) == pytest.approx(43 * 0.65)
    pictures = by_name["resnet50", Scenario.MULTI_STREAM]
    assert floor_seconds(request, pictures, RunKind.PERFORMANCE) == 600
    assert floor_seconds(request, pictures, RunKind.ACCURACY) == pytest.approx(50_000 / 8 * 0.83e-3)


def test_more_samples_are_issued_than_the_least(full: SubmissionRequest) -> None:
    by_name = {(one.benchmark, one.scenario): one for one in full.results}
    offline = by_name["resnet50", Scenario.OFFLINE]
    assert issued_samples(full, offline, 132_436.0) == int(1.1 * 600 * 132_436)
    equal = by_name["gptj-99", Scenario.SERVER]
    assert issued_samples(full, equal, 35.87) == 2 * 13_368  # whole passes over the data set


def test_each_need_has_its_figure_or_is_said_to_be_unknown(plan: Plan) -> None:
    found = {(need.what, need.label): need for need in plan.needs.disk}
    assert found["samples", "retinanet full validation"].size == 24_781 * 3 * 800 * 800
    assert found["accuracy log", "retinanet Offline"].size is None
    assert all(need.source for need in (*plan.needs.disk, *plan.needs.memory, *plan.needs.device))
    output = io.StringIO()
    show_plan(Console(file=output, width=200), plan)
    for text in ("34 runs of LoadGen, 25 of them timed: at least 4:22:37", "unknown", "go to S3", "free"):
        assert text in output.getvalue()


def model_system(folder: Path, **gptj: int) -> SubmissionRequest:
    """Return the request of the model system, with other batch sizes of gptj-99."""
    content = yaml.safe_load(Path("deployments/systems/SR650_V3_3xL40S_TRT.yaml").read_text())
    for scenario, size in gptj.items():
        content["benchmarks"]["gptj-99"][scenario]["batch_size"] = size
    (folder / "system.yaml").write_text(yaml.safe_dump(content))
    return SubmissionRequest.checked(str(folder / "system.yaml"))


def test_the_model_system_fits_into_its_gpus(tmp_path: Path) -> None:
    needs = make_plan(Workspace.at(tmp_path), model_system(tmp_path)).needs
    assert needs.device_memory == 48e9
    assert needs.too_large == ()
    assert len(needs.device) == 9


def test_what_no_gpu_has_room_for_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """The published batch sizes of gptj-99 are for an FP8 cache of pages: ours would take 111 GB of 48."""
    needs = make_plan(Workspace.at(tmp_path), model_system(tmp_path, Offline=100)).needs
    [need] = needs.too_large
    assert need.label == "gptj-99 Offline"
    assert need.size == pytest.approx(124.3e9, rel=0.01)
    assert "100 x 1.1 GB of state and buffers" in need.source
    with pytest.raises(
        HostTooSmallError, match=r"of a GPU that has 48\.0 GB .* batch_size of at most 31 fits"
    ):
        require_fit(replace(needs, free_disk=1 << 50, free_memory=1 << 50, gpus="", absent=()), tmp_path)


def test_data_of_the_persons_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    content = yaml.safe_load((ROOT / "deployments" / "systems" / "SR650_V3_3xL40S_TRT.yaml").read_text())
    content["licensed_data"] = {"imagenet": str(away / "imagenet"), "openimages": str(here)}
    content["sources"] = {
        "gptj-99.network": str(away / "gptj"),
        "bert-99.network": str(here),
        "retinanet.network": "https://example.org/network",
    }
    path = tmp_path / "box.yaml"
    path.write_text(yaml.safe_dump(content))
    names = ["resnet50", "retinanet", "bert-99", "3d-unet-99", "gptj-99"]
    needs = make_plan(Workspace.at(tmp_path), SubmissionRequest.checked(str(path), names)).needs
    brought = "is behind a licence and has to be brought (licensed_data)"
    assert set(needs.absent) == {
        f"there is no folder {away}/imagenet (licensed_data.imagenet)",
        f"there is no {away}/gptj (sources of gptj-99)",
        f"the data 'kits19' {brought}",
        f"the data 'cnn_dailymail' {brought}",
    }
    enough = replace(needs, free_disk=1 << 50, free_memory=1 << 50, gpus="")
    with pytest.raises(HostTooSmallError, match=f"there is no {away}/gptj"):
        require_fit(enough, tmp_path)


def test_the_memory_that_preparing_takes_is_counted_until_the_engine_is_there(tmp_path: Path) -> None:
    request = model_system(tmp_path)
    plan = make_plan(Workspace.at(tmp_path), request)
    [need] = plan.needs.memory
    assert (need.label, need.size) == ("gptj-99 fp16", get_benchmark("gptj-99").facts.sizes.converting)
    assert "17.0 GB of memory are needed" in "; ".join(replace(plan.needs, free_memory=10**10).problems())
    built = [replace(step, done=step.done or step.name == "build_engine") for step in plan.steps]
    assert all(need.what != "host: network" for need in needs_of(request, tmp_path, built, {}).memory)


def test_what_the_gpus_at_hand_have_counts_before_what_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = tuple(GpuFacts("NVIDIA L40S", "8.9", memory) for memory in (48 << 30, 24 << 30, 48 << 30))
    monkeypatch.setattr(hardware, "gpu_facts", lambda: ("580.95", gpus))
    monkeypatch.setattr(hardware, "visible_gpus", lambda _: gpus)
    needs = make_plan(Workspace.at(tmp_path), model_system(tmp_path)).needs
    assert needs.device_memory == 24 << 30
    assert {need.label for need in needs.too_large} == {"gptj-99 Offline", "gptj-99 Server"}


def test_a_plan_that_does_not_fit_is_refused(plan: Plan, tmp_path: Path) -> None:
    enough = replace(plan.needs, free_disk=1 << 50, free_memory=1 << 50, gpus="", absent=())
    require_fit(enough, tmp_path)
    with pytest.raises(HostTooSmallError, match=r"disk space are needed, 0\.0 KB are free"):
        require_fit(replace(enough, free_disk=0), tmp_path)
    with pytest.raises(HostTooSmallError, match="GB of memory are needed"):
        require_fit(replace(enough, free_memory=total(plan.needs.memory) - 1), tmp_path)
    with pytest.raises(HostTooSmallError, match="GPUs of the system file cannot be used: none"):
        require_fit(replace(enough, gpus="none"), tmp_path)


def test_run_refuses_what_does_not_fit_before_anything_starts(rehearsal_file: Path, tmp_path: Path) -> None:
    request_of(rehearsal_file, {"resnet50": {"Offline": 1e12}})
    arguments = ["run", str(rehearsal_file), "--models", "resnet50", "--scenarios", "Offline"]
    done = shell(str(PROGRAM), *arguments, "--work", str(tmp_path / "work"))
    assert done.returncode == 1
    assert "the plan does not fit this host" in done.stderr
    assert "of memory are needed" in done.stderr
    assert "--anyway" in done.stderr
    assert not (tmp_path / "work" / "cache").exists()


def test_every_step_of_the_plan_is_known_to_come_after_those_that_it_is_made_of(plan: Plan) -> None:
    known = [step.name for step in all_steps()]
    assert {step.name for step in plan.steps} <= set(known)
    of_one = list(dict.fromkeys(step.name for step in plan.steps if "resnet50" in step.label))
    assert of_one == sorted(of_one, key=known.index)
