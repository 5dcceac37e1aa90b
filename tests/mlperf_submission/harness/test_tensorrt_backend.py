"""The TensorRT backend on a device that lives in host memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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

from mlperf_submission.benchmark.answer import Arrays, Samples, StackedSamples
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark, TensorSpec
from mlperf_submission.errors import NetworkFileError, SettingError, StepFailedError
from mlperf_submission.harness.backends.base import BackendOptions, open_backend
from mlperf_submission.harness.backends.tensorrt import backend as tensorrt
from mlperf_submission.harness.backends.tensorrt.backend import TensorRTBackend
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from mlperf_submission.harness.backends.tensorrt.device import GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.harness.sut import DirectSystem
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission.accuracy_log import read_accuracy
from models.bert.architecture import BertShape, bert
from models.bert.samples import SquadSamples
from models.registry import get_benchmark
from models.resnet50.answer import Resnet50Answer
from models.resnet50.architecture import resnet50
from models.resnet50.network import Resnet50Network
from tests.mlperf_submission.harness.fake_gpu import LONGEST, FakeContext, FakeCuda, FakeTensorRT, devices_of
from tests.mlperf_submission.harness.in_process import run_in_process

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


L40S, L4, T4 = GpuFacts("NVIDIA L40S", "8.9"), GpuFacts("NVIDIA L4", "8.9"), GpuFacts("NVIDIA T4", "7.5")


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """One imaginary GPU."""
    cuda = FakeCuda()
    yield cuda
    assert cuda.is_empty, "something was not freed"


@pytest.fixture
def three() -> Iterator[FakeCuda]:
    cuda = FakeCuda(*[GpuFacts(f"Imaginary GPU {number}", "8.9") for number in range(3)])
    yield cuda
    assert cuda.is_empty, "something was not freed"


def open_on(cuda: FakeCuda, options: BackendOptions) -> TensorRTBackend:
    """Open the backend on all imaginary GPUs, in a thread that chose none of them."""
    assert options.engine is not None
    info = EngineInfo.beside(options.engine)
    with ThreadPoolExecutor(1) as other:
        return other.submit(lambda: TensorRTBackend(options, devices_of(cuda, info))).result()


ALL = np.arange(SAMPLES, dtype=np.int64)


@settings(max_examples=40, deadline=None)
@given(
    indices=st.lists(st.integers(0, SAMPLES - 1), min_size=1, max_size=BATCH),
    loaded=st.sets(st.integers(0, SAMPLES - 1)),
    graphs=st.booleans(),
    batched=st.booleans(),
    size=st.sampled_from(["bench", "large"]),
)
def test_any_batch_of_loaded_samples_gets_its_answers(
    request: pytest.FixtureRequest,
    indices: list[int],
    loaded: set[int],
    graphs: bool,
    batched: bool,
    size: str,
) -> None:
    chosen: Bench = request.getfixturevalue(size)
    cuda = FakeCuda()
    cuda.can_capture = graphs
    cuda.can_batch = batched
    backend = open_on(cuda, chosen.options)
    backend.load(np.array(sorted(loaded | set(indices), reverse=True), np.int64))
    chosen.check(backend, 0, indices)
    chosen.check(backend, 0, indices[::-1])
    backend.close()
    assert cuda.is_empty


def test_streams_and_devices_work_side_by_side(bench: Bench, three: FakeCuda) -> None:
    """Each engine, context, graph and buffer is on its own GPU; once, all engines were loaded on the last."""
    backend = open_on(three, replace(bench.options, streams=2))
    assert backend.streams == 6
    assert backend.device_names == ("Imaginary GPU 0", "Imaginary GPU 1", "Imaginary GPU 2")
    backend.load(ALL)

    def drive(stream: int) -> None:
        random = np.random.default_rng(stream)
        for _ in range(10):
            bench.check(backend, stream, random.integers(0, SAMPLES, random.integers(1, BATCH + 1)).tolist())

    with ThreadPoolExecutor(backend.streams) as pool:
        list(pool.map(drive, range(backend.streams)))
    assert three.launches == [20, 20, 20]
    backend.close()


@pytest.mark.parametrize("scenario", [Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM])
def test_a_streams_queries_are_answered_in_loadgens_own_thread(
    tmp_path: Path,
    bench: Bench,
    three: FakeCuda,
    make_settings: Callable[..., RunSettings],
    scenario: Scenario,
) -> None:
    """MultiStream loads some samples twice, fills up its last query, and needs two batches for one query."""
    backend = open_on(three, bench.options)
    errors: list[BaseException] = []
    run_in_process(
        DirectSystem(backend, BATCH, errors.append),
        errors,
        make_settings(scenario, kind=RunKind.ACCURACY, samples=30),
        tmp_path,
        samples=SAMPLES,
        resident=30,
        load=lambda indices: backend.load(np.array(indices)),
        unload=lambda _: backend.unload(),
    )
    answers = {
        entry.qsl_idx: int.from_bytes(entry.data, "little")
        for entry in read_accuracy(tmp_path / "mlperf_log_accuracy.json")
    }
    assert answers == dict(enumerate(bench.expected.tolist()))
    backend.close()


def test_scattered_samples_are_copied_by_one_call(large: Bench, cuda: FakeCuda) -> None:
    backend = open_on(cuda, large.options)
    backend.load(ALL)
    row = 3 * 64 * 64 * 4
    for indices, sizes in (
        ([3, 4, 5, 6], [4 * row]),
        ([3, 4, 9, 10, 11], [(2 * row, 3 * row)]),
        ([5, 4, 3], [(row, row, row)]),
        ([7, 7], [(row, row)]),
    ):
        cuda.forget_copies()
        large.check(backend, 0, indices)
        assert cuda.copies[0] == sizes, "inputs; the outputs are copied by the graph"
    backend.close()


def test_small_scattered_samples_are_gathered_and_copied_once(bench: Bench, cuda: FakeCuda) -> None:
    backend = open_on(cuda, bench.options)
    backend.load(ALL)
    cuda.forget_copies()
    bench.check(backend, 0, [9, 2, 30, 4])
    assert cuda.copies[0] == [4 * 3 * 32 * 32 * 4]
    backend.close()


def test_every_batch_size_is_captured_before_the_first_batch(bench: Bench, cuda: FakeCuda) -> None:
    backend = open_on(cuda, bench.options)
    assert backend.details["cuda_graphs"] == str(BATCH)
    enqueued = len(cuda.enqueued[0])
    backend.load(ALL)
    for count in range(1, BATCH + 1):
        bench.check(backend, 0, list(range(count)))
    assert cuda.launches == [BATCH]
    assert len(cuda.enqueued[0]) == enqueued, "nothing was enqueued outside of a graph"
    backend.close()


def test_without_graphs_the_batches_are_enqueued(bench: Bench, cuda: FakeCuda) -> None:
    cuda.can_capture = False
    backend = open_on(cuda, bench.options)
    assert backend.details["cuda_graphs"].startswith("none: CUDA refused cudaStreamEndCapture")
    backend.load(ALL)
    bench.check(backend, 0, [1, 2])
    assert cuda.launches == [0]
    backend.close()


def test_other_samples_can_be_loaded(bench: Bench, cuda: FakeCuda) -> None:
    backend = open_on(cuda, bench.options)
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
def test_impossible_batches_are_named(bench: Bench, cuda: FakeCuda, count: int) -> None:
    backend = open_on(cuda, bench.options)
    backend.load(ALL)
    with pytest.raises(SettingError, match="batch"):
        backend.run(0, ALL[:count])
    bench.check(backend, 0, [5])
    backend.close()


def test_samples_of_no_rows_become_the_batches_that_their_answer_makes(bench: Bench, cuda: FakeCuda) -> None:
    benchmark = small(32)
    benchmark.answer = OwnBatches()
    samples = Unstacked(Pictures(SAMPLES, 32))
    backend = open_on(cuda, replace(bench.options, benchmark=benchmark, samples=samples))
    backend.load(ALL)
    bench.check(backend, 0, [9, 2, 30, 4, 7])
    bench.check(backend, 0, [8])
    backend.close()


def test_closing_twice_is_no_harm(bench: Bench, cuda: FakeCuda) -> None:
    backend = open_on(cuda, bench.options)
    backend.load(ALL)
    backend.close()
    backend.close()


@pytest.mark.parametrize("share", [0.1, 0.6, 1.4])
def test_out_of_memory_frees_what_was_taken(bench: Bench, three: FakeCuda, share: float) -> None:
    three.memory_left[1] = int(share * BATCH * 3 * 32 * 32 * 4)
    with pytest.raises(StepFailedError, match="out of memory"):
        open_on(three, replace(bench.options, streams=2))


def test_a_gpu_that_fails_is_named_by_its_first_refusal(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is freed then is refused as well, which says nothing."""
    cuda = FakeCuda()
    monkeypatch.setattr(FakeContext, "_infer", lambda *_: setattr(cuda, "broken", True))
    with pytest.raises(StepFailedError, match="CUDA refused cudaMemcpyAsync: cudaErrorIllegalAddress"):
        open_on(cuda, bench.options)


