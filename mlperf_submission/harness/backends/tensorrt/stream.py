"""What one stream of one device owns: its contexts, its buffers and its graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from mlperf_submission.errors import NetworkFileError, SettingError, StepFailedError
from mlperf_submission.harness.backends.tensorrt.cuda import CudaError
from mlperf_submission.harness.backends.tensorrt.device import EngineTensor, GpuDevice, Handle, Profile, Shape
from models.network.state import PAST, PRESENT

_MOST_GRAPHS = 256
"""CUDA graphs per stream: every batch size up to it (Server), or the largest batch alone beyond (Offline)."""
_MOST_CALLS = 4096
"""Sizes of a batch and its inputs whose views and addresses are kept."""
_WORTH_A_COPY = 16 << 10
"""Bytes: a call of CUDA from Python takes as long as the CPU needs to move about so much (a few µs)."""


_Shapes = tuple[int, tuple[tuple[str, Shape], ...]]
"""Size of a batch, and the shape of each of its inputs by name."""


@dataclass
class _Context:
    """An execution context of one profile, with what it is set to now."""

    handle: Handle
    profile: Profile
    shapes: _Shapes = (0, ())
    first_row: int = 0


@dataclass(frozen=True)
class _Call:
    """What all batches of the same size and shapes share.

    Attributes:
        context: runs them.
        shapes: theirs.
        copies: target, source and bytes of each output.
        results: views of the outputs in host memory.
    """

    context: _Context
    shapes: _Shapes
    copies: tuple[tuple[int, int, int], ...]
    results: dict[str, NDArray[np.generic]]


class Lane:
    """One stream of a device; a `Session` for benchmarks with loops of their own.

    There is a context for each profile of the engine, all of them over the same buffers and the same state.
    A batch is run by the first one that it fits, those of the smallest inputs first.
    """

    def __init__(self, device: GpuDevice, tensors: tuple[EngineTensor, ...], batch_size: int) -> None:
        self.device = device
        self.graphs: dict[int, Handle] = {}
        self.no_graphs = ""
        states = {tensor.name: tensor for tensor in tensors if tensor.name.startswith((PAST, PRESENT))}
        self._states = states
        self._tensors = {tensor.name: tensor for tensor in tensors if tensor.name not in states}
        self._is_free = any(tensor.free for tensor in self._tensors.values())
        self._whole = {name: tensor.shape for name, tensor in self._tensors.items() if tensor.is_input}
        self._batch_size = batch_size
        self._host: dict[str, NDArray[np.uint8]] = {}
        self._addresses: dict[str, int] = {}
        self._contexts: list[_Context] = []
        self._calls: dict[_Shapes, _Call] = {}
        self._stream: Handle = None
        try:
            self._stream = device.make_stream()
            for name, tensor in self._tensors.items():
                size = max(1, self._most_bytes(tensor))
                self._host[name] = device.allocate_host(size)
                self._allocate(size, name)
            for name in [name for name in states if name.startswith(PAST)]:
                size = max(1, batch_size * states[name].bytes_of(states[name].shape))
                self._allocate(size, name, PRESENT + name.removeprefix(PAST))  # it is updated in place
            numbered = sorted(
                enumerate(device.profiles), key=lambda one: sum(map(math.prod, one[1].most.values()))
            )
            for number, profile in numbered:
                handle = device.make_context(number, self._addresses, self._stream)
                self._contexts.append(_Context(handle, profile))
            self._run_once()
        except BaseException:
            with suppress(StepFailedError):  # of a GPU that failed, every later call fails too
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
            staged = self._view(name, len(slots), self._whole[name])
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
        call = self._call(count, self._whole)
        self._run(call)
        self.device.wait(self._stream)
        return call.results

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch of arrays in host memory; free dimensions have the size that the arrays have.

        Where the engine has a state, the batch has its rows from `first_row` on.
        """
        count = len(next(iter(inputs.values())))
        self.begin(count)
        self._check(inputs, count)
        call = self._call(count, {name: values.shape[1:] for name, values in inputs.items()})
        if self._states and first_row != call.context.first_row:
            self._move_to(call.context, first_row, count)
        for name, values in inputs.items():
            staged = self._view(name, count, values.shape[1:])
            staged[...] = values
            self.device.copy(self._addresses[name], self._host[name].ctypes.data, staged.nbytes, self._stream)
        self._run(call)
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
            min(profile.rows, self._batch_size)
            * tensor.bytes_of(profile.most.get(tensor.name) or tensor.shape_at(profile.longest))
            for profile in self.device.profiles
        )

    def _allocate(self, size: int, *names: str) -> None:
        """Give a tensor memory on the device, all zeros: the first runs read token ids there, for example."""
        address = self.device.allocate(size)
        self._addresses |= dict.fromkeys(names, address)
        self.device.clear(address, size, self._stream)

    def _move_to(self, context: _Context, first_row: int, count: int) -> None:
        """Let a context see the state from this row on."""
        if first_row < 0 or first_row + count > self._batch_size:
            raise SettingError(
                f"{count} rows from {first_row} on were asked for, the state has {self._batch_size}",
                remedy="report this to the project: a request has a slot below the batch size",
            )
        for name, tensor in self._states.items():
            address = self._addresses[name] + first_row * tensor.bytes_of(tensor.shape)
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
                most = {name: context.profile.most[name] for name in self._whole}
                self._work(self._call(min(context.profile.rows, self._batch_size), most))
                self.device.wait(self._stream)
            return
        every = self._batch_size <= _MOST_GRAPHS
        for count in range(1, self._batch_size + 1) if every else (self._batch_size,):
            call = self._call(count, self._whole)
            self._work(call)
            self.device.wait(self._stream)
            if self.no_graphs:
                continue
            try:
                self.graphs[count] = self.device.capture(self._stream, partial(self._work, call))
            except CudaError as error:
                self.no_graphs = error.what

    def _check(self, inputs: Arrays, count: int) -> None:
        for name, values in inputs.items():
            tensor = self._tensors[name]
            fits = (
                values.dtype == tensor.dtype and len(values) == count and values.ndim == len(tensor.shape) + 1
            )
            if not fits or any(
                size != wanted and axis not in tensor.free
                for axis, (size, wanted) in enumerate(zip(values.shape[1:], tensor.shape, strict=True))
            ):
                raise NetworkFileError(
                    f"{name} is {values.dtype} {values.shape}, "
                    f"the engine takes {tensor.dtype} {(count, *tensor.shape)}",
                    remedy="preprocess the samples in the precision that the engine was built for",
                )

    def _call(self, count: int, inputs: Mapping[str, Shape]) -> _Call:
        """Return what batches of this size and of inputs of these shapes share."""
        shapes = count, tuple(inputs.items())
        found = self._calls.get(shapes)
        if found is None:
            if len(self._calls) >= _MOST_CALLS:
                self._calls.clear()
            found = self._calls[shapes] = self._make_call(shapes)
        return found

    def _make_call(self, shapes: _Shapes) -> _Call:
        count, inputs = shapes[0], dict(shapes[1])
        context = next((one for one in self._contexts if one.profile.takes(count, inputs)), None)
        if context is None:
            raise SettingError(
                f"a batch of {count} with {inputs} was asked for, but the engine was built for "
                f"{' or '.join(str(one.profile) for one in self._contexts)}",
                remedy="build the engine again for these settings",
            )
        length = max(
            (shape[axis] for name, shape in inputs.items() for axis in self._tensors[name].free), default=0
        )
        results = {
            name: self._view(name, count, tensor.shape_at(length))
            for name, tensor in self._tensors.items()
            if not tensor.is_input
        }
        copies = tuple(
            (self._host[name].ctypes.data, self._addresses[name], view.nbytes)
            for name, view in results.items()
        )
        return _Call(context, shapes, copies, results)

    def _run(self, call: _Call) -> None:
        """Run a batch whose inputs are on their way, as a graph where there is one."""
        graph = self.graphs.get(call.shapes[0])
        if graph is None:
            self._work(call)
        else:
            self.device.launch(graph, self._stream)

    def _work(self, call: _Call) -> None:
        """Everything of a batch but its inputs, whose addresses change: engine and copies of the outputs."""
        context = call.context
        if context.shapes != call.shapes:
            self.device.set_shape(context.handle, call.shapes[0], dict(call.shapes[1]))
            context.shapes = call.shapes
        self.device.enqueue(context.handle, self._stream)
        for target, source, size in call.copies:
            self.device.copy(target, source, size, self._stream)

    def _view(self, name: str, count: int, shape: Shape) -> NDArray[np.generic]:
        tensor = self._tensors[name]
        size = count * tensor.bytes_of(shape)
        return self._host[name][:size].view(tensor.dtype).reshape(count, *shape)
