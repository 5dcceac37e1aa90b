from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlperf_submission.harness.backends.base import BackendOptions, LoopBackend
from mlperf_submission.harness.backends.onnxruntime import OnnxBackend
from mlperf_submission.harness.backends.tensorrt.backend import TensorRTBackend
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from models.gptj.architecture import gptj
from models.gptj.decoder import DecoderShape
from models.gptj.text import FACTS_FILE, OFFSETS_FILE, TOKENS_FILE, PromptSamples, SampleFacts
from models.network.agreement import drained
from models.registry import get_benchmark
from tests.mlperf_submission.harness.fake_gpu import FakeCuda, Limits, devices_of

SMALL = DecoderShape(layers=2, hidden=32, heads=2, rotary=8, inner=48, vocabulary=40, prompt=24, end=39)
PROMPT = (1, SMALL.prompt)


def write_samples(folder: Path, lengths: list[int]) -> PromptSamples:
    random = np.random.default_rng(5)
    np.save(folder / OFFSETS_FILE, np.concatenate(([0], np.cumsum(lengths))))
    np.save(folder / TOKENS_FILE, random.integers(0, SMALL.end, sum(lengths)).astype(np.int32))
    facts = SampleFacts(end=SMALL.end, limit=SMALL.prompt, cut=0)
    (folder / FACTS_FILE).write_text(facts.model_dump_json())
    return PromptSamples(folder)


@pytest.mark.parametrize(
    "profiles",
    [
        ({"N": (1, 3), "S": (4, SMALL.prompt), "P": PROMPT},),
        ({"N": (1, 3), "S": (4, 4), "P": PROMPT}, {"N": (1, 2), "S": (4, SMALL.prompt), "P": PROMPT}),
    ],
    ids=["one profile", "prompts apart from steps"],
)
def test_a_decoder_keeps_its_cache_on_the_device_and_answers_as_on_the_cpu(
    tmp_path: Path, profiles: tuple[Limits, ...]
) -> None:
    """With a profile for each, prompts and steps have contexts of their own over one cache."""
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
    cuda = FakeCuda()
    backend = TensorRTBackend(options, devices_of(cuda, info, profiles))
    cpu = OnnxBackend(options)
    backend.load(np.arange(4))
    for indices in (np.array([0, 1, 2]), np.array([3]), np.array([1, 0])):
        cuda.forget_copies()
        assert drained(backend.open_loop(0), indices) == drained(cpu.open_loop(0), indices)
        state = len(indices) * 2 * SMALL.hidden * SMALL.slots
        copied = [max(size) if isinstance(size, tuple) else size for size in cuda.copies[0]]
        assert max(copied) < state, "the cache was copied"
    assert (
        in_a_loop(backend)
        == in_a_loop(cpu)
        == {number: drained(cpu.open_loop(0), np.array([number]))[0] for number in range(4)}
    )
    backend.close()
    assert cuda.is_empty


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