def test_a_gpu_that_is_not_there_is_named(bench: Bench, cuda: FakeCuda) -> None:
    with pytest.raises(SettingError, match="there is no such GPU"):
        GpuDevice(1, EngineInfo.beside(bench.options.require("tensorrt")[1]), cuda, FakeTensorRT(cuda))


def test_samples_of_another_precision_are_named(bench: Bench, cuda: FakeCuda) -> None:
    backend = open_on(cuda, replace(bench.options, samples=Pictures(SAMPLES, 32, "int8")))
    with pytest.raises(NetworkFileError, match="is int8"):
        backend.load(ALL)
    backend.close()


def test_an_engine_that_does_not_fit_is_named(bench: Bench, cuda: FakeCuda) -> None:
    def refusal(cuda: FakeCuda, **changes: Any) -> str:
        with pytest.raises((SettingError, NetworkFileError)) as caught:
            open_on(cuda, replace(bench.options, **changes))
        return caught.value.what

    hopper = FakeCuda(GpuFacts("A Hopper", "9.0"))
    assert "for compute capability 8.9, but A Hopper has 9.0" in refusal(hopper)
    assert "takes 1 to 6" in refusal(cuda, batch_size=7)
    assert "the run is int8, the engine fp32" in refusal(cuda, precision="int8")
    assert "needs input_tensor:0 float32 (3, 64, 64)" in refusal(cuda, benchmark=small(64))


