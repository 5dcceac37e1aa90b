"""Volumes on the TensorRT backend: their sums stay on the device, and come out as on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.backends.onnxruntime import OnnxBackend
from mlperf_submission.harness.backends.tensorrt.backend import TensorRTBackend
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from models.network.agreement import drained
from models.registry import get_benchmark
from models.unet3d.samples import VolumeSamples
from tests.mlperf_submission.harness.fake_gpu import FakeCuda, devices_of
from tests.models.unet3d.networks import Place, summing_model

BLOCKS = 8


def test_sums_stay_on_the_device_and_labels_are_those_of_the_cpu(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    onnx.save(summing_model(*Place(2).nodes, BLOCKS), engine)
    info = EngineInfo(
        library="tensorrt_rtx", version="1", compute_capability="8.9", precision="fp32", max_batch_size=2
    )
    EngineInfo.path(engine).write_text(info.model_dump_json())
    random = np.random.default_rng(4)
    shapes = [(128, 128, 192), (128, 128, 128), (192, 128, 128)]
    samples = VolumeSamples([random.standard_normal(shape).astype(np.float32) for shape in shapes])
    options = BackendOptions(get_benchmark("3d-unet-99"), "fp32", engine, samples, 2)
    cuda = FakeCuda()
    backend = TensorRTBackend(options, devices_of(cuda, info))
    backend.load(np.arange(3))
    cuda.forget_copies()
    found = drained(backend.open_loop(0), np.arange(3))
    copied = [max(size) if isinstance(size, tuple) else size for size in cuda.copies[0]]
    assert max(copied) < 3 * 4 * 128**3, "the scores of a window were copied"
    assert found == drained(OnnxBackend(options).open_loop(0), np.arange(3))
    backend.close()
    assert cuda.is_empty
