"""What one stream of one device owns: its contexts, its buffers and its graphs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import NetworkFileError, SettingError, StepFailedError
from mlperf_submission.harness.backends.cuda import CudaError
from mlperf_submission.harness.backends.tensorrt.device import EngineTensor, GpuDevice, Handle, Profile
from models.benchmark import Arrays
from models.network.state import PAST, PRESENT

_MOST_GRAPHS = 256
"""CUDA graphs per stream: every batch size up to it (Server), or the largest batch alone beyond (Offline)."""
_MOST_CALLS = 4096
"""Pairs of batch size and length whose views and addresses are kept."""
_ZEROS = 16 << 20
"""Bytes of zeros that are copied at a time."""
_WORTH_A_COPY = 16 << 10
"""Bytes: a call of CUDA from Python takes as long as the CPU needs to move about so much (a few µs)."""


@dataclass
class _Context:
    """An execution context of one profile, with the batch size and length that it is set to now."""

    handle: Handle
    profile: Profile
    shape: tuple[int, int] = (0, 0)
    first_row: int = 0


@dataclass(frozen=True)
class _Call:
    """What all batches of one size and length share.

    Attributes:
        context: runs them.
        copies: target, source and bytes of each output.
        results: views of the outputs in host memory.
    """

    context: _Context
    copies: tuple[tuple[int, int, int], ...]
    results: dict[str, NDArray[np.generic]]


class Lane:
    """One stream of a device; a `Session` for benchmarks with loops of their own.

    There is a context for each profile of the engine, all of them over the same buffers and the same state.
    A batch is run by the first one that its size and length fit, those of the shortest lengths first.
    """

    def __init__(self, device: GpuDevice, tensors: tuple[EngineTensor, ...], batch_size: int) -> None:
        self.device = device
        self.graphs: dict[int, Handle] = {}
        self.no_graphs = ""
        states = {tensor.name: tensor for tensor in tensors if tensor.name.startswith((PAST, PRESENT))}
        self._states = states
        self._tensors = {tensor.name: tensor for tensor in tensors if tensor.name not in states}
        self._is_free = any(tensor.free for tensor in self._tensors.values())
        self._longest = max(profile.longest for profile in device.profiles)
        self._batch_size = batch_size
        self._host: dict[str, NDArray[np.uint8]] = {}
        self._addresses: dict[str, int] = {}
        self._contexts: list[_Context] = []
        self._calls: dict[tuple[int, int], _Call] = {}
        self._stream: Handle = None
        try:
            self._stream = device.make_stream()
            for name, tensor in self._tensors.items():
                size = max(1, self._most_bytes(tensor))
                self._addresses[name] = device.allocate(size)
                self._host[name] = device.allocate_host(size)
                self._host[name].fill(0)
                if tensor.is_input:  # the first runs read it: what is there by chance may be no token id
                    device.copy(self._addresses[name], self._host[name].ctypes.data, size, self._stream)
            for name in [name for name in states if name.startswith(PAST)]:
                self._keep_state(name, states[name])
            numbered = sorted(enumerate(device.profiles), key=lambda one: (one[1].longest, one[1].rows))
            for number, profile in numbered:
                handle = device.make_context(number, self._addresses, self._stream)
                self._contexts.append(_Context(handle, profile))
            self._run_once()
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
        """Check the size of a batch.

        Raises:
            SettingError: it is empty or too large.
        """
        if not 1 <= count <= self._batch_size:
            raise SettingError(
                f"a batch of {count} samples was asked for, the largest is {self._batch_size}",
                remedy="report this to the project: the harness cuts queries into batches that fit",
            )

    def feed(self, name: str, rows: NDArray[np.generic], slots: NDArray[np.int64]) -> None:
        """Copy rows of resident samples into the device's input, all runs of neighbouring rows in one call.

        Small rows in many runs are gathered in pinned memory first.
        """
        size, target, source = rows.strides[0], self._addresses[name], rows.ctypes.data
        starts = np.concatenate(([0], np.flatnonzero(np.diff(slots) != 1) + 1))
        if len(starts) == 1:
            self.device.copy(target, source + int(slots[0]) * size, len(slots) * size, self._stream)
        elif size * len(slots) < _WORTH_A_COPY * len(starts):
            staged = self._view(name, len(slots), self._longest)
            np.take(rows, slots, axis=0, out=staged, mode="clip")
            self.device.copy(target, self._host[name].ctypes.data, staged.nbytes, self._stream)
        else:
            self.device.copy_each(
                (target + starts * size).tolist(),
                (source + slots[starts] * size).tolist(),
                (np.diff(starts, append=len(slots)) * size).tolist(),
                self._stream,
            )

    def finish(self, count: int) -> dict[str, NDArray[np.generic]]:
        """Run the engine on what was fed; return its outputs, which the next batch overwrites."""
        call = self._call(count, self._longest)
        graph = self.graphs.get(count)
        if graph is None:
            self._work(call, (count, self._longest))
        else:
            self.device.launch(graph, self._stream)
        self.device.wait(self._stream)
        return call.results

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch of arrays in host memory; free dimensions have the size that the arrays have.

        Where the engine has a state, the batch has its rows from `first_row` on.
        """
        count = len(next(iter(inputs.values())))
        self.begin(count)
        length = self._length(inputs)
        call = self._call(count, length)
        if self._states and first_row != call.context.first_row:
            self._move_to(call.context, first_row, count)
        for name, values in inputs.items():
            staged = self._view(name, count, length)
            if values.dtype != staged.dtype or values.shape != staged.shape:
                raise NetworkFileError(
                    f"{name} is {values.dtype} {values.shape}, "
                    f"the engine takes {staged.dtype} {staged.shape}",
                    remedy="preprocess the samples in the precision that the engine was built for",
                    code="engine-other-samples",
                )
            staged[...] = values
            self.device.copy(self._addresses[name], self._host[name].ctypes.data, staged.nbytes, self._stream)
        if length == self._longest and count in self.graphs:
            self.device.launch(self.graphs[count], self._stream)
        else:
            self._work(call, (count, length))
        self.device.wait(self._stream)
        return call.results

    def close(self) -> None:
        """Wait for the stream, then free everything in the reverse order."""
        self.device.use()
        if self._stream is not None:
            with suppress(StepFailedError):  # what broke the stream was reported where it happened
                self.device.wait(self._stream)
        while self.graphs:
            self.device.free_graph(self.graphs.popitem()[1])
        self._calls.clear()
        self._contexts.clear()
        for address in set(self._addresses.values()):  # a state's input and output lie at the same one
            self.device.free(address)
        self._addresses.clear()
        while self._host:
            self.device.free_host(self._host.popitem()[1])
        if self._stream is not None:
            self.device.free_stream(self._stream)
            self._stream = None

    def _most_bytes(self, tensor: EngineTensor) -> int:
        """Return the bytes of the largest batch of a tensor, over all profiles."""
        return max(
            min(profile.rows, self._batch_size) * tensor.bytes_at(profile.longest)
            for profile in self.device.profiles
        )

    def _keep_state(self, name: str, tensor: EngineTensor) -> None:
        """Give a state memory of its own on the device, all zeros, that the engine updates in place."""
        size = max(1, self._batch_size * tensor.bytes_at(self._longest))
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

    def _move_to(self, context: _Context, first_row: int, count: int) -> None:
        """Let a context see the state from this row on."""
        if first_row < 0 or first_row + count > self._batch_size:
            raise SettingError(
                f"{count} rows from {first_row} on were asked for, the state has {self._batch_size}",
                remedy="report this to the project: a request has a slot below the batch size",
            )
        for name, tensor in self._states.items():
            address = self._addresses[name] + first_row * tensor.bytes_at(self._longest)
            self.device.set_address(context.handle, name, address)
        context.first_row = first_row

    def _run_once(self) -> None:
        """Run each profile at its largest, or each batch size; and capture that where nothing else is free.

        A context has to see a shape before its capture. A graph for each length and batch size would take
        too long; and a state's address changes.
        """
        if self._is_free or self._states:
            self.no_graphs = "lengths are free" if self._is_free else "the rows of a state move"
            for context in self._contexts:
                rows, length = min(context.profile.rows, self._batch_size), context.profile.longest
                self._work(self._call(rows, length), (rows, length))
                self.device.wait(self._stream)
            return
        every = self._batch_size <= _MOST_GRAPHS
        for count in range(1, self._batch_size + 1) if every else (self._batch_size,):
            call, shape = self._call(count, self._longest), (count, self._longest)
            self._work(call, shape)
            self.device.wait(self._stream)
            if self.no_graphs:
                continue
            try:
                self.graphs[count] = self.device.capture(self._stream, partial(self._work, call, shape))
            except CudaError as error:
                self.no_graphs = error.what

    def _length(self, inputs: Arrays) -> int:
        """Return the size of the free dimensions in these inputs; the longest if they are fixed."""
        for name, values in inputs.items():
            tensor = self._tensors[name]
            if tensor.free and values.ndim == len(tensor.shape) + 1:
                return min(int(values.shape[tensor.free[0] + 1]), self._longest)
        return self._longest

    def _call(self, count: int, length: int) -> _Call:
        """Return what batches of this size and length share."""
        found = self._calls.get((count, length))
        if found is None:
            if len(self._calls) >= _MOST_CALLS:
                self._calls.clear()
            found = self._calls[count, length] = self._make_call(count, length)
        return found

    def _make_call(self, count: int, length: int) -> _Call:
        context = next((one for one in self._contexts if one.profile.takes(count, length)), None)
        if context is None:
            raise SettingError(
                f"a batch of {count} with length {length} was asked for, but the engine was built for "
                f"{' or '.join(str(one.profile) for one in self._contexts)}",
                remedy="build the engine again for these settings",
            )
        results = {
            name: self._view(name, count, length)
            for name, tensor in self._tensors.items()
            if not tensor.is_input
        }
        copies = tuple(
            (self._host[name].ctypes.data, self._addresses[name], view.nbytes)
            for name, view in results.items()
        )
        return _Call(context, copies, results)

    def _work(self, call: _Call, shape: tuple[int, int]) -> None:
        """Everything of a batch but its inputs, whose addresses change: engine and copies of the outputs."""
        context = call.context
        if context.shape != shape:
            self.device.set_shape(context.handle, *shape)
            context.shape = shape
        self.device.enqueue(context.handle, self._stream)
        for target, source, size in call.copies:
            self.device.copy(target, source, size, self._stream)

    def _view(self, name: str, count: int, length: int) -> NDArray[np.generic]:
        tensor = self._tensors[name]
        size = count * tensor.bytes_at(length)
        return self._host[name][:size].view(tensor.dtype).reshape(count, *tensor.shape_at(length))
