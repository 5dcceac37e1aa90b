"""What runs the networks: the GPUs that the system file names, or what takes their place, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import tasks.hardware
from flows.needs import require_fit
from flows.plan import make_plan
from flows.request import SubmissionRequest
from flows.runner import Runner, runner_of
from mlperf_submission.errors import HostTooSmallError, SettingError
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from tasks.workspace import Workspace

MODEL_SYSTEM = Path("deployments/systems/SR650_V3_3xL40S_TRT.yaml")


T4, L4, L40S = GpuFacts("NVIDIA T4", "7.5"), GpuFacts("NVIDIA L4", "8.9"), GpuFacts("NVIDIA L40S", "8.9")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[GpuFacts]:
    """The GPUs of the host; a test puts in what it wants."""
    found: list[GpuFacts] = []
    monkeypatch.setattr(tasks.hardware, "gpu_facts", lambda: ("580.95", tuple(found)))
    monkeypatch.setattr(tasks.hardware, "visible_gpus", lambda _: tuple(found))
    return found


def request(folder: Path, *, weights: str = "trained", **changes: Any) -> SubmissionRequest:
    """Return a request of the model system, changed."""
    content = yaml.safe_load(MODEL_SYSTEM.read_text()) | changes
    path = folder / "system.yaml"
    path.write_text(yaml.safe_dump(content))
    return SubmissionRequest.checked(
        str(path), ["resnet50"], weights="random" if weights == "random" else "trained"
    )


def rehearsal(folder: Path, **changes: Any) -> SubmissionRequest:
    return request(folder, name="rehearsal", edition="mini", **changes)


def test_the_named_gpus_are_taken_among_others(tmp_path: Path, gpus: list[GpuFacts]) -> None:
    gpus += [T4, L40S, L4, L40S, L40S, L40S]
    assert runner_of(request(tmp_path)) == Runner("tensorrt", (1, 3, 4))
    assert runner_of(request(tmp_path, backend="auto")) == Runner("tensorrt", (1, 3, 4))


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_what_is_measured_in_full_never_turns_to_the_cpu(
    tmp_path: Path, gpus: list[GpuFacts], backend: str
) -> None:
    """It refuses before it begins, in the plan too; it used to measure on the CPU what named an L40S."""
    asked = request(tmp_path, backend=backend)
    assert runner_of(asked) == Runner("tensorrt", obstacle="no GPU here")
    needs = make_plan(Workspace.at(tmp_path), asked).needs
    with pytest.raises(HostTooSmallError, match=r"GPUs of the system file cannot be used: no GPU here"):
        require_fit(needs, tmp_path)


def test_a_rehearsal_turns_to_the_cpu_and_says_why(tmp_path: Path, gpus: list[GpuFacts]) -> None:
    asked = rehearsal(tmp_path, backend="auto")
    assert runner_of(asked) == Runner("onnxruntime", obstacle="no GPU here")
    gpus.append(GpuFacts("NVIDIA H100 80GB HBM3", "9.0"))
    wanted = "3 x NVIDIA L40S (8.9) wanted, but CUDA sees NVIDIA H100 80GB HBM3 (9.0)"
    assert runner_of(asked) == Runner("onnxruntime", obstacle=wanted)
    assert "GPU" not in " ".join(make_plan(Workspace.at(tmp_path), asked).needs.problems())


def test_a_rehearsal_takes_any_gpu_that_its_engines_fit(tmp_path: Path, gpus: list[GpuFacts]) -> None:
    gpus += [L4, L4, L4]
    assert runner_of(rehearsal(tmp_path, backend="auto")) == Runner("tensorrt", (0, 1, 2))
    assert runner_of(request(tmp_path)).is_stuck
    gpus[2] = L40S
    assert runner_of(rehearsal(tmp_path, backend="auto")) == Runner("tensorrt", (2, 0, 1)), (
        "what is named first"
    )


def test_a_gpu_without_cuda_bindings_is_no_reason_to_fail_a_rehearsal(
    tmp_path: Path, gpus: list[GpuFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> tuple[GpuFacts, ...]:
        raise SettingError("cuda-bindings is not installed", remedy="pip install it")

    gpus.append(L40S)
    monkeypatch.setattr(tasks.hardware, "visible_gpus", missing)
    found = runner_of(rehearsal(tmp_path, backend="auto"))
    assert found == Runner("onnxruntime", obstacle="cuda-bindings is not installed (pip install it)")


def test_a_rehearsal_that_names_tensorrt_gets_it_or_nothing(tmp_path: Path, gpus: list[GpuFacts]) -> None:
    assert runner_of(rehearsal(tmp_path, backend="tensorrt")).is_stuck


def test_random_networks_are_built_where_nothing_can_run_them(tmp_path: Path, gpus: list[GpuFacts]) -> None:
    found = runner_of(request(tmp_path, weights="random"))
    assert found == Runner(None, obstacle="no GPU here")
    assert not found.is_stuck


def test_the_cpu_is_taken_where_the_file_names_it(tmp_path: Path, gpus: list[GpuFacts]) -> None:
    gpus += [L40S] * 3
    assert runner_of(request(tmp_path, backend="onnxruntime")) == Runner("onnxruntime")
