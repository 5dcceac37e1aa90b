"""One GPU: every call of CUDA and of TensorRT's runtime that the backend makes, behind one small class.

Has not run on a GPU yet. Without one, tests run it on a CUDA and a TensorRT in host memory that are stricter
than the real ones (tests/mlperf_submission/harness/fake_gpu.py), and show that the real bindings take every
call as it is made. Assumptions to check first on a GPU: CUDA's bindings let go of Python's global lock in
their calls, as TensorRT's do while they enqueue (python/src/infer/pyCore.cpp of NVIDIA/TensorRT); contexts of
one engine may share its optimisation profile (TensorRT 10 and newer); a context can be captured in a graph
after one run of that shape; TensorRT for RTX has compiled its kernels for a shape after that run.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import StepFailedError
from mlperf_submission.harness.backends.tensorrt.cuda import CudaError, call, out_of_memory, visible_gpus
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo, Messages

Handle = Any
"""A stream, context or graph; only the device that made it knows what it is."""
Shape = tuple[int, ...]
"""Of one sample: without the batch."""
Buffer = bytes | memoryview | mmap


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine.

    Of a free dimension `shape` has the largest size, and `free` its index. Inputs have the sizes that a batch
    gives them; of an output they are the largest of those.
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: Shape
    free: tuple[int, ...] = ()

    def bytes_of(self, shape: Shape) -> int:
        """Return the bytes of one sample of this shape."""
        return self.dtype.itemsize * math.prod(shape)

    def shape_at(self, length: int) -> Shape:
        """Return the shape of one sample whose free dimensions have this size."""
        return tuple(length if axis in self.free else size for axis, size in enumerate(self.shape))


@dataclass(frozen=True)
class Profile:
    """What an engine was built for: batches up to `rows`, inputs from the shapes `least` to `most`.

    `longest` is the largest size of a free dimension, 0 where the batch alone is free.
    """

    rows: int
    least: Mapping[str, Shape]
    most: Mapping[str, Shape]
    longest: int

    def takes(self, count: int, shapes: Mapping[str, Shape]) -> bool:
        """Whether a batch of this size, whose inputs have these shapes, fits."""
        return count <= self.rows and all(
            low <= size <= high
            for name, shape in shapes.items()
            for low, size, high in zip(self.least[name], shape, self.most[name], strict=True)
        )


class GpuDevice:
    """A GPU, through CUDA's bindings and TensorRT.

    Whatever makes, loads or frees something chooses the GPU for the calling thread itself. Calls in the order
    of a stream (`clear`, `copy`, `copy_each`, `enqueue`, `launch`, `wait`) come from a thread that chose it
    by `use`. Addresses are integers; everything but `wait` may return at once.

    Args:
        ordinal: CUDA's number of the GPU.
        info: of the engine.
        cuda: the bindings of CUDA's runtime.
        trt: the TensorRT that built the engine.

    Attributes:
        batches_copies: whether `copy_each` is one call of CUDA.
        profiles: those of the engine, once it is loaded.
    """

    def __init__(self, ordinal: int, info: EngineInfo, cuda: Any, trt: Any) -> None:
        self._cuda, self._trt = cuda, trt
        self._ordinal = ordinal
        self._is_rtx = info.library == "tensorrt_rtx"
        self._engine: Any = None
        self._runtime: Any = None
        self._inputs: tuple[EngineTensor, ...] = ()
        self.profiles: tuple[Profile, ...] = ()
        self._events: dict[Handle, Any] = {}
        attributes = cuda.cudaMemcpyAttributes()
        attributes.srcAccessOrder = cuda.cudaMemcpySrcAccessOrder.cudaMemcpySrcAccessOrderStream
        self._copy_attributes = [attributes]
        self.use()
        facts = visible_gpus(cuda)[ordinal]
        self.name, self.compute_capability = facts.name, facts.compute_capability
        self.batches_copies = True
        self.batches_copies = self._can_batch_copies()

    def use(self) -> None:
        """Make this the calling thread's GPU."""
        self._call("cudaSetDevice", self._ordinal)

    def load_engine(self, content: Buffer, path: Path) -> tuple[EngineTensor, ...]:
        """Load the engine that contexts are made of; return its inputs and outputs.

        Args:
            content: the engine, which all devices may share.
            path: for messages.

        Raises:
            StepFailedError: TensorRT refuses it; the message has its reasons.
        """
        self.use()
        self._messages = Messages(self._trt, lambda line: print(line, flush=True))
        self._runtime = self._trt.Runtime(self._messages.logger)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise StepFailedError(
                f"TensorRT cannot load the engine on {self.name}: {self._messages.last}",
                where=path,
                remedy="build the engine again on this machine; if memory is short, free some on the GPU",
                code="engine-other-gpu",
            )
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._mode(name) == self._trt.TensorIOMode.INPUT]
        self.profiles = tuple(
            self._profile(inputs, number) for number in range(self._engine.num_optimization_profiles)
        )
        tensors = tuple(self._tensor(name, name in inputs) for name in names)
        self._inputs = tuple(tensor for tensor in tensors if tensor.is_input)
        return tensors

    def allocate(self, size: int) -> int:
        """Return the address of new memory on the device."""
        self.use()
        return int(self._call("cudaMalloc", size))

    def clear(self, address: int, size: int, stream: Handle) -> None:
        """Let bytes of the device be zero, in the order of the stream."""
        self._call("cudaMemsetAsync", address, 0, size, stream)

    def free(self, address: int) -> None:
        """Free memory of the device."""
        self.use()
        self._call("cudaFree", address)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Return new pinned host memory that all devices can copy from and to."""
        self.use()
        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocPortable))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Free pinned host memory."""
        self.use()
        self._call("cudaFreeHost", memory.ctypes.data)

    def make_stream(self) -> Handle:
        """Return a new stream with an event to wait for."""
        self.use()
        stream = int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))
        # A waiting thread sleeps: threads that spin would take the cores from LoadGen.
        flags = self._cuda.cudaEventBlockingSync | self._cuda.cudaEventDisableTiming
        self._events[stream] = self._call("cudaEventCreateWithFlags", flags)
        return stream

    def free_stream(self, stream: Handle) -> None:
        """Destroy a stream and its event."""
        self.use()
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
        self._call(
            "cudaMemcpyBatchAsync", targets, sources, sizes, len(sizes), self._copy_attributes, [0], 1, stream
        )

    def wait(self, stream: Handle) -> None:
        """Block, without spinning, until the stream has done all of its work."""
        event = self._events[stream]
        self._call("cudaEventRecord", event, stream)
        self._call("cudaEventSynchronize", event)

    def make_context(self, profile: int, addresses: Mapping[str, int], stream: Handle) -> Handle:
        """Return an execution context of a profile whose inputs and outputs lie at these device addresses."""
        self.use()
        config = self._engine.create_runtime_config()
        # Otherwise each context would take the memory of the profile that needs most.
        strategies = self._trt.ExecutionContextAllocationStrategy
        config.set_execution_context_allocation_strategy(
            strategies.ON_PROFILE_CHANGE if len(self.profiles) > 1 else strategies.STATIC
        )
        if self._is_rtx:
            # It compiles kernels for each shape at run time. Where only the batch is free, every shape is run
            # once before the timed part, so all of that is done there. Lengths are too many for that: a run
            # must not stop for each of them, and its cores are not for compiling.
            kernels = self._trt.DynamicShapesKernelSpecializationStrategy
            is_free = any(tensor.free for tensor in self._inputs)
            config.dynamic_shapes_kernel_specialization_strategy = kernels.NONE if is_free else kernels.EAGER
        context = self._engine.create_execution_context(config)
        if context is None:
            raise out_of_memory(f"an execution context on {self.name}: {self._messages.last}")
        if not context.set_optimization_profile_async(profile, stream):
            raise CudaError(f"TensorRT refused the profile {profile}: {self._messages.last}")
        self.wait(stream)
        for name, address in addresses.items():
            self.set_address(context, name, address)
        return context

    def set_address(self, context: Handle, name: str, address: int) -> None:
        """Let a context's input or output lie elsewhere from the next `enqueue` on."""
        if not context.set_tensor_address(name, address):
            raise CudaError(f"TensorRT refused the address of {name}: {self._messages.last}")

    def set_shape(self, context: Handle, batch: int, shapes: Mapping[str, Shape]) -> None:
        """Let a context's batches have this size and these inputs from now on; a state is whole."""
        for tensor in self._inputs:
            shape = shapes.get(tensor.name, tensor.shape)
            if not context.set_input_shape(tensor.name, (batch, *shape)):
                raise CudaError(
                    f"TensorRT refused {batch} x {shape} as {tensor.name}: {self._messages.last}",
                    code="engine-shape",
                )

    def enqueue(self, context: Handle, stream: Handle) -> None:
        """Run the engine on a batch in the order of the stream."""
        if not context.execute_async_v3(stream):
            raise CudaError(f"TensorRT did not run a batch: {self._messages.last}")

    def capture(self, stream: Handle, work: Callable[[], None]) -> Handle:
        """Return the calls of `work` on the stream as a graph.

        Raises:
            CudaError: they cannot be captured; the stream is as before.
        """
        self.use()
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
            graph = self._call("cudaStreamEndCapture", stream)
        except CudaError:
            self._cuda.cudaStreamEndCapture(stream)  # where `work` was refused it has not ended yet
            self._cuda.cudaGetLastError()
            raise
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Run a graph in the order of the stream."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Handle) -> None:
        """Destroy a graph."""
        self.use()
        self._call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Let go of the engine; contexts are gone before."""
        self.use()
        self._engine = None
        self._runtime = None

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

    def _mode(self, name: str) -> Any:
        return self._engine.get_tensor_mode(name)

    def _tensor(self, name: str, is_input: bool) -> EngineTensor:
        sizes = tuple(map(int, self._engine.get_tensor_shape(name)))[1:]
        free = tuple(axis for axis, size in enumerate(sizes) if size < 0)
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        tensor = EngineTensor(name, is_input, dtype, sizes, free)
        largest = [
            profile.most[name] if is_input else tensor.shape_at(profile.longest) for profile in self.profiles
        ]
        return replace(tensor, shape=tuple(map(max, *largest)) if len(largest) > 1 else largest[0])

    def _profile(self, inputs: list[str], number: int) -> Profile:
        limits = {name: self._engine.get_tensor_profile_shape(name, number) for name in inputs}
        return Profile(
            rows=min(int(most[0]) for _, _, most in limits.values()),
            least={name: tuple(map(int, least[1:])) for name, (least, _, _) in limits.items()},
            most={name: tuple(map(int, most[1:])) for name, (_, _, most) in limits.items()},
            longest=max(
                (
                    int(most[axis])
                    for name, (_, _, most) in limits.items()
                    for axis, size in enumerate(self._engine.get_tensor_shape(name))
                    if axis and size < 0
                ),
                default=0,
            ),
        )

    def _call(self, function: str, *arguments: Any) -> Any:
        return call(self._cuda, function, *arguments)
