"""The TensorRT backend on a real GPU: the first thing to run where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.errors import SettingError
from mlperf_submission.harness.backends.base import BackendOptions, open_backend
from mlperf_submission.harness.backends.tensorrt.backend import TensorRTBackend
from mlperf_submission.harness.backends.tensorrt.build import build
from mlperf_submission.harness.backends.tensorrt.cuda import import_cuda, visible_gpus
from mlperf_submission.harness.backends.tensorrt.library import gpu_facts
from models.gptj.architecture import gptj
from models.network.agreement import CpuSession
from models.network.calibration import as_input
from models.network.quantization import quantize
from models.registry import get_benchmark
from models.resnet50.architecture import resnet50
from tests.mlperf_submission.harness.test_tensorrt_state import SMALL, in_a_loop, write_samples

INPUT = "input_tensor:0"


def _why_not() -> str:
    try:
        visible_gpus(import_cuda())
    except SettingError as error:
        return error.what
    return ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=f"needs a GPU: {_why_not()}")


class Patches(StackedSamples):
    def __init__(self, count: int, dtype: str) -> None:
        patches = np.random.default_rng(7).integers(-120, 120, (count, 3, 4, 4)).astype(np.float32)
        self.pixels = as_input(patches.repeat(56, 2).repeat(56, 3), dtype, None)

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {INPUT: self.pixels[indices]}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_gpu_answers_as_onnx_runtime_does(tmp_path: Path, precision: Precision) -> None:
    """On every GPU, two streams each, every batch size, contiguous and scattered samples."""
    source, network, engine = (tmp_path / name for name in ("source.onnx", "network.onnx", "engine"))
    onnx.save(resnet50(stages=((1, 8), (1, 16)), stem=8, classes=11), source)
    benchmark = get_benchmark("resnet50")
    quantize(source, network, benchmark=benchmark, precision=precision, calibration=Patches(20, "float32"))
    _, gpus = gpu_facts()
    capability = gpus[0].compute_capability
    build(network, engine, precision=precision, max_batch_size=8, compute_capability=capability)
    samples = Patches(64, benchmark.network.inputs(precision)[0].dtype)
    expected = CpuSession(network, {}).infer({INPUT: samples.pixels})["ArgMax:0"] - 1
    backend = open_backend("tensorrt", BackendOptions(benchmark, precision, engine, samples, 8, streams=2))
    try:
        backend.load(np.arange(64))
        random, equal, total = np.random.default_rng(0), 0, 0
        for stream in range(backend.streams):
            for count in range(1, 9):
                for indices in (np.arange(count) + stream, random.integers(0, 64, count)):
                    answers = backend.run(stream, indices.astype(np.int64)).data.view(np.int32)
                    equal += int((answers == expected[indices]).sum())
                    total += count
        assert backend.details["cuda_graphs"] == str(8 * backend.streams)
        assert backend.details["scattered_samples"] == "one batched copy"
        assert equal >= 0.97 * total, "a few answers may differ by rounding"
    finally:
        backend.close()


def test_a_decoder_answers_in_flight_as_it_does_in_batches(tmp_path: Path) -> None:
    engine, network = tmp_path / "engine", tmp_path / "network.onnx"
    gptj(network, shape=SMALL)
    _, gpus = gpu_facts()
    capability = gpus[0].compute_capability
    build(network, engine, precision="fp16", max_batch_size=3, compute_capability=capability)
    samples = write_samples(tmp_path, [24, 3, 11, 17])
    backend = cast(
        "TensorRTBackend",
        open_backend(
            "tensorrt", BackendOptions(get_benchmark("gptj-99"), "fp16", engine, samples, 3, devices=(0,))
        ),
    )
    try:
        alone = {number: backend.run(0, np.array([number])).data.tobytes() for number in range(4)}
        assert in_a_loop(backend) == alone
    finally:
        backend.close()
