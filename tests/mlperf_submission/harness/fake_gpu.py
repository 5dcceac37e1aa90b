"""CUDA's runtime and TensorRT on GPUs that live in host memory, for tests where there is none.

They stand in for the modules `cuda.bindings.runtime` and `tensorrt`, below all that is ours, and are
stricter. A thread has no device until it chooses one. A call on memory, a stream, an event, a graph or an
engine of another device than the chosen one is a mistake; so is a copy from pageable memory, memory used
after it was freed or freed while work is under way, and an allocation while a stream is captured. Work is
done only when somebody waits for it; memory is poisoned before and after use. A context is ONNX Runtime.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from cuda.bindings import runtime
from numpy.typing import NDArray

from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from mlperf_submission.harness.backends.tensorrt.device import GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo
from models.network.state import DTYPES

Limits = Mapping[str, tuple[int, int]]
"""Smallest and largest size of a network's free dimensions, by their names."""
MOST_ROWS = (1, 64)
"""Of a batch, unless a test says otherwise for `N`."""
LONGEST = 384
"""The largest size of a network's other free dimensions, unless a test says otherwise."""
ALIGNMENT = 256
"""Bytes: addresses of inputs and outputs are its multiples (IExecutionContext::setTensorAddress)."""
PINNED = -1
"""Where host memory is that CUDA allocated, in place of a device's ordinal."""
Answer = tuple[Any, ...]
_OK, _ERRORS = runtime.cudaError_t.cudaSuccess, runtime.cudaError_t


@dataclass
class _Block:
    content: NDArray[np.uint8]
    place: int


@dataclass
class _Stream:
    device: int
    work: list[Callable[[], None]] = field(default_factory=list)
    captured: list[Callable[[], None]] | None = None


@dataclass
class _Graph:
    device: int
    work: list[Callable[[], None]]


