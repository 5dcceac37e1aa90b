"""What the host does for a sample around the engine, for all five: processor time, bytes, calls of CUDA.

Backend, harness and LoadGen are the real ones, at the batch sizes of the system file; CUDA and TensorRT are
replaced by calls that do nothing. So nothing of the time is a device's, or that of the calls themselves, of
which there are as many as the figures say. Samples have the sizes and lengths of the official data sets, and
answers are as long as they get: 300 detections of an image, 128 tokens of a summary.
"""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from cuda.bindings import runtime
from numpy.typing import NDArray
from pydantic import JsonValue

from flows.request import SubmissionRequest
from mlperf_submission.benchmark.answer import LoopAnswer, Samples, StackedSamples
from mlperf_submission.benchmark.parts import TensorSpec, ignore_progress
from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.backends.tensorrt.backend import TensorRTBackend
from mlperf_submission.harness.backends.tensorrt.device import GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from mlperf_submission.harness.child import run
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.process import run_module, serve_request
from mlperf_submission.rounds import Scenario
from models.bert.facts import MAX_SEQUENCE
from models.bert.features import Feature
from models.bert.samples import SquadSamples
from models.bert.samples import write_samples as write_windows
from models.gptj.decoder import BEAMS, GPTJ_6B, state_names
from models.gptj.facts import FULL_PROMPT
from models.gptj.text import FACTS_FILE, OFFSETS_FILE, TOKENS_FILE, PromptSamples, SampleFacts
from models.network.state import PAST, PRESENT
from models.registry import benchmark_names, get_benchmark
from models.unet3d.samples import VolumeSamples
from models.unet3d.tensors import FULL_BLOCKS, VOXELS
from models.unet3d.tensors import PARTS as SUMS
from models.unet3d.volumes import CLASSES
from tools.arithmetic import PROMPT, TOKENS
from tools.benchmarks.ceilings import settings_of
from tools.gpu_check.engines import SHORT_IN_SERVER
from tools.gpu_check.parts import Bench, Part

_DEVICE = 1 << 60
"""Addresses from here on are the device's."""
_CASE = (320, 320, 320)
"""Voxels of a case of 3d-unet: 64 windows."""
_CASES, _PROMPTS = 2, 512
_STATES: Mapping[str, tuple[TensorSpec, ...]] = {
    "3d-unet-99": tuple(
        TensorSpec(f"sums.{part}", "float32", (None, 1, FULL_BLOCKS, CLASSES * VOXELS))
        for part in range(SUMS)
    ),
    "gptj-99": tuple(
        TensorSpec(name, "float16", (None, GPTJ_6B.heads, GPTJ_6B.slots, GPTJ_6B.head))
        for name in state_names(GPTJ_6B)
    ),
}
_LENGTHS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "gptj-99": ((BEAMS, BEAMS), (BEAMS, FULL_PROMPT)),
}
"""Of each profile the least and the largest free length, but that of what the prompts have filled."""