@pytest.mark.parametrize(
    ("gpus", "devices", "names"),
    [
        ([T4, L40S, L40S], (), ("NVIDIA L40S", "NVIDIA L40S")),
        ([L40S, T4, L4], (2, 0), ("NVIDIA L4", "NVIDIA L40S")),
    ],
)
def test_a_further_gpu_of_another_kind_is_left_alone(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    gpus: list[GpuFacts],
    devices: tuple[int, ...],
    names: tuple[str, ...],
) -> None:
    cuda = FakeCuda(*gpus)
    monkeypatch.setattr(tensorrt, "import_cuda", lambda: cuda)
    monkeypatch.setattr(tensorrt, "import_library", lambda _: FakeTensorRT(cuda))
    backend = tensorrt.open_backend(
        replace(bench.options, engine=renamed(bench, tmp_path, FakeTensorRT.__version__), devices=devices)
    )
    assert backend.device_names == names
    backend.load(ALL)
    bench.check(backend, 0, [1, 5])
    bench.check(backend, 1, [7])
    backend.close()
    assert cuda.is_empty


def renamed(bench: Bench, folder: Path, version: str) -> Path:
    """Return a copy of a bench's engine that another version built."""
    assert bench.options.engine is not None
    engine = folder / "engine"
    engine.write_bytes(bench.options.engine.read_bytes())
    info = EngineInfo.beside(bench.options.engine).model_copy(update={"version": version})
    EngineInfo.path(engine).write_text(info.model_dump_json())
    return engine


def test_opening_it_without_a_gpu_says_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    import tensorrt_rtx

    engine = renamed(bench, tmp_path, "1")
    with pytest.raises(SettingError, match="built by tensorrt_rtx 1, but"):
        open_backend("tensorrt", replace(bench.options, engine=engine))
    renamed(bench, tmp_path, tensorrt_rtx.__version__)
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
def test_sequences_run_at_their_own_length(tmp_path: Path, cuda: FakeCuda, sequence: int | None) -> None:
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
    backend = open_on(cuda, options)
    assert bool(backend._lanes[0].graphs) == bool(sequence)
    session = onnxruntime.InferenceSession(str(engine), providers=["CPUExecutionProvider"])
    for indices in ([0, 2, 4], [1], [3, 0, 1, 2, 4]):
        cuda.forget_copies()
        chosen = np.array(indices)
        responses = backend.run(0, chosen)
        length = sequence or int(samples.costs[chosen].max())
        assert cuda.copies[0][0] == len(indices) * length * 8, "int64 ids, no more than are needed"
        start, end = session.run(None, {**samples.batch(chosen, length)})
        for row, index in enumerate(indices):
            own = slice(0, int(samples.costs[index]))
            part = responses.data[responses.offsets[row] : responses.offsets[row + 1]].view("<f4")
            np.testing.assert_allclose(part[0::2], start[row, own], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(part[1::2], end[row, own], rtol=1e-5, atol=1e-6)
    backend.close()