class FakeCuda:
    """The functions of CUDA's runtime that the backend calls; what is only a name is the real one's.

    Attributes:
        memory_left: bytes of each device, by its ordinal.
        can_capture, can_batch: whether the driver can.
        broken: a kernel failed, after which CUDA refuses every call.
        copies: the sizes of each copy, by device; a tuple for those of one call.
        launches, enqueued: number of graphs, and sizes of the batches that were enqueued outside of them.
    """

    def __init__(self, *gpus: GpuFacts) -> None:
        self.gpus = gpus or (GpuFacts("Imaginary GPU 0", "8.9"),)
        self.memory_left = [1 << 40] * len(self.gpus)
        self.can_capture = self.can_batch = True
        self.broken = False
        self.copies: list[list[int | tuple[int, ...]]] = [[] for _ in self.gpus]
        self.launches = [0] * len(self.gpus)
        self.enqueued: list[list[int]] = [[] for _ in self.gpus]
        self._blocks: dict[int, _Block] = {}
        self.streams: dict[int, _Stream] = {}
        self._events: dict[int, list[int]] = {}
        self._graphs: list[_Graph] = []
        self._lock = threading.RLock()
        self._thread = threading.local()
        self._handles = 100

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("cuda") and super().__getattribute__("broken"):
            return lambda *_: (_ERRORS.cudaErrorIllegalAddress,)
        return found

    def __getattr__(self, name: str) -> Any:
        assert not callable(getattr(runtime, name)) or isinstance(getattr(runtime, name), type), name
        return getattr(runtime, name)

    @property
    def is_empty(self) -> bool:
        """Whether everything was freed."""
        return not self._blocks and not self.streams and not self._events and not self._graphs

    def forget_copies(self) -> None:
        for copies in self.copies:
            copies.clear()

    @property
    def here(self) -> int:
        """The calling thread's device."""
        chosen = getattr(self._thread, "device", None)
        assert chosen is not None, "this thread chose no device"
        return int(chosen)

    def must_be_here(self, device: int, what: str) -> None:
        assert self.here == device, f"{what} of device {device}, but this thread chose device {self.here}"

    def check(self, address: int, size: int, *places: int) -> None:
        """Memory of this size is at this address, on one of these devices or pinned."""
        with self._lock:
            for start, block in self._blocks.items():
                if start <= address and address + size <= start + block.content.nbytes:
                    assert block.place in places, f"memory of {block.place}, where {places} is wanted"
                    return
        raise AssertionError(f"{size} bytes at {address} are pageable, freed, or never were there")

    def put(self, stream: int, call: Callable[[], None]) -> None:
        """Let a stream do a piece of work when somebody waits for it, or keep it in a graph."""
        found = self.streams[stream]
        self.must_be_here(found.device, "a stream")
        (found.work if found.captured is None else found.captured).append(call)

    def cudaGetDeviceCount(self) -> Answer:  # noqa: N802 - CUDA's own names here and below
        return _OK, len(self.gpus)

    def cudaGetDeviceProperties(self, ordinal: int) -> Answer:  # noqa: N802
        gpu = self.gpus[ordinal]
        major, minor = map(int, gpu.compute_capability.split("."))
        facts = {"major": major, "minor": minor, "totalGlobalMem": gpu.memory}
        return _OK, SimpleNamespace(name=gpu.name.encode(), **facts)

    def cudaSetDevice(self, ordinal: int) -> Answer:  # noqa: N802
        if not 0 <= ordinal < len(self.gpus):
            return (_ERRORS.cudaErrorInvalidDevice,)
        self._thread.device = ordinal
        return (_OK,)

    def cudaMalloc(self, size: int) -> Answer:  # noqa: N802
        if self.memory_left[self.here] < size:
            return (_ERRORS.cudaErrorMemoryAllocation,)  # cuda-bindings 13.0 gives no second value
        self.memory_left[self.here] -= size
        return _OK, self._new(size, self.here)

    def cudaFree(self, address: int) -> Answer:  # noqa: N802
        assert not any(stream.work for stream in self.streams.values() if stream.device == self.here), (
            "memory is freed while work is under way"
        )
        with self._lock:
            self.must_be_here(self._blocks[address].place, "memory")
            self.memory_left[self.here] += self._blocks[address].content.nbytes
            self._blocks.pop(address).content.fill(0xDD)
        return (_OK,)

    def cudaHostAlloc(self, size: int, flags: int) -> Answer:  # noqa: N802
        assert flags == runtime.cudaHostAllocPortable, "another device could not copy from it"
        return _OK, self._new(size, PINNED)

    def cudaFreeHost(self, address: int) -> Answer:  # noqa: N802
        assert self.here >= 0
        with self._lock:
            block = self._blocks.pop(address)
        assert block.place == PINNED
        block.content.fill(0xDD)
        return (_OK,)

    def cudaStreamCreateWithFlags(self, flags: int) -> Answer:  # noqa: N802
        assert flags == runtime.cudaStreamNonBlocking
        handle = self._handle()
        self.streams[handle] = _Stream(self.here)
        return _OK, handle

    def cudaStreamDestroy(self, stream: int) -> Answer:  # noqa: N802
        self.must_be_here(self.streams[stream].device, "a stream")
        assert not self.streams.pop(stream).work, "a stream is destroyed while work is under way"
        return (_OK,)

    def cudaEventCreateWithFlags(self, flags: int) -> Answer:  # noqa: N802
        assert flags & runtime.cudaEventBlockingSync, "who waits would spin"
        handle = self._handle()
        self._events[handle] = [self.here, 0]
        return _OK, handle

    def cudaEventDestroy(self, event: int) -> Answer:  # noqa: N802
        self.must_be_here(self._events.pop(event)[0], "an event")
        return (_OK,)

    def cudaEventRecord(self, event: int, stream: int) -> Answer:  # noqa: N802
        self.must_be_here(self._events[event][0], "an event")
        self.must_be_here(self.streams[stream].device, "a stream")
        self._events[event][1] = stream
        return (_OK,)

    def cudaEventSynchronize(self, event: int) -> Answer:  # noqa: N802
        device, stream = self._events[event]
        self.must_be_here(device, "an event")
        work, self.streams[stream].work = self.streams[stream].work, []
        for call in work:
            call()
        return (_OK,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: int) -> Answer:  # noqa: N802
        assert kind == runtime.cudaMemcpyKind.cudaMemcpyDefault
        self.copies[self.streams[stream].device].append(size)
        self._copy(target, source, size, stream)
        return (_OK,)

    def cudaMemcpyBatchAsync(  # noqa: N802
        self,
        targets: list[int],
        sources: list[int],
        sizes: list[int],
        count: int,
        attributes: list[Any],
        firsts: list[int],
        number: int,
        stream: int,
    ) -> Answer:
        if not self.can_batch:
            return (_ERRORS.cudaErrorNotSupported,)
        assert (count, len(attributes), firsts, number) == (len(sizes), 1, [0], 1)
        self.copies[self.streams[stream].device].append(tuple(sizes))
        for piece in reversed(list(zip(targets, sources, sizes, strict=True))):  # no order is promised
            self._copy(*piece, stream)
        return (_OK,)

    def cudaMemsetAsync(self, target: int, value: int, size: int, stream: int) -> Answer:  # noqa: N802
        device = self.streams[stream].device
        self.check(target, size, device)

        def fill() -> None:
            self.check(target, size, device)
            ctypes.memset(target, value, size)

        self.put(stream, fill)
        return (_OK,)

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Answer:  # noqa: N802
        assert mode == runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        found = self.streams[stream]
        self.must_be_here(found.device, "a stream")
        assert not found.work and found.captured is None
        found.captured = []
        return (_OK,)

    def cudaStreamEndCapture(self, stream: int) -> Answer:  # noqa: N802
        found = self.streams[stream]
        self.must_be_here(found.device, "a stream")
        work, found.captured = found.captured, None
        if work is None or not self.can_capture:
            return (_ERRORS.cudaErrorStreamCaptureInvalidated, None)
        graph = _Graph(found.device, work)
        self._graphs.append(graph)
        return _OK, graph

    def cudaGetLastError(self) -> Answer:  # noqa: N802
        return (_OK,)

    def cudaGraphInstantiate(self, graph: _Graph, flags: int) -> Answer:  # noqa: N802
        self.must_be_here(graph.device, "a graph")
        ready = _Graph(graph.device, graph.work)
        self._graphs.append(ready)
        return _OK, ready

    def cudaGraphDestroy(self, graph: _Graph) -> Answer:  # noqa: N802
        self.must_be_here(graph.device, "a graph")
        self._graphs = [one for one in self._graphs if one is not graph]
        return (_OK,)

    cudaGraphExecDestroy = cudaGraphDestroy  # noqa: N815

    def cudaGraphLaunch(self, graph: _Graph, stream: int) -> Answer:  # noqa: N802
        self.must_be_here(graph.device, "a graph")
        assert any(one is graph for one in self._graphs), "a graph is launched that was destroyed"
        self.launches[graph.device] += 1
        for call in graph.work:
            self.put(stream, call)
        return (_OK,)

    def _new(self, size: int, place: int) -> int:
        assert size > 0 and self.here >= 0
        assert all(stream.captured is None for stream in self.streams.values()), "allocated in a capture"
        block = np.full(size + ALIGNMENT, 0xCD, np.uint8)
        block = block[-block.ctypes.data % ALIGNMENT :][:size]
        with self._lock:
            self._blocks[block.ctypes.data] = _Block(block, place)
        return block.ctypes.data

    def _handle(self) -> int:
        with self._lock:
            self._handles += 1
            return self._handles

    def _copy(self, target: int, source: int, size: int, stream: int) -> None:
        device = self.streams[stream].device

        def copy() -> None:
            for address in (target, source):
                self.check(address, size, device, PINNED)
            ctypes.memmove(target, source, size)

        for address in (target, source):
            self.check(address, size, device, PINNED)
        self.put(stream, copy)


