"""The check of a GPU, on imaginary ones; and what it says where there is none."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from mlperf_submission.harness.backends.onnxruntime import OnnxBackend
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from mlperf_submission.harness.backends.tensorrt.library import gpu_facts
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.steps.cache import StepCache
from tests.conftest import ROOT
from tests.mlperf_submission.harness.conftest import little_network as little_network
from tests.mlperf_submission.harness.conftest import write_samples
from tests.mlperf_submission.harness.fake_gpu import FakeCuda
from tools.gpu_check import __main__ as gpu_check
from tools.gpu_check import device, engines, host
from tools.gpu_check.parts import Bench, NotRunError
from tools.gpu_check.stand_in import tensorrt as stand_in


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Two GPUs on which the stand-in's kernel is a function of Python."""
    cuda = FakeCuda(GpuFacts("first", "8.9"), GpuFacts("second", "8.9"))
    size = int(np.prod(stand_in.SHAPE))

    def launch(context: stand_in.Context, stream: int) -> bool:
        rows, answers, count = (
            context.addresses[stand_in.INPUT],
            context.addresses[stand_in.OUTPUT],
            context.count,
        )

        def work() -> None:
            cuda.check(rows, count * size, 0, 1)
            read = np.frombuffer(ctypes.string_at(rows, count * size), np.int8).reshape(count, size)
            found = stand_in.expected(read).astype(np.int64) + 1
            ctypes.memmove(answers, found.ctypes.data, found.nbytes)

        cuda.put(stream, work)
        return True

    monkeypatch.setattr(stand_in, "load_kernel", lambda: None)
    monkeypatch.setattr(stand_in.Context, "execute_async_v3", launch)
    monkeypatch.setattr(device, "import_cuda", lambda: cuda)
    monkeypatch.setattr(device, "import_module", lambda _: stand_in)
    return cuda


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(device, "ROWS", 96)
    monkeypatch.setattr(device, "BATCH", 8)
    return Bench(tmp_path, tmp_path, "SR650_V3_3xL40S_TRT", 0.05)


def test_copies_arrive(cuda: FakeCuda, bench: Bench) -> None:
    found = device.copies(bench)
    assert [found[f"{name} arrived"] for name in ("together", "scattered", "one_by_one")] == [True] * 3
    assert found["batches_copies"] is True
    assert cuda.is_empty


def test_the_backend_answers_right_around_the_kernel(cuda: FakeCuda, bench: Bench) -> None:
    found = device.backend(bench)
    for name in ("one device", "two devices on one GPU", "all"):
        figures = found[name]
        assert isinstance(figures, dict)
        assert figures["wrong answers"] == 0
        assert int(str(figures["cuda_graphs"])) > 0
    assert min(cuda.launches) > 0
    assert cuda.is_empty


@pytest.mark.parametrize(
    ("name", "to_device", "to_host"),
    [
        ("resnet50", 3 * 224 * 224, 8),
        ("retinanet", 3 * 800 * 800, 4 * 300 * 6),
        ("bert-99", 3 * 8 * 384, 2 * 4 * 384),
        ("3d-unet-99", 64 * 1.01 * 128**3, 64 * 128**3),
        ("gptj-99", 4e6, 128 * 8 * (4 + 8 + 8)),
    ],
)
def test_what_a_sample_moves_is_counted_without_a_gpu(
    tmp_path: Path, name: str, to_device: float, to_host: float
) -> None:
    """These are the most; the backend is the real one around an engine that does nothing."""
    request = next(host.runs("SR650_V3_3xL40S_TRT", name, 1.0))
    resident = {"3d-unet-99": 1, "gptj-99": 28}.get(name, 64)
    settings = request.settings.model_copy(update={"performance_sample_count": resident})
    request = request.model_copy(update={"settings": settings})
    opened = host.HostBackend.of(request, tmp_path)
    moved = host.moved_by(opened, request)
    opened.backend.close()
    assert to_device / 4 < moved.to_device <= to_device
    assert to_host / 4 < moved.to_host <= 1.2 * to_host
    assert moved.calls > 0


