"""One GPU: every call of CUDA and of TensorRT's runtime that the backend makes, behind one small class.

Has not run on a GPU yet; a test without one shows that CUDA's bindings take every call as it is made here.
Assumptions to check first on a GPU: the bindings let go of Python's global lock in their calls; contexts of
one engine may share its optimisation profile (TensorRT 10 and newer); a context can be captured in a graph
after one run of that shape; TensorRT for RTX has compiled its kernels for a shape after that run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import StepFailedError
from harness.backends.cuda import CudaError, cuda_error, gpu_at, import_cuda, out_of_memory
from harness.backends.tensorrt_library import EngineInfo, Messages, import_library

Handle = Any
"""A stream, context or graph; only the device that made it knows what it is."""


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine; `shape` is that of one sample, without the batch dimension.

    Of a free dimension `shape` has the largest size, and `free` its index; all free dimensions of an engine
    have the same size in a batch (the length of its sequences).
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    free: tuple[int, ...] = ()

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, at most."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def shape_at(self, length: int | None) -> tuple[int, ...]:
        """Return the shape of one sample whose free dimensions have this size; None: the largest."""
        if length is None:
            return self.shape
        return tuple(length if axis in self.free else size for axis, size in enumerate(self.shape))


class Device(Protocol):
    """What the backend needs of a GPU. Addresses are integers; everything but `wait` may return at once."""

    name: str
    compute_capability: str
    batches_copies: bool
    """Whether `copy_each` is one call of CUDA."""

    def use(self) -> None:
        """Make this the calling thread's GPU."""

    def load_engine(self, engine: Path) -> tuple[EngineTensor, ...]:
        """Load the engine that contexts are made of; return its inputs and outputs."""

    def allocate(self, size: int) -> int:
        """Return the address of new memory on the device."""

    def free(self, address: int) -> None:
        """Free memory of the device."""

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Return new pinned host memory that all devices can copy from and to."""

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Free pinned host memory."""

    def make_stream(self) -> Handle:
        """Return a new stream."""

    def free_stream(self, stream: Handle) -> None:
        """Destroy a stream."""

    def copy(self, target: int, source: int, size: int, stream: Handle) -> None:
        """Copy bytes in the order of the stream, between host and device in any direction."""

    def copy_each(self, targets: list[int], sources: list[int], sizes: list[int], stream: Handle) -> None:
        """Copy several pieces, in any order among themselves, in the order of the stream."""

    def wait(self, stream: Handle) -> None:
        """Block, without spinning, until the stream has done all of its work."""

    def make_context(self, addresses: dict[str, int]) -> Handle:
        """Return an execution context whose inputs and outputs lie at these device addresses."""

    def set_address(self, context: Handle, name: str, address: int) -> None:
        """Let a context's input or output lie elsewhere from the next `enqueue` on."""

    def enqueue(self, context: Handle, batch: int, stream: Handle, length: int | None = None) -> None:
        """Run the engine on a batch in the order of the stream; `length` is that of free dimensions."""

    def capture(self, stream: Handle, work: Callable[[], None]) -> Handle | None:
        """Return the calls of `work` on the stream as a graph; None if they cannot be captured."""

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a graph in the order of the stream."""

    def free_graph(self, graph: Handle) -> None:
        """Destroy a graph."""

    def close(self) -> None:
        """Let go of the engine; contexts are gone before."""


class GpuDevice:
    """A real GPU, through CUDA's bindings and TensorRT."""

    def __init__(self, ordinal: int, info: EngineInfo) -> None:
        self._cuda = import_cuda()
        self._ordinal = ordinal
        self._info = info
        self._engine: Any = None
        self._runtime: Any = None
        self._inputs: tuple[EngineTensor, ...] = ()
        self._events: dict[Handle, Any] = {}
        self.use()
        facts = gpu_at(self._cuda, ordinal)
        self.name, self.compute_capability = facts.name, facts.compute_capability
        self.batches_copies = True
        self.batches_copies = self._can_batch_copies()

    def use(self) -> None:
        """Make this the calling thread's GPU."""
        self._call("cudaSetDevice", self._ordinal)

    def load_engine(self, engine: Path) -> tuple[EngineTensor, ...]:
        """Load the engine that contexts are made of; return its inputs and outputs.

        Raises:
            StepFailedError: TensorRT refuses it; the message has its reasons.
        """
        trt = import_library(self._info.library)
        self._messages = Messages(trt, lambda line: print(line, flush=True))
        self._runtime = trt.Runtime(self._messages.logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            raise StepFailedError(
                f"TensorRT cannot load the engine on {self.name}: {self._messages.last}",
                where=engine,
                remedy="build the engine again on this machine; if memory is short, free some on the GPU",
            )
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        tensors = tuple(self._tensor(trt, name) for name in names)
        self._inputs = tuple(tensor for tensor in tensors if tensor.is_input)
        return tensors

    def allocate(self, size: int) -> int:
        """Return the address of new memory on the device."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Free memory of the device."""
        self._call("cudaFree", address)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Return new pinned host memory that all devices can copy from and to."""
        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocPortable))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Free pinned host memory."""
        self._call("cudaFreeHost", memory.ctypes.data)

    def make_stream(self) -> Handle:
        """Return a new stream with an event to wait for."""
        stream = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        # A waiting thread sleeps: threads that spin would take the cores from LoadGen.
        flags = self._cuda.cudaEventBlockingSync | self._cuda.cudaEventDisableTiming
        self._events[int(stream)] = self._call("cudaEventCreateWithFlags", flags)
        return int(stream)

    def free_stream(self, stream: Handle) -> None:
        """Destroy a stream and its event."""
        self._call("cudaEventDestroy", self._events.pop(stream))
        self._call("cudaStreamDestroy", stream)

    def copy(self, target: int, source: int, size: int, stream: Handle) -> None:
        """Copy bytes in the order of the stream; CUDA sees from the addresses where they lie."""
        self._call(
            "cudaMemcpyAsync", target, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDefault, stream
        )

    def copy_each(self, targets: list[int], sources: list[int], sizes: list[int], stream: Handle) -> None:
        """Copy several pieces, in any order among themselves, in the order of the stream."""
        if not self.batches_copies:
            for target, source, size in zip(targets, sources, sizes, strict=True):
                self.copy(target, source, size, stream)
            return
        attributes = self._cuda.cudaMemcpyAttributes()
        attributes.srcAccessOrder = self._cuda.cudaMemcpySrcAccessOrder.cudaMemcpySrcAccessOrderStream
        self._call("cudaMemcpyBatchAsync", targets, sources, sizes, len(sizes), [attributes], [0], 1, stream)

    def wait(self, stream: Handle) -> None:
        """Block, without spinning, until the stream has done all of its work."""
        event = self._events[stream]
        self._call("cudaEventRecord", event, stream)
        self._call("cudaEventSynchronize", event)

    def make_context(self, addresses: dict[str, int]) -> Handle:
        """Return an execution context whose inputs and outputs lie at these device addresses."""
        trt = import_library(self._info.library)
        if self._info.library == "tensorrt_rtx":
            # It compiles kernels for each shape at run time. Where only the batch is free, every shape is run
            # once before the timed part, so all of that is done there. Lengths are too many for that: a run
            # must not stop for each of them, and its cores are not for compiling.
            strategies = trt.DynamicShapesKernelSpecializationStrategy
            is_free = any(tensor.free for tensor in self._inputs)
            config = self._engine.create_runtime_config()
            config.dynamic_shapes_kernel_specialization_strategy = (
                strategies.NONE if is_free else strategies.EAGER
            )
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise out_of_memory(f"an execution context on {self.name}: {self._messages.last}")
        for name, address in addresses.items():
            self.set_address(context, name, address)
        return context

    def set_address(self, context: Handle, name: str, address: int) -> None:
        """Let a context's input or output lie elsewhere from the next `enqueue` on."""
        if not context.set_tensor_address(name, address):
            raise CudaError(f"TensorRT refused the address of {name}: {self._messages.last}")

    def enqueue(self, context: Handle, batch: int, stream: Handle, length: int | None = None) -> None:
        """Run the engine on a batch in the order of the stream; `length` is that of free dimensions."""
        for tensor in self._inputs:
            if not context.set_input_shape(tensor.name, (batch, *tensor.shape_at(length))):
                raise CudaError(
                    f"TensorRT refused {batch} x {tensor.shape_at(length)} as {tensor.name}: "
                    f"{self._messages.last}"
                )
        if not context.execute_async_v3(stream):
            raise CudaError(f"TensorRT did not run a batch of {batch}: {self._messages.last}")

    def capture(self, stream: Handle, work: Callable[[], None]) -> Handle | None:
        """Return the calls of `work` on the stream as a graph; None if they cannot be captured."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except CudaError:
            self._cuda.cudaStreamEndCapture(stream)
            self._cuda.cudaGetLastError()
            return None
        error, graph = self._cuda.cudaStreamEndCapture(stream)
        if error != self._cuda.cudaError_t.cudaSuccess:
            self._cuda.cudaGetLastError()
            return None
        ready = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)
        return ready

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a graph in the order of the stream."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Handle) -> None:
        """Destroy a graph."""
        self._call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Let go of the engine; contexts are gone before."""
        self._engine = self._runtime = None

    def _can_batch_copies(self) -> bool:
        """Exchange the halves of a few bytes by `copy_each`, and see that they arrived."""
        memory = self.allocate_host(32)
        memory[:] = np.arange(32)
        address, host = self.allocate(16), memory.ctypes.data
        stream = self.make_stream()
        try:
            self.copy_each([address, address + 8], [host + 8, host], [8, 8], stream)
            self.copy(host + 16, address, 16, stream)
            self.wait(stream)
            return bool(np.array_equal(memory[16:], np.roll(memory[:16], 8)))
        except CudaError:  # a driver that cannot: the copies are made one by one
            return False
        finally:
            self.free_stream(stream)
            self.free(address)
            self.free_host(memory)

    def _tensor(self, trt: Any, name: str) -> EngineTensor:
        shape = tuple(self._engine.get_tensor_shape(name))[1:]
        is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        free = tuple(axis for axis, size in enumerate(shape) if size < 0)
        if free:
            largest = self._largest(trt)
            shape = tuple(largest if axis in free else size for axis, size in enumerate(shape))
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        return EngineTensor(name, is_input, dtype, shape, free)

    def _largest(self, trt: Any) -> int:
        """Return the largest size of the inputs' free dimensions beside the batch in the first profile."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        sizes = [
            int(most)
            for name in names
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            for size, most in zip(
                tuple(self._engine.get_tensor_shape(name))[1:],
                tuple(self._engine.get_tensor_profile_shape(name, 0)[2])[1:],
                strict=True,
            )
            if size < 0
        ]
        return max(sizes)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *values = getattr(self._cuda, function)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise cuda_error(self._cuda, error, function)
        return values[0] if values else None
