"""A description that says something else than the runs logged is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlperf_submission.description.check import RunFacts, differences
from mlperf_submission.submission.detail_log import DetailLog

DESCRIPTION: dict[str, str | int] = {
    "accelerators_per_node": 3,
    "accelerator_model_name": "NVIDIA L40S",
    "host_processor_model_name": "Intel(R) Xeon(R) Gold 6438N",
    "framework": "TensorRT 10.2.0, CUDA 12.5",
    "other_software_stack": "TensorRT 10.2.0, LoadGen 4.1, Driver 555.42",
}
AGREES = RunFacts(
    run="resnet50 Server", backend="TensorRT 10.2.0", devices=("NVIDIA L40S",) * 3, loadgen="4.1 @ 2ed9"
)


def test_a_description_that_agrees_has_no_differences() -> None:
    assert differences(DESCRIPTION, [AGREES, AGREES.model_copy(update={"run": "resnet50 Offline"})]) == ()
    assert differences(DESCRIPTION, [RunFacts(run="nothing is known")]) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"devices": ("NVIDIA L40S",) * 2}, "logged 2 devices, accelerators_per_node says 3"),
        ({"devices": ("NVIDIA H200",) * 3}, "logged NVIDIA H200, accelerator_model_name says 'NVIDIA L40S'"),
        ({"devices": ("Intel(R) Xeon(R) Gold 6438N",)}, "ran on the processor"),
        ({"backend": "TensorRT 10.5.0"}, "ran with TensorRT 10.5.0"),
        ({"backend": "ONNX Runtime 1.32.0"}, "ran with ONNX Runtime 1.32.0"),
        ({"loadgen": "6.0.17 @ x"}, "LoadGen logged 6.0.17, other_software_stack says 4.1"),
    ],
)
def test_each_difference_is_named_with_both_sides(change: dict[str, object], expected: str) -> None:
    found = differences(DESCRIPTION, [AGREES.model_copy(update=change)])
    assert len(found) == 1
    assert found[0].startswith("resnet50 Server: ") and expected in found[0]


def test_runs_that_differ_among_themselves_are_named() -> None:
    other = AGREES.model_copy(update={"loadgen": "4.0 @ a"})
    assert any(
        "different LoadGen versions: 4.1 @ 2ed9; 4.0 @ a" in one for one in differences({}, [AGREES, other])
    )


def test_a_machine_without_accelerators_may_run_on_its_processor() -> None:
    description = {**DESCRIPTION, "accelerators_per_node": "0", "framework": "ONNX Runtime 1.32.0"}
    run = RunFacts(run="r", backend="ONNX Runtime 1.32.0", devices=("Intel(R) Xeon(R) Gold 6438N",))
    assert differences(description, [run]) == ()


def test_the_version_is_taken_from_the_log() -> None:
    log = DetailLog(Path("x"), {"loadgen_version": "4.1 @ 2ed9555be0"})
    assert RunFacts.of("r", log, devices=["a"]).loadgen == "4.1 @ 2ed9555be0"
