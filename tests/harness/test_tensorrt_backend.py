"""The TensorRT backend on a device that lives in host memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import NetworkFileError, SettingError, StepFailedError
from harness.backends.base import BackendOptions, open_backend
from harness.backends.tensorrt import TensorRTBackend
from harness.backends.tensorrt_library import EngineInfo
from models.benchmark import (
    Arrays,
    Benchmark,
    Precision,
    Samples,
    StackedSamples,
    TensorSpec,
)
from models.bert.architecture import BertShape, bert
from models.bert.samples import SquadSamples
from models.registry import get_benchmark
from models.resnet50.answer import Resnet50Answer
from models.resnet50.architecture import resnet50
from models.resnet50.network import Resnet50Network
from tests.harness.fake_gpu import LONGEST, FakeDevice, World

INPUT = "input_tensor:0"


class SmallNetwork(Resnet50Network):
    """resnet50 on pictures of another size."""

    def __init__(self, image: int) -> None:
        self._inputs = (TensorSpec(INPUT, "float32", (None, 3, image, image)),)

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        return self._inputs


def small(image: int) -> Benchmark:
    benchmark = Benchmark("models.resnet50")
    benchmark.network = SmallNetwork(image)
    return benchmark


class Unstacked(Samples):
    """Samples that are not offered as rows: the answer makes a batch of them."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)


class OwnBatches(Resnet50Answer):
    """Makes its batches itself."""

    def inputs(
        self, samples: Samples, indices: NDArray[np.int64], shapes: Mapping[str, tuple[object, ...]]
    ) -> Arrays:
        assert isinstance(samples, Unstacked)
        return samples.pictures.rows(indices)