class NoCuda:
    """CUDA's runtime whose calls do nothing but count.

    Attributes:
        to_device, to_host: bytes that were to be copied.
        calls: of functions, those of TensorRT's contexts among them.
        answers: what the first copy from an address of the device brings.
    """

    def __init__(self) -> None:
        self.to_device = self.to_host = self.calls = 0
        self.answers: dict[int, NDArray[np.generic]] = {}
        self._memory: list[NDArray[np.uint8]] = []
        self._next = _DEVICE
        self._before = (0, 0)
        self._handles = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        """Return what the real one has of this name, or a function that only counts."""
        found = getattr(runtime, name)
        if callable(found) and not isinstance(found, type):
            found = self.nothing
        setattr(self, name, found)
        return found

    def nothing(self, *_: Any) -> tuple[Any, int]:
        """Count a call; return a handle that no other call returned."""
        self.calls += 1
        return runtime.cudaError_t.cudaSuccess, next(self._handles)

    def cudaGetDeviceProperties(self, _: int) -> tuple[Any, Any]:  # noqa: N802 - CUDA's names here and below
        """Return those of a GPU that is not there."""
        facts = SimpleNamespace(name=b"no GPU", major=8, minor=9, totalGlobalMem=0)
        return runtime.cudaError_t.cudaSuccess, facts

    def cudaMalloc(self, size: int) -> tuple[Any, int]:  # noqa: N802
        """Return an address that nobody reads."""
        self._next += size
        return runtime.cudaError_t.cudaSuccess, self._next - size

    def cudaHostAlloc(self, size: int, _: int) -> tuple[Any, int]:  # noqa: N802
        """Return memory of NumPy's."""
        self._memory.append(np.full(size, 0, np.uint8))  # pages that are there, as pinned ones are
        return runtime.cudaError_t.cudaSuccess, self._memory[-1].ctypes.data

    def cudaMemcpyAsync(self, target: int, source: int, size: int, *_: Any) -> tuple[Any]:  # noqa: N802
        """Count the bytes."""
        self.calls += 1
        if source < _DEVICE:
            self.to_device += size
        else:
            self.to_host += size
            if (values := self.answers.pop(source, None)) is not None:
                ctypes.memmove(target, values.ctypes.data, values.nbytes)
        return (runtime.cudaError_t.cudaSuccess,)

    def cudaMemcpyBatchAsync(  # noqa: N802
        self, _targets: list[int], _sources: list[int], sizes: list[int], *_: Any
    ) -> tuple[Any]:
        """Count the bytes, all of them to the device."""
        self.calls += 1
        self.to_device += sum(sizes)
        return (runtime.cudaError_t.cudaSuccess,)

    def cudaStreamBeginCapture(self, *_: Any) -> tuple[Any]:  # noqa: N802
        """Count what the graph is going to copy to the host."""
        self._before = self.to_host, self.calls
        return (runtime.cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, _: int) -> tuple[Any, int]:  # noqa: N802
        """Return a graph: its bytes."""
        found = self.to_host - self._before[0]
        self.to_host, self.calls = self._before
        return runtime.cudaError_t.cudaSuccess, found

    def cudaGraphInstantiate(self, graph: int, _: int) -> tuple[Any, int]:  # noqa: N802
        """Return the graph."""
        return runtime.cudaError_t.cudaSuccess, graph

    def cudaGraphLaunch(self, graph: int, _: int) -> tuple[Any]:  # noqa: N802
        """Count the graph's bytes."""
        self.calls += 1
        self.to_host += graph
        return (runtime.cudaError_t.cudaSuccess,)


