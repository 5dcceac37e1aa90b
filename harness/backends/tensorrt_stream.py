"""What one stream of one device owns, and the resident samples that it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from common.errors import NetworkFileError, SettingError, StepFailedError
from harness.backends.tensorrt_device import Device, EngineTensor, Handle
from models.benchmark import Arrays
from models.network.state import PAST, PRESENT

_MOST_GRAPHS = 256
"""CUDA graphs per stream: every batch size up to it (Server), or the largest batch alone beyond (Offline)."""
_ZEROS = 16 << 20
"""Bytes of zeros that are copied at a time."""
_WORTH_A_COPY = 16 << 10
"""Bytes: a call of CUDA from Python takes as long as the CPU needs to move about so much (a few µs)."""


class Table:
    """The resident samples of one input: row r is one sample. In pinned memory, and on devices when moved."""

    def __init__(self, devices: Sequence[Device], tensor: EngineTensor, count: int) -> None:
        self._devices = devices
        self.row_bytes = tensor.sample_bytes
        devices[0].use()
        self._memory = devices[0].allocate_host(max(1, count * self.row_bytes))
        used = self._memory[: count * self.row_bytes]
        self.rows: NDArray[np.generic] = used.view(tensor.dtype).reshape(count, *tensor.shape)
        self._addresses: dict[int, int] = {}

    def move_to_devices(self) -> None:
        """Copy all rows into the memory of every device."""
        for device in self._devices:
            device.use()
            address = self._addresses[id(device)] = device.allocate(self._memory.nbytes)
            stream = device.make_stream()
            device.copy(address, self._memory.ctypes.data, self._memory.nbytes, stream)
            device.wait(stream)
            device.free_stream(stream)

    @property
    def on_device(self) -> bool:
        """Whether the rows lie on the devices."""
        return bool(self._addresses)

    def address(self, device: Device) -> int:
        """Return where the rows begin, for copies to this device."""
        return self._addresses.get(id(device)) or self._memory.ctypes.data

    def close(self) -> None:
        """Free the memory."""
        for device in self._devices:
            if (address := self._addresses.pop(id(device), None)) is not None:
                device.use()
                device.free(address)
        self.rows = np.empty(0, np.uint8)
        self._devices[0].free_host(self._memory)


class Lane:
    """One stream with its context, buffers and graphs; a `Session` for benchmarks with loops of their own."""

    def __init__(self, device: Device, tensors: tuple[EngineTensor, ...], batch_size: int) -> None:
        self.device = device
        self.graphs: dict[int, Handle] = {}
        states = {tensor.name: tensor for tensor in tensors if tensor.name.startswith((PAST, PRESENT))}
        self._states = states
        self._first_row = 0
        self._tensors = {tensor.name: tensor for tensor in tensors if tensor.name not in states}
        self._batch_size = batch_size
        self._host: dict[str, NDArray[np.uint8]] = {}
        self._addresses: dict[str, int] = {}
        self._stream: Handle = None
        self._context: Handle = None
        try:
            device.use()
            self._stream = device.make_stream()
            for name, tensor in self._tensors.items():
                size = max(1, batch_size * tensor.sample_bytes)
                self._addresses[name] = device.allocate(size)
                self._host[name] = device.allocate_host(size)
                self._host[name].fill(0)
                if tensor.is_input:  # the first runs read it: what is there by chance may be no token id
                    device.copy(self._addresses[name], self._host[name].ctypes.data, size, self._stream)
            for name in [name for name in states if name.startswith(PAST)]:
                self._keep_state(name, states[name])
            self._context = device.make_context(self._addresses)
            self._prepare_graphs()
        except BaseException:
            self.close()
            raise

    @property
    def input_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each input with its batch; None stands for what is free."""
        return {
            name: (None, *(None if axis in one.free else size for axis, size in enumerate(one.shape)))
            for name, one in self._tensors.items()
            if one.is_input
        }

    @property
    def batch_size(self) -> int:
        """The largest batch."""
        return self._batch_size

    def begin(self, count: int) -> None:
        """Check the size of a batch."""
        if not 1 <= count <= self._batch_size:
            raise SettingError(
                f"a batch of {count} samples was asked for, the largest is {self._batch_size}",
                remedy="report this to the project: the harness cuts queries into batches that fit",
            )

    def feed(self, name: str, table: Table, slots: NDArray[np.int64]) -> None:
        """Copy rows of resident samples into the device's input, all runs of neighbouring rows in one call.

        Small rows in many runs are gathered in pinned memory first.
        """
        size, target, source = table.row_bytes, self._addresses[name], table.address(self.device)
        starts = np.concatenate(([0], np.flatnonzero(np.diff(slots) != 1) + 1))
        if not table.on_device and len(starts) > 1 and size * len(slots) < _WORTH_A_COPY * len(starts):
            staged = self._view(name, len(slots))
            np.take(table.rows, slots, axis=0, out=staged, mode="clip")
            self.device.copy(target, self._host[name].ctypes.data, staged.nbytes, self._stream)
            return
        if len(starts) == 1:
            self.device.copy(target, source + int(slots[0]) * size, len(slots) * size, self._stream)
            return
        self.device.copy_each(
            (target + starts * size).tolist(),
            (source + slots[starts] * size).tolist(),
            (np.diff(starts, append=len(slots)) * size).tolist(),
            self._stream,
        )

    def finish(self, count: int, length: int | None = None) -> dict[str, NDArray[np.generic]]:
        """Run the engine on what was fed; return its outputs, which the next batch overwrites."""
        graph = self.graphs.get(count)
        if graph is None:
            self._work(count, length)()
        else:
            self.device.launch(graph, self._stream)
        self.device.wait(self._stream)
        return {
            name: self._view(name, count, length)
            for name, tensor in self._tensors.items()
            if not tensor.is_input
        }

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch of arrays in host memory; free dimensions have the size that the arrays have.

        Where the engine has a state, the batch has its rows from `first_row` on.
        """
        count = len(next(iter(inputs.values())))
        self.begin(count)
        if self._states and first_row != self._first_row:
            self._move_to(first_row, count)
        length = self._length(inputs)
        for name, values in inputs.items():
            staged = self._view(name, count, length)
            if values.dtype != staged.dtype or values.shape != staged.shape:
                raise NetworkFileError(
                    f"{name} is {values.dtype} {values.shape}, "
                    f"the engine takes {staged.dtype} {staged.shape}",
                    remedy="preprocess the samples in the precision that the engine was built for",
                )
            staged[...] = values
            self.device.copy(self._addresses[name], self._host[name].ctypes.data, staged.nbytes, self._stream)
        return self.finish(count, length)

    def close(self) -> None:
        """Wait for the stream, then free everything in the reverse order."""
        self.device.use()
        if self._stream is not None:
            with suppress(StepFailedError):  # what broke the stream was reported where it happened
                self.device.wait(self._stream)
        while self.graphs:
            self.device.free_graph(self.graphs.popitem()[1])
        self._context = None
        for address in set(self._addresses.values()):  # a state's input and output lie at the same one
            self.device.free(address)
        self._addresses.clear()
        while self._host:
            self.device.free_host(self._host.popitem()[1])
        if self._stream is not None:
            self.device.free_stream(self._stream)
            self._stream = None

    def _keep_state(self, name: str, tensor: EngineTensor) -> None:
        """Give a state memory of its own on the device, all zeros, that the engine updates in place."""
        size = max(1, self._batch_size * tensor.sample_bytes)
        address = self._addresses[name] = self.device.allocate(size)
        self._addresses[PRESENT + name.removeprefix(PAST)] = address
        zeros = self.device.allocate_host(min(size, _ZEROS))
        try:
            zeros.fill(0)
            for start in range(0, size, zeros.nbytes):
                part = min(zeros.nbytes, size - start)
                self.device.copy(address + start, zeros.ctypes.data, part, self._stream)
            self.device.wait(self._stream)
        finally:
            self.device.free_host(zeros)

    def _move_to(self, first_row: int, count: int) -> None:
        """Let the context see the state from this row on."""
        if first_row < 0 or first_row + count > self._batch_size:
            raise SettingError(
                f"{count} rows from {first_row} on were asked for, the state has {self._batch_size}",
                remedy="report this to the project: a request has a slot below the batch size",
            )
        for name, tensor in self._states.items():
            address = self._addresses[name] + first_row * tensor.sample_bytes
            self.device.set_address(self._context, name, address)
        self._first_row = first_row

    def _prepare_graphs(self) -> None:
        """Run each batch size once (a context has to see a shape before its capture), and capture it."""
        # A graph for each length and batch size would take too long; and a state's address changes.
        if self._is_free or self._states:
            self._work(self._batch_size)()
            self.device.wait(self._stream)
            return
        every = self._batch_size <= _MOST_GRAPHS
        can_be_captured = True
        for count in range(1, self._batch_size + 1) if every else (self._batch_size,):
            work = self._work(count)
            work()
            self.device.wait(self._stream)
            graph = self.device.capture(self._stream, work) if can_be_captured else None
            if graph is None:
                can_be_captured = False
            else:
                self.graphs[count] = graph

    @property
    def _is_free(self) -> bool:
        return any(tensor.free for tensor in self._tensors.values())

    def _length(self, inputs: Arrays) -> int | None:
        """Return the size of the free dimensions in these inputs; None if there are none."""
        for name, values in inputs.items():
            tensor = self._tensors[name]
            if tensor.free and values.ndim == len(tensor.shape) + 1:
                return min(int(values.shape[tensor.free[0] + 1]), tensor.shape[tensor.free[0]])
        return None

    def _work(self, count: int, length: int | None = None) -> Callable[[], None]:
        """Everything of a batch but its inputs, whose addresses change: engine and copies of the outputs."""
        outputs = [
            (self._host[name].ctypes.data, self._addresses[name], self._view(name, count, length).nbytes)
            for name, tensor in self._tensors.items()
            if not tensor.is_input
        ]

        def work() -> None:
            if length is None:
                self.device.enqueue(self._context, count, self._stream)
            else:
                self.device.enqueue(self._context, count, self._stream, length)
            for target, source, size in outputs:
                self.device.copy(target, source, size, self._stream)

        return work

    def _view(self, name: str, count: int, length: int | None = None) -> NDArray[np.generic]:
        tensor = self._tensors[name]
        shape = tensor.shape_at(length)
        size = count * tensor.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        return self._host[name][:size].view(tensor.dtype).reshape(count, *shape)
