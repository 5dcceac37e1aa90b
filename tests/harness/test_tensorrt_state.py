from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from harness.backends.base import BackendOptions, LoopBackend
from harness.backends.onnxruntime import OnnxBackend
from harness.backends.tensorrt import TensorRTBackend
from harness.backends.tensorrt_device import EngineTensor
from harness.backends.tensorrt_library import EngineInfo
from models.gptj.architecture import gptj
from models.gptj.decoder import DecoderShape
from models.gptj.text import FACTS_FILE, OFFSETS_FILE, TOKENS_FILE, PromptSamples, SampleFacts
from models.network.agreement import drained
from models.registry import get_benchmark
from tests.harness.fake_gpu import FakeDevice, World

SMALL = DecoderShape(layers=2, hidden=32, heads=2, rotary=8, inner=48, vocabulary=40, prompt=24, end=39)
DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class DecodingDevice(FakeDevice):
    """An imaginary GPU whose engine has a free dimension of at most a prompt's length, and a state."""

    def load_engine(self, engine: Path) -> tuple[EngineTensor, ...]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(engine.read_bytes(), options)
        values = [(one, True) for one in self._session.get_inputs()]
        values += [(one, False) for one in self._session.get_outputs()]
        self._tensors = tuple(
            EngineTensor(
                one.name,
                is_input,
                np.dtype(DTYPES[one.type]),
                tuple(size if isinstance(size, int) else SMALL.prompt for size in one.shape[1:]),
                tuple(axis for axis, size in enumerate(one.shape[1:]) if not isinstance(size, int)),
            )
            for one, is_input in values
        )
        return self._tensors


def write_samples(folder: Path, lengths: list[int]) -> PromptSamples:
    random = np.random.default_rng(5)
    np.save(folder / OFFSETS_FILE, np.concatenate(([0], np.cumsum(lengths))))
    np.save(folder / TOKENS_FILE, random.integers(0, SMALL.end, sum(lengths)).astype(np.int32))
    facts = SampleFacts(end=SMALL.end, limit=SMALL.prompt, cut=0)
    (folder / FACTS_FILE).write_text(facts.model_dump_json())
    return PromptSamples(folder)


def test_a_decoder_keeps_its_cache_on_the_device_and_answers_as_on_the_cpu(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    gptj(engine, shape=SMALL)
    info = EngineInfo(
        library="tensorrt_rtx",
        version="1.0",
        compute_capability="8.9",
        precision="fp16",
        max_batch_size=3,
    )
    EngineInfo.path(engine).write_text(info.model_dump_json())
    options = BackendOptions(
        get_benchmark("gptj-99"), "fp16", engine, write_samples(tmp_path, [24, 3, 11, 17]), 3
    )
    world = World()
    device = DecodingDevice(world)
    backend = TensorRTBackend(options, [device])
    cpu = OnnxBackend(options)
    backend.load(np.arange(4))
    for indices in (np.array([0, 1, 2]), np.array([3]), np.array([1, 0])):
        device.copies.clear()
        assert drained(backend.open_loop(0), indices) == drained(cpu.open_loop(0), indices)
        state = len(indices) * 2 * SMALL.hidden * SMALL.slots
        copied = [max(size) if isinstance(size, tuple) else size for size in device.copies]
        assert max(copied) < state, "the cache was copied"
    assert (
        in_a_loop(backend)
        == in_a_loop(cpu)
        == {number: drained(cpu.open_loop(0), np.array([number]))[0] for number in range(4)}
    )
    backend.close()
    assert world.is_empty


def in_a_loop(backend: LoopBackend) -> dict[int, bytes]:
    """Answer the four samples in three slots: one enters when another has left."""
    loop = backend.open_loop(0)
    found: dict[int, bytes] = {}
    todo = [3, 0, 2, 1]
    while todo or not loop.is_idle:
        entering, todo = todo[: loop.room], todo[loop.room :]
        loop.admit(entering, np.array(entering, np.int64))
        step = loop.step()
        ends = step.responses.offsets.tolist()
        for row, sample in enumerate(step.finished):
            found[sample] = step.responses.data[ends[row] : ends[row + 1]].tobytes()
    return found