class NoTensorRT:
    """A TensorRT that has an engine with a benchmark's inputs, outputs and state, which does nothing."""

    __version__ = "0.nothing"
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    ExecutionContextAllocationStrategy = SimpleNamespace(STATIC="static", ON_PROFILE_CHANGE="on change")
    nptype = staticmethod(np.dtype)

    class ILogger:
        """TensorRT's, which says nothing here."""

        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)

    def __init__(self, cuda: NoCuda, run: RunRequest) -> None:
        self._cuda, self._rows = cuda, run.batch_size
        name, network = run.benchmark, get_benchmark(run.benchmark).network
        states = _STATES.get(name, ())
        self._inputs = {one.name: one for one in network.inputs(run.precision)} | _named(PAST, states)
        outputs = {one.name: one for one in network.outputs} | _named(PRESENT, states)
        self._tensors = self._inputs | outputs
        self._lengths = _LENGTHS.get(name, ((1, MAX_SEQUENCE),))
        self._answers: dict[str, NDArray[np.generic]] = {}
        if name == "retinanet":
            [one] = network.outputs
            sizes = [run.batch_size, *map(int, filter(None, one.shape))]
            self._answers[one.name] = np.full(sizes, 0.5, one.dtype)
        self.num_io_tensors, self.num_optimization_profiles = len(self._tensors), len(self._lengths)

    def Runtime(self, _: Any) -> Any:  # noqa: N802 - TensorRT's name
        """Return what loads the engine."""
        return SimpleNamespace(deserialize_cuda_engine=lambda _: self)

    def get_tensor_name(self, index: int) -> str:
        """Return the name of an input or output."""
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        """Return which of both it is."""
        return "input" if name in self._inputs else "output"

    def get_tensor_dtype(self, name: str) -> str:
        """Return its dtype as NumPy names it."""
        return self._tensors[name].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Return its shape, -1 where it is free."""
        one = self._tensors[name]
        return tuple(
            -1 if size is None or axis in one.variable_axes else size for axis, size in enumerate(one.shape)
        )

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        """Return the smallest, usual and largest shape of an input."""
        shape = self.get_tensor_shape(name)[1:]
        least, most = (1, FULL_PROMPT) if name == "prompt_slots" else self._lengths[profile]
        low, high = ([size if size >= 0 else free for size in shape] for free in (least, most))
        rows = self._rows if profile == 0 else 2
        return (1, *low), (rows, *high), (rows, *high)

    def create_runtime_config(self) -> Any:
        """Return a configuration that takes everything."""
        return SimpleNamespace(set_execution_context_allocation_strategy=lambda _: None)

    def create_execution_context(self, _: Any) -> Any:
        """Return a context that does nothing."""

        def done(*_: Any) -> bool:
            self._cuda.calls += 1
            return True

        def place(name: str, address: int) -> bool:
            if name in self._answers:
                self._cuda.answers[address] = self._answers[name]
            return done()

        return SimpleNamespace(
            set_tensor_address=place,
            set_optimization_profile_async=done,
            set_input_shape=done,
            execute_async_v3=done,
        )


def _named(prefix: str, states: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
    return {prefix + one.name: replace(one, name=prefix + one.name) for one in states}


class _MadeSamples(StackedSamples):
    """Samples of one input, all alike."""

    def __init__(self, spec: TensorSpec, count: int) -> None:
        self._count, self._name = count, spec.name
        self._one: NDArray[np.generic] = np.ones([size or 1 for size in spec.shape], spec.dtype)

    def __len__(self) -> int:
        return self._count

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        return {self._name: np.repeat(self._one, len(indices), axis=0)}


def made_samples(run: RunRequest, folder: Path) -> Samples:
    """Return samples of the official sizes, as many as are resident; lengths are drawn (seeded).

    Sequences of bert-99 have 180 of 384 tokens on average, prompts of gptj-99 900 of at most 1,919.
    """
    count, random = run.settings.performance_sample_count, np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    match run.benchmark:
        case "bert-99":
            drawn = random.gamma(8, TOKENS * MAX_SEQUENCE / 8, count)
            lengths = np.clip(drawn, 32, MAX_SEQUENCE).astype(int)
            windows = [SimpleNamespace(ids=np.ones(length, np.int32), window=12) for length in lengths]
            write_windows(cast("list[Feature]", windows), folder, count, ignore_progress)
            return SquadSamples(folder)
        case "gptj-99":
            lengths = np.clip(random.normal(PROMPT, PROMPT / 3, count), 64, FULL_PROMPT).astype(int)
            np.save(folder / TOKENS_FILE, np.ones(lengths.sum(), np.int32))
            np.save(folder / OFFSETS_FILE, np.concatenate(([0], np.cumsum(lengths))))
            facts = SampleFacts(end=GPTJ_6B.end, limit=FULL_PROMPT, cut=0)
            (folder / FACTS_FILE).write_text(facts.model_dump_json())
            return PromptSamples(folder)
        case "3d-unet-99":
            return VolumeSamples([np.ones(_CASE, np.int8) for _ in range(count)])
        case name:
            return _MadeSamples(get_benchmark(name).network.inputs(run.precision)[0], count)


@dataclass(frozen=True)
class HostBackend:
    """The backend of a run on no GPU, with its samples."""

    cuda: NoCuda
    backend: TensorRTBackend
    samples: Samples

    @staticmethod
    def of(run: RunRequest, folder: Path) -> HostBackend:
        """Open the backend as a run asks for it."""
        folder.mkdir(parents=True, exist_ok=True)
        engine, cuda = folder / "engine", NoCuda()
        library = NoTensorRT(cuda, run)
        info = EngineInfo(
            library="tensorrt",
            version=library.__version__,
            compute_capability="8.9",
            precision=run.precision,
            max_batch_size=run.batch_size,
        )
        engine.write_bytes(b"nothing")
        EngineInfo.path(engine).write_text(info.model_dump_json())
        samples = made_samples(run, folder / "samples")
        options = BackendOptions(
            get_benchmark(run.benchmark),
            run.precision,
            engine,
            samples,
            run.batch_size,
            streams=run.streams,
        )
        device = GpuDevice(0, info, cast("Any", cuda), library)
        device.batches_copies = True
        return HostBackend(cuda, TensorRTBackend(options, [device]), samples)


@dataclass(frozen=True)
class Moved:
    """What answering a sample moved: bytes, and calls of CUDA and TensorRT; processor time in s."""

    to_device: float
    to_host: float
    calls: float
    seconds: float


def moved_by(host: HostBackend, request: RunRequest) -> Moved:
    """Answer all samples once on one stream, as Offline cuts them into batches, without LoadGen."""
    loaded = np.arange(request.settings.performance_sample_count)
    host.backend.load(loaded)
    costs, size = host.samples.costs, request.batch_size
    order = loaded if costs is None else np.argsort(-costs[loaded], kind="stable")
    cuda, before = host.cuda, time.thread_time()
    cuda.to_device = cuda.to_host = cuda.calls = 0
    if isinstance(get_benchmark(request.benchmark).answer, LoopAnswer):
        loop, waiting = host.backend.open_loop(0), [*order[::-1]]
        while waiting or not loop.is_idle:
            while waiting and loop.room:
                loop.admit([0], np.array([waiting.pop()]))
            loop.step()
    else:
        for start in range(0, len(order), size):
            host.backend.run(0, order[start : start + size])
    used = time.thread_time() - before
    return Moved(*(total / len(order) for total in (cuda.to_device, cuda.to_host, cuda.calls, used)))


def host_work(request: RunRequest, folder: Path) -> dict[str, JsonValue]:
    """Answer all samples once, then what LoadGen asks for; return figures of a sample.

    Args:
        request: in Offline the rate that is found takes the place of its target.
        folder: for its files.
    """
    host = HostBackend.of(request, folder)
    moved = moved_by(host, request)
    if request.settings.scenario is Scenario.OFFLINE:
        settings = request.settings.model_copy(update={"target_qps": 1 / moved.seconds})
        request = request.model_copy(update={"settings": settings})
    report = run(request, folder, lambda _: None, (host.backend, host.samples))
    cpu_seconds = report.after.own_seconds - report.before.own_seconds - report.load_cpu_seconds
    return {
        "processor time, us": round(1e6 * cpu_seconds / report.completed_samples, 2),
        "without LoadGen, us": round(1e6 * moved.seconds, 2),
        "bytes to the device": round(moved.to_device),
        "bytes to the host": round(moved.to_host),
        "calls of CUDA and TensorRT": round(moved.calls, 3),
        "samples in a batch": round(report.completed_samples / report.batches, 2),
        "samples": report.completed_samples,
    }


def runs(system: str, name: str, seconds: float) -> Iterator[RunRequest]:
    """Yield a run of each scenario of a benchmark, on one GPU as the system file tunes it.

    In Server queries come at a GPU's share of the file's rate. Loops run in Offline alone: no queries come
    together in them if answers take no time.
    """
    request = SubmissionRequest.checked(system, [name], weights="random")
    settings = request.settings_of(name)
    resident = {"3d-unet-99": _CASES, "gptj-99": _PROMPTS}.get(name, settings.performance_sample_count)
    for result in request.results:
        if result.scenario is Scenario.SERVER and name not in SHORT_IN_SERVER:
            continue
        rate = (result.tuning.target_qps or 1.0) / request.system.accelerator.count
        yield RunRequest(
            settings=settings_of(result.scenario, rate, seconds, resident, name),
            benchmark=name,
            precision=settings.precision,
            backend="tensorrt",
            batch_size=result.tuning.batch_size,
            max_wait_us=result.tuning.max_wait_us,
            streams=result.tuning.streams,
        )


def host_part(name: str, bench: Bench) -> dict[str, JsonValue]:
    """Measure each run of a benchmark in a child process of its own."""
    found: dict[str, JsonValue] = {}
    for one in runs(bench.system, name, bench.seconds):
        folder = bench.scratch / f"{name}-{one.settings.scenario}"
        found[str(one.settings.scenario)] = run_module(
            "tools.gpu_check.host",
            {"run": one.model_dump(mode="json"), "folder": str(folder)},
            timeout_seconds=600,
        )
    return found


def main(request: dict[str, Any]) -> dict[str, JsonValue]:
    """Answer `host_part`."""
    run_request, folder = RunRequest.model_validate(request["run"]), Path(request["folder"])
    return host_work(run_request, folder)


PARTS: dict[str, Part] = {f"host {name}": partial(host_part, name) for name in benchmark_names()}

if __name__ == "__main__":
    serve_request(main)
