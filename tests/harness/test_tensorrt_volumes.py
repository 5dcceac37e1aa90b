"""Volumes on the TensorRT backend: their sums stay on the device, and come out as on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from harness.backends.base import BackendOptions
from harness.backends.onnxruntime import OnnxBackend
from harness.backends.tensorrt import TensorRTBackend
from harness.backends.tensorrt_device import EngineTensor
from harness.backends.tensorrt_library import EngineInfo
from models.network.agreement import drained
from models.network.state import DTYPES
from models.registry import get_benchmark
from models.unet3d.samples import VolumeSamples
from tests.harness.fake_gpu import FakeDevice, World
from tests.models.unet3d.networks import Place, summing_model

BLOCKS = 8


class SummingDevice(FakeDevice):
    """An imaginary GPU whose engine takes and returns more types, and has a state."""

    def load_engine(self, engine: Path) -> tuple[EngineTensor, ...]:
        self._session = onnxruntime.InferenceSession(engine.read_bytes(), providers=["CPUExecutionProvider"])
        values = [(one, True) for one in self._session.get_inputs()]
        values += [(one, False) for one in self._session.get_outputs()]
        self._tensors = tuple(
            EngineTensor(
                one.name,
                is_input,
                np.dtype(DTYPES[one.type]),
                tuple(one.shape[1:]),
                (),
            )
            for one, is_input in values
        )
        return self._tensors


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
    world = World()
    device = SummingDevice(world)
    backend = TensorRTBackend(options, [device])
    backend.load(np.arange(3))
    device.copies.clear()
    found = drained(backend.open_loop(0), np.arange(3))
    copied = [max(size) if isinstance(size, tuple) else size for size in device.copies]
    assert max(copied) < 2 * 3 * 4 * 128**3, "the scores of two windows were copied"
    assert found == drained(OnnxBackend(options).open_loop(0), np.arange(3))
    backend.close()
    assert world.is_empty
