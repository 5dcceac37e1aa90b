"""A GPU that lives in host memory, for tests where there is none.

It stands in for `GpuDevice` alone, and is stricter than CUDA: addresses are real and checked, memory is
poisoned before and after use, work is done only when a stream is waited for, and calls come from a thread
that chose the device. Its execution context is ONNX Runtime on the same network.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harness.backends.cuda import CudaError
from harness.backends.tensorrt_device import EngineTensor, Handle

LONGEST = 384
"""The largest size of a network's free dimensions."""


@dataclass
class World:
    """What exists on the imaginary machine; nothing may be left at the end."""

    memory: dict[int, tuple[NDArray[np.uint8], str]] = field(default_factory=dict)
    streams: set[int] = field(default_factory=set)
    graphs: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    chosen: threading.local = field(default_factory=threading.local)

    def allocate(self, size: int, place: str) -> NDArray[np.uint8]:
        block = np.full(size, 0xCD, np.uint8)
        with self.lock:
            self.memory[block.ctypes.data] = (block, place)
        return block

    def free(self, address: int, place: str) -> None:
        with self.lock:
            block, where = self.memory.pop(address)
        assert where == place
        block.fill(0xDD)

    def check(self, address: int, size: int, *places: str) -> None:
        with self.lock:
            assert any(
                start <= address and address + size <= start + block.nbytes and place in places
                for start, (block, place) in self.memory.items()
            ), f"{size} bytes at {address} are not in memory that is there"

    @property
    def is_empty(self) -> bool:
        return not self.memory and not self.streams and self.graphs == 0


class FakeDevice:
    def __init__(self, world: World, number: int = 0) -> None:
        self.name, self.compute_capability = f"Imaginary GPU {number}", "8.9"
        self._world, self._place = world, f"device {number}"
        self._pending: dict[int, list[Callable[[], None]]] = {}
        self._captured: dict[int, list[Callable[[], None]]] = {}
        self._session: onnxruntime.InferenceSession | None = None
        self.batches_copies = True
        self.memory_left = 1 << 40
        self.can_capture = True
        self.copies: list[int | tuple[int, ...]] = []
        self.launches: list[int] = []
        self.enqueued: list[int] = []

    def use(self) -> None:
        self._world.chosen.device = self

    def load_engine(self, engine: Path) -> tuple[EngineTensor, ...]:
        self._session = onnxruntime.InferenceSession(engine.read_bytes(), providers=["CPUExecutionProvider"])
        dtypes: dict[str, np.dtype[Any]] = {
            "tensor(float)": np.dtype(np.float32),
            "tensor(int64)": np.dtype(np.int64),
        }
        values = [(one, True) for one in self._session.get_inputs()]
        values += [(one, False) for one in self._session.get_outputs()]
        free = {
            one.name: tuple(axis for axis, size in enumerate(one.shape[1:]) if not isinstance(size, int))
            for one, _ in values
        }
        self._tensors = tuple(
            EngineTensor(
                one.name,
                is_input,
                dtypes[one.type],
                tuple(size if isinstance(size, int) else LONGEST for size in one.shape[1:]),
                free[one.name],
            )
            for one, is_input in values
        )
        return self._tensors

    def allocate(self, size: int) -> int:
        self._here()
        self.memory_left -= size
        if self.memory_left < 0:
            raise CudaError("out of memory", remedy="buy more")
        return self._world.allocate(size, self._place).ctypes.data

    def free(self, address: int) -> None:
        self._here()
        assert not any(self._pending.values()), "memory is freed while work is under way"
        self._world.free(address, self._place)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        self._here()
        return self._world.allocate(size, "pinned")

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        self._world.free(memory.ctypes.data, "pinned")

    def make_stream(self) -> Handle:
        self._here()
        with self._world.lock:
            stream = len(self._pending) + 100 * (1 + int(self._place.split()[1]))
            self._world.streams.add(stream)
            self._pending[stream] = []
        return stream

    def free_stream(self, stream: Handle) -> None:
        assert not self._pending[stream], "a stream is destroyed while work is under way"
        self._world.streams.remove(stream)

    def copy(self, target: int, source: int, size: int, stream: Handle) -> None:
        for address in (target, source):
            self._world.check(address, size, self._place, "pinned")
        self.copies.append(size)
        self._put(stream, lambda: ctypes.memmove(target, source, size))

    def copy_each(self, targets: list[int], sources: list[int], sizes: list[int], stream: Handle) -> None:
        before = len(self.copies)
        for piece in reversed(list(zip(targets, sources, sizes, strict=True))):  # their order is not promised
            self.copy(*piece, stream)
        self.copies[before:] = [tuple(sizes)]

    def wait(self, stream: Handle) -> None:
        self._here()
        work, self._pending[stream] = self._pending[stream], []
        for call in work:
            call()

    def make_context(self, addresses: dict[str, int]) -> Handle:
        assert addresses.keys() == {tensor.name for tensor in self._tensors}
        return dict(addresses)

    def set_address(self, context: Handle, name: str, address: int) -> None:
        assert name in context
        assert not any(self._pending.values()), "an address changes while work is under way"
        context[name] = address

    def enqueue(self, context: Handle, batch: int, stream: Handle, length: int | None = None) -> None:
        self.enqueued.append(batch)
        self._put(stream, lambda: self._infer(context, batch, length))

    def capture(self, stream: Handle, work: Callable[[], None]) -> Handle | None:
        if not self.can_capture:
            return None
        assert not self._pending[stream]
        calls = self._captured[stream] = []
        work()
        del self._captured[stream]
        with self._world.lock:
            self._world.graphs += 1
        return calls

    def launch(self, graph: Handle, stream: Handle) -> None:
        self.launches.append(len(graph))
        for call in graph:
            self._put(stream, call)

    def free_graph(self, graph: Handle) -> None:
        with self._world.lock:
            self._world.graphs -= 1

    def close(self) -> None:
        self._session = None

    def _here(self) -> None:
        assert self._world.chosen.device is self, "the thread did not choose the device"

    def _put(self, stream: Handle, call: Callable[[], Any]) -> None:
        self._here()
        self._captured.get(stream, self._pending[stream]).append(call)

    def _infer(self, addresses: dict[str, int], batch: int, length: int | None) -> None:
        assert self._session is not None
        inputs = [tensor for tensor in self._tensors if tensor.is_input]
        feeds = {tensor.name: self._array(addresses[tensor.name], tensor, batch, length) for tensor in inputs}
        names = [tensor.name for tensor in self._tensors if not tensor.is_input]
        for name, values in zip(names, self._session.run(names, feeds), strict=True):
            self._world.check(addresses[name], values.nbytes, self._place)
            ctypes.memmove(addresses[name], np.ascontiguousarray(values).ctypes.data, values.nbytes)

    def _array(self, address: int, tensor: EngineTensor, batch: int, length: int | None) -> NDArray[Any]:
        shape = (batch, *tensor.shape_at(length))
        size = int(np.prod(shape)) * tensor.dtype.itemsize
        self._world.check(address, size, self._place)
        content = ctypes.string_at(address, size)
        return np.frombuffer(content, tensor.dtype).reshape(shape)