def test_the_work_of_the_host_is_measured_without_a_gpu(bench: Bench) -> None:
    [offline, server] = host.PARTS["host retinanet"](bench).values()
    assert isinstance(offline, dict) and isinstance(server, dict)
    assert 0 < float(str(offline["samples in a batch"])) <= 8
    assert float(str(server["processor time, us"])) > 0


def test_an_engine_that_is_not_built_is_said_to_be_missing(
    cuda: FakeCuda, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotRunError, match=r"build_engine is not finished .* --weights random .* makes it"):
        engines.PARTS["engine resnet50"](bench)


def test_an_engine_is_measured_beside_a_bare_loop_and_onnx_runtime(
    cuda: FakeCuda, bench: Bench, monkeypatch: pytest.MonkeyPatch, little_network: Path
) -> None:
    """ONNX Runtime stands in for TensorRT, and answers as it does itself."""
    cache, network = StepCache(bench.work / "cache"), little_network.read_bytes()

    def files(content: dict[str, bytes]) -> Callable[[Path], dict[str, JsonValue]]:
        def write(folder: Path) -> dict[str, JsonValue]:
            for name, data in content.items():
                (folder / name).write_bytes(data)
            return {}

        return write

    samples = write_samples(bench.scratch / "made")
    made = {"samples.npy": (samples / "samples.npy").read_bytes()}
    cache.run("build_engine", "resnet50 int8, random weights", {}, files({"engine.plan": network}))
    cache.run("quantize", "resnet50 int8, random weights", {}, files({"network.onnx": network}))
    cache.run("preprocess", "resnet50 mini validation", {}, files(made))
    monkeypatch.setattr(engines, "open_backend", lambda _, options: OnnxBackend(options))
    asked = []

    def against(request: RunRequest, bare: float, _: Bench, **__: bool) -> dict[str, JsonValue]:
        asked.append(request)
        return {"ratio": bare / bare}

    monkeypatch.setattr(engines, "against", against)
    found = engines.PARTS["engine resnet50"](bench)
    assert (found["batch_size"], found["streams"], found["ratio"]) == (64, 2, 1.0)
    assert (found["equal to ONNX Runtime's"], found["largest difference"]) == (1.0, 0.0)
    assert float(str(found["of published"])) > 0
    [request] = asked
    assert (request.backend, request.devices, request.batch_size) == ("tensorrt", (0,), 64)


def test_every_benchmark_has_its_published_rate() -> None:
    assert {f"engine {name}" for name in json.loads(engines.PUBLISHED.read_text())} == engines.PARTS.keys()


@pytest.mark.skipif(bool(gpu_facts()[1]), reason="a GPU is here, which would be checked")
def test_without_a_gpu_it_says_what_was_not_run_and_goes_on_from_there(tmp_path: Path) -> None:
    parts, options = (
        ("machine", "copies", "engine bert-99"),
        ("--work", tmp_path, "--lock", tmp_path / "lock"),
    )
    command = [sys.executable, "-m", "tools.gpu_check", *parts, *map(str, options)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "copies: not run (no GPU can be used" in first
    done = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {name: one["outcome"] for name, one in done.items()} == {
        "machine": "done",
        "copies": "not run",
        "engine bert-99": "not run",
    }
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "copies …" in again and "machine …" not in again
    assert (tmp_path / "gpu_check.txt").read_text() in again


def test_a_part_that_breaks_is_kept_with_its_traceback(bench: Bench) -> None:
    def broken(_: Bench) -> dict[str, object]:
        raise ZeroDivisionError("by the driver")

    found = gpu_check._outcome(broken, bench)  # type: ignore[arg-type]
    assert found["outcome"] == "failed"
    assert "by the driver" in found["traceback"]
