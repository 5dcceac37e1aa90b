"""What runs the networks: the GPUs that the system file names, or what takes their place, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import tasks.hardware
from common.errors import HostTooSmallError, SettingError
from flows.needs import require_fit
from flows.plan import make_plan
from flows.request import SubmissionRequest
from flows.runner import Runner, runner_of
from harness.backends.tensorrt_library import GpuFacts
from tasks.workspace import Workspace

MODEL_SYSTEM = Path("deployments/systems/SR650_V3_3xL40S_TRT.yaml")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """GPUs of the host by their names; a test puts in what it wants."""
    found: dict[str, str] = {}
    facts = lambda: ("580.95", tuple(GpuFacts(*one) for one in found.items()))  # noqa: E731
    monkeypatch.setattr(tasks.hardware, "gpu_facts", facts)
    monkeypatch.setattr(tasks.hardware, "device_capabilities", lambda: tuple(found.values()))
    return found


def request(folder: Path, *, weights: str = "trained", **changes: object) -> SubmissionRequest:
    """Return a request of the model system, changed."""
    content = yaml.safe_load(MODEL_SYSTEM.read_text()) | changes
    path = folder / "system.yaml"
    path.write_text(yaml.safe_dump(content))
    return SubmissionRequest.checked(
        str(path), ["resnet50"], weights="random" if weights == "random" else "trained"
    )


def rehearsal(folder: Path, **changes: object) -> SubmissionRequest:
    return request(folder, name="rehearsal", edition="mini", **changes)


def test_the_named_gpus_are_taken_among_others(tmp_path: Path, gpus: dict[str, str]) -> None:
    gpus |= {"NVIDIA T4": "7.5", "NVIDIA L40S": "8.9", "another": "8.9", "a third": "8.9", "a fourth": "8.9"}
    assert runner_of(request(tmp_path)) == Runner("tensorrt", (1, 2, 3))
    assert runner_of(request(tmp_path, backend="auto")) == Runner("tensorrt", (1, 2, 3))


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_what_is_measured_in_full_never_turns_to_the_cpu(
    tmp_path: Path, gpus: dict[str, str], backend: str
) -> None:
    """It refuses before it begins, in the plan too; it used to measure on the CPU what named an L40S."""
    asked = request(tmp_path, backend=backend)
    assert runner_of(asked) == Runner("tensorrt", obstacle="no GPU here")
    needs = make_plan(Workspace.at(tmp_path), asked).needs
    with pytest.raises(HostTooSmallError, match=r"GPUs of the system file cannot be used: no GPU here"):
        require_fit(needs, tmp_path)


def test_a_rehearsal_turns_to_the_cpu_and_says_why(tmp_path: Path, gpus: dict[str, str]) -> None:
    asked = rehearsal(tmp_path, backend="auto")
    assert runner_of(asked) == Runner("onnxruntime", obstacle="no GPU here")
    gpus["NVIDIA H100"] = "9.0"
    wanted = "3 of compute capability 8.9 wanted, but here are NVIDIA H100 of 9.0"
    assert runner_of(asked) == Runner("onnxruntime", obstacle=wanted)
    assert "GPU" not in " ".join(make_plan(Workspace.at(tmp_path), asked).needs.problems())


def test_a_gpu_without_cuda_bindings_is_no_reason_to_fail_a_rehearsal(
    tmp_path: Path, gpus: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> tuple[str, ...]:
        raise SettingError("cuda-bindings is not installed", remedy="pip install it")

    gpus["NVIDIA L40S"] = "8.9"
    monkeypatch.setattr(tasks.hardware, "device_capabilities", missing)
    found = runner_of(rehearsal(tmp_path, backend="auto"))
    assert found == Runner("onnxruntime", obstacle="cuda-bindings is not installed (pip install it)")


def test_a_rehearsal_that_names_tensorrt_gets_it_or_nothing(tmp_path: Path, gpus: dict[str, str]) -> None:
    assert runner_of(rehearsal(tmp_path, backend="tensorrt")).is_stuck


def test_random_networks_are_built_where_nothing_can_run_them(tmp_path: Path, gpus: dict[str, str]) -> None:
    found = runner_of(request(tmp_path, weights="random"))
    assert found == Runner(None, obstacle="no GPU here")
    assert not found.is_stuck


def test_the_cpu_is_taken_where_the_file_names_it(tmp_path: Path, gpus: dict[str, str]) -> None:
    gpus |= {"one": "8.9", "two": "8.9", "three": "8.9"}
    assert runner_of(request(tmp_path, backend="onnxruntime")) == Runner("onnxruntime")