class Pictures(StackedSamples):
    def __init__(self, count: int, image: int, dtype: str = "float32") -> None:
        random = np.random.default_rng(7)
        patches = random.integers(-120, 120, (count, 3, 4, 4)).repeat(image // 4, 2).repeat(image // 4, 3)
        self.pixels = patches.astype(dtype)

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {INPUT: self.pixels[indices]}


BATCH = 6
SAMPLES = 40


@dataclass
class Bench:
    """A network, its samples and what it answers to them."""

    options: BackendOptions
    expected: NDArray[np.int32]

    def check(self, backend: TensorRTBackend, stream: int, indices: list[int]) -> None:
        responses = backend.run(stream, np.array(indices, np.int64))
        assert responses.data.view(np.int32).tolist() == self.expected[indices].tolist()
        assert responses.offsets.tolist() == list(range(0, 4 * len(indices) + 1, 4))


def make_bench(folder: Path, image: int) -> Bench:
    engine = folder / f"engine{image}"
    onnx.save(resnet50(stages=((1, 8), (1, 16)), stem=8, classes=11, image=image), engine)
    info = EngineInfo(
        library="tensorrt_rtx", version="1", compute_capability="8.9", precision="fp32", max_batch_size=BATCH
    )
    EngineInfo.path(engine).write_text(info.model_dump_json())
    pictures = Pictures(SAMPLES, image)
    session = onnxruntime.InferenceSession(str(engine), providers=["CPUExecutionProvider"])
    expected = (session.run(["ArgMax:0"], {INPUT: pictures.pixels})[0] - 1).astype(np.int32)
    assert len(set(expected.tolist())) > 2
    return Bench(BackendOptions(small(image), "fp32", engine, pictures, BATCH), expected)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Samples of 12 KiB: small ones are gathered before they are copied."""
    return make_bench(tmp_path_factory.mktemp("small"), 32)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Samples of 48 KiB: large ones are copied one by one."""
    return make_bench(tmp_path_factory.mktemp("large"), 64)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    assert world.is_empty, "something was not freed"


ALL = np.arange(SAMPLES, dtype=np.int64)


@settings(max_examples=40, deadline=None)
@given(
    indices=st.lists(st.integers(0, SAMPLES - 1), min_size=1, max_size=BATCH),
    loaded=st.sets(st.integers(0, SAMPLES - 1)),
    on_device=st.booleans(),
    graphs=st.booleans(),
    size=st.sampled_from(["bench", "large"]),
)
def test_any_batch_of_loaded_samples_gets_its_answers(
    request: pytest.FixtureRequest,
    indices: list[int],
    loaded: set[int],
    on_device: bool,
    graphs: bool,
    size: str,
) -> None:
    chosen: Bench = request.getfixturevalue(size)
    world = World()
    device = FakeDevice(world)
    device.can_capture = graphs
    backend = TensorRTBackend(chosen.options, [device], samples_on_device=on_device)
    backend.load(np.array(sorted(loaded | set(indices), reverse=True), np.int64))
    chosen.check(backend, 0, indices)
    chosen.check(backend, 0, indices[::-1])
    backend.close()
    assert world.is_empty


def test_streams_and_devices_work_side_by_side(bench: Bench, world: World) -> None:
    devices = [FakeDevice(world, number) for number in range(3)]
    backend = TensorRTBackend(replace(bench.options, streams=2), devices)
    assert backend.streams == 6
    assert backend.device_names == ("Imaginary GPU 0", "Imaginary GPU 1", "Imaginary GPU 2")
    backend.load(ALL)

    def drive(stream: int) -> None:
        random = np.random.default_rng(stream)
        for _ in range(10):
            bench.check(backend, stream, random.integers(0, SAMPLES, random.integers(1, BATCH + 1)).tolist())

    with ThreadPoolExecutor(backend.streams) as pool:
        list(pool.map(drive, range(backend.streams)))
    assert all(len(device.launches) == 20 for device in devices)
    backend.close()


def test_scattered_samples_are_copied_by_one_call(large: Bench, world: World) -> None:
    device = FakeDevice(world)
    backend = TensorRTBackend(large.options, [device])
    backend.load(ALL)
    row = 3 * 64 * 64 * 4
    for indices, sizes in (
        ([3, 4, 5, 6], [4 * row]),
        ([3, 4, 9, 10, 11], [(2 * row, 3 * row)]),
        ([5, 4, 3], [(row, row, row)]),
        ([7, 7], [(row, row)]),
    ):
        device.copies.clear()
        large.check(backend, 0, indices)
        assert device.copies == sizes, "inputs; the outputs are copied by the graph"
    backend.close()


def test_small_scattered_samples_are_gathered_and_copied_once(bench: Bench, world: World) -> None:
    device = FakeDevice(world)
    backend = TensorRTBackend(bench.options, [device])
    backend.load(ALL)
    device.copies.clear()
    bench.check(backend, 0, [9, 2, 30, 4])
    assert device.copies == [4 * 3 * 32 * 32 * 4]
    backend.close()


def test_every_batch_size_is_captured_before_the_first_batch(bench: Bench, world: World) -> None:
    device = FakeDevice(world)
    backend = TensorRTBackend(bench.options, [device])
    assert backend.details["cuda_graphs"] == str(BATCH)
    enqueued = len(device.enqueued)
    backend.load(ALL)
    for count in range(1, BATCH + 1):
        bench.check(backend, 0, list(range(count)))
    assert len(device.launches) == BATCH
    assert len(device.enqueued) == enqueued, "nothing was enqueued outside of a graph"
    backend.close()


def test_without_graphs_the_batches_are_enqueued(bench: Bench, world: World) -> None:
    device = FakeDevice(world)
    device.can_capture = False
    backend = TensorRTBackend(bench.options, [device])
    assert backend.details["cuda_graphs"] == "0"
    backend.load(ALL)
    bench.check(backend, 0, [1, 2])
    assert not device.launches
    backend.close()


def test_other_samples_can_be_loaded(bench: Bench, world: World) -> None:
    backend = TensorRTBackend(bench.options, [FakeDevice(world)])
    backend.load(np.array([1, 2], np.int64))
    bench.check(backend, 0, [2, 1])
    backend.load(np.array([30, 2], np.int64))
    bench.check(backend, 0, [30, 2])
    with pytest.raises(SettingError, match="not loaded"):
        backend.run(0, np.array([1], np.int64))
    backend.unload()
    with pytest.raises(SettingError, match="not loaded"):
        backend.run(0, np.array([2], np.int64))
    backend.close()


@pytest.mark.parametrize("count", [0, BATCH + 1])
def test_impossible_batches_are_named(bench: Bench, world: World, count: int) -> None:
    backend = TensorRTBackend(bench.options, [FakeDevice(world)])
    backend.load(ALL)
    with pytest.raises(SettingError, match="batch"):
        backend.run(0, ALL[:count])
    bench.check(backend, 0, [5])
    backend.close()


def test_samples_of_no_rows_become_the_batches_that_their_answer_makes(bench: Bench, world: World) -> None:
    benchmark = small(32)
    benchmark.answer = OwnBatches()
    samples = Unstacked(Pictures(SAMPLES, 32))
    options = replace(bench.options, benchmark=benchmark, samples=samples)
    backend = TensorRTBackend(options, [FakeDevice(world)])
    backend.load(ALL)
    bench.check(backend, 0, [9, 2, 30, 4, 7])
    bench.check(backend, 0, [8])
    backend.close()


def test_closing_twice_is_no_harm(bench: Bench, world: World) -> None:
    backend = TensorRTBackend(bench.options, [FakeDevice(world)])
    backend.load(ALL)
    backend.close()
    backend.close()


@pytest.mark.parametrize("share", [0.1, 0.6, 1.4])
def test_out_of_memory_frees_what_was_taken(bench: Bench, world: World, share: float) -> None:
    device = FakeDevice(world)
    device.memory_left = int(share * BATCH * 3 * 32 * 32 * 4)
    with pytest.raises(StepFailedError, match="out of memory"):
        TensorRTBackend(replace(bench.options, streams=2), [device])


def test_samples_of_another_precision_are_named(bench: Bench, world: World) -> None:
    backend = TensorRTBackend(
        replace(bench.options, samples=Pictures(SAMPLES, 32, "int8")), [FakeDevice(world)]
    )
    with pytest.raises(NetworkFileError, match="is int8"):
        backend.load(ALL)
    backend.close()


def test_an_engine_that_does_not_fit_is_named(bench: Bench, world: World) -> None:
    def refusal(device: FakeDevice, **changes: Any) -> str:
        with pytest.raises((SettingError, NetworkFileError)) as caught:
            TensorRTBackend(replace(bench.options, **changes), [device])
        return caught.value.what

    hopper = FakeDevice(world)
    hopper.compute_capability = "9.0"
    assert "for compute capability 8.9, but Imaginary GPU 0 has 9.0" in refusal(hopper)
    assert "takes 1 to 6" in refusal(FakeDevice(world), batch_size=7)
    assert "the run is int8, the engine fp32" in refusal(FakeDevice(world), precision="int8")
    assert "needs input_tensor:0 float32 (3, 64, 64)" in refusal(FakeDevice(world), benchmark=small(64))


def test_opening_it_without_a_gpu_says_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    import tensorrt_rtx

    assert bench.options.engine is not None
    info = EngineInfo.beside(bench.options.engine)
    engine = tmp_path / "engine"
    engine.write_bytes(b"engine")
    EngineInfo.path(engine).write_text(info.model_dump_json())
    with pytest.raises(SettingError, match="built by tensorrt_rtx 1, but"):
        open_backend("tensorrt", replace(bench.options, engine=engine))
    here = info.model_copy(update={"version": tensorrt_rtx.__version__})
    EngineInfo.path(engine).write_text(here.model_dump_json())
    with pytest.raises(SettingError, match=r"no GPU can be used|is for compute"):
        open_backend("tensorrt", replace(bench.options, engine=engine))


class Windows(SquadSamples):
    """Sequences of ids, each of another length."""

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = np.array(lengths, np.int32)
        self._costs = self._lengths.astype(np.int64)
        self._first = np.full(len(lengths), 3, np.int32)
        self._ids = np.random.default_rng(3).integers(1, 40, (len(lengths), LONGEST)).astype(np.int32)
        self._ids *= np.arange(LONGEST) < self._lengths[:, None]


@pytest.mark.parametrize("sequence", [None, LONGEST])
def test_sequences_run_at_their_own_length(tmp_path: Path, world: World, sequence: int | None) -> None:
    """A batch is as long as its longest sequence; an engine of one length gets that one."""
    engine = tmp_path / "engine"
    shape = BertShape(layers=1, hidden=8, heads=2, inner=8, vocabulary=40, positions=LONGEST)
    onnx.save(bert(shape, sequence=sequence), engine)
    info = EngineInfo(
        library="tensorrt_rtx", version="1", compute_capability="8.9", precision="fp32", max_batch_size=BATCH
    )
    EngineInfo.path(engine).write_text(info.model_dump_json())
    samples = Windows([9, 384, 30, 50, 12])
    options = BackendOptions(get_benchmark("bert-99"), "fp32", engine, samples, BATCH)
    device = FakeDevice(world)
    backend = TensorRTBackend(options, [device])
    assert bool(backend._lanes[0].graphs) == bool(sequence)
    session = onnxruntime.InferenceSession(str(engine), providers=["CPUExecutionProvider"])
    for indices in ([0, 2, 4], [1], [3, 0, 1, 2, 4]):
        device.copies.clear()
        chosen = np.array(indices)
        responses = backend.run(0, chosen)
        length = sequence or int(samples.costs[chosen].max())
        assert device.copies[0] == len(indices) * length * 8, "int64 ids, no more than are needed"
        start, end = session.run(None, {**samples.batch(chosen, length)})
        for row, index in enumerate(indices):
            own = slice(0, int(samples.costs[index]))
            part = responses.data[responses.offsets[row] : responses.offsets[row + 1]].view("<f4")
            np.testing.assert_allclose(part[0::2], start[row, own], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(part[1::2], end[row, own], rtol=1e-5, atol=1e-6)
    backend.close()