class FakeTensorRT:
    """What the backend takes of the module `tensorrt`; an engine file is an ONNX network.

    Args:
        cuda: the GPUs.
        profiles: what an engine's profiles take; of a dimension that is not named, 1 to 384.
    """

    __version__ = "10.16.1"
    nptype = staticmethod(np.dtype)
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    ExecutionContextAllocationStrategy = SimpleNamespace(STATIC="static", ON_PROFILE_CHANGE="on change")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(NONE="none", EAGER="eager")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)

    def __init__(self, cuda: FakeCuda, profiles: tuple[Limits, ...] = ({},)) -> None:
        self.cuda, self.profiles = cuda, profiles

    def Runtime(self, _logger: Any) -> SimpleNamespace:  # noqa: N802 - TensorRT's name
        return SimpleNamespace(deserialize_cuda_engine=lambda content: FakeEngine(self, bytes(content)))


class FakeEngine:
    def __init__(self, library: FakeTensorRT, content: bytes) -> None:
        self.cuda, self.profiles, self.device = library.cuda, library.profiles, library.cuda.here
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs: dict[str, Any] = {one.name: one for one in self.session.get_inputs()}
        outputs: dict[str, Any] = {one.name: one for one in self.session.get_outputs()}
        self.tensors = self.inputs | outputs
        self.num_io_tensors, self.num_optimization_profiles = len(self.tensors), len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.inputs else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        return DTYPES[self.tensors[name].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        limits = self.profiles[profile]
        sizes = [limits.get("N", MOST_ROWS)]
        sizes += [
            (size, size) if isinstance(size, int) else limits.get(size, (1, LONGEST))
            for size in self.tensors[name].shape[1:]
        ]
        least, most = zip(*sizes, strict=True)
        return least, most, most

    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(strategy="static")
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(
            config, "strategy", strategy
        )
        return config

    def create_execution_context(self, config: Any = None) -> FakeContext:
        self.cuda.must_be_here(self.device, "an engine")
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.cuda = engine, engine.cuda
        self.profile = 0
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.cuda.must_be_here(self.engine.device, "an engine")
        self.cuda.must_be_here(self.cuda.streams[stream].device, "a stream")
        self.profile, self.shapes = profile, {}
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.cuda.check(address, 1, self.engine.device)
        assert address % ALIGNMENT == 0, f"{name} is not aligned"
        self.addresses[name] = address
        return name in self.engine.tensors

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.get_tensor_profile_shape(name, self.profile)
        self.shapes[name] = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def execute_async_v3(self, stream: int) -> bool:
        self.cuda.must_be_here(self.engine.device, "an engine")
        assert self.shapes.keys() == self.engine.inputs.keys(), "the shape of an input is not set"
        assert self.addresses.keys() == self.engine.tensors.keys(), "the address of a tensor is not set"
        shapes, addresses = dict(self.shapes), dict(self.addresses)
        if self.cuda.streams[stream].captured is None:
            self.cuda.enqueued[self.engine.device].append(next(iter(shapes.values()))[0])
        self.cuda.put(stream, lambda: self._infer(shapes, addresses))
        return True

    def _infer(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        feeds = {name: self._read(name, shape, addresses[name]) for name, shape in shapes.items()}
        names = [name for name in self.engine.tensors if name not in shapes]
        for name, values in zip(names, self.engine.session.run(names, feeds), strict=True):
            self.cuda.check(addresses[name], values.nbytes, self.engine.device)
            ctypes.memmove(addresses[name], np.ascontiguousarray(values).ctypes.data, values.nbytes)

    def _read(self, name: str, shape: tuple[int, ...], address: int) -> NDArray[Any]:
        dtype = np.dtype(self.engine.get_tensor_dtype(name))
        size = int(np.prod(shape)) * dtype.itemsize
        self.cuda.check(address, size, self.engine.device)
        return np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)


def devices_of(cuda: FakeCuda, info: EngineInfo, profiles: tuple[Limits, ...] = ()) -> list[GpuDevice]:
    """Return the backend's own device on each imaginary GPU."""
    library = FakeTensorRT(cuda, profiles) if profiles else FakeTensorRT(cuda)
    return [GpuDevice(ordinal, info, cuda, library) for ordinal in range(len(cuda.gpus))]
