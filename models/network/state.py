"""Networks with a state in ONNX Runtime: input `past.X` and output `present.X` are one buffer, kept."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from mlperf_submission.errors import NetworkFileError

PAST, PRESENT = "past.", "present."
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


_KEPT_CALLS = 16
"""Shapes whose arrays stay bound: binding them takes longer than filling them."""


@dataclass(frozen=True)
class _Call:
    """What calls of the same shapes on the same rows share."""

    binding: Any
    inputs: dict[str, NDArray[np.generic]]
    outputs: dict[str, NDArray[np.generic]]


def has_state(session: Any) -> bool:
    """Whether a network (an `onnxruntime.InferenceSession`) has a state."""
    return any(one.name.startswith(PAST) for one in session.get_inputs())


class StatefulRunner:
    """Runs a network on the CPU and keeps its state from one call to the next, updated in place.

    The state of a row begins with what was left there by the call before (zeros at first): a network reads
    only what it wrote. Outputs beside the state need a fixed shape behind the batch dimension.

    Args:
        session: an `onnxruntime.InferenceSession`.
        network: for messages.
        rows: rows of the state that are made with the first call; it grows where more are asked for.
    """

    def __init__(self, session: Any, network: object, rows: int = 1) -> None:
        self._session = session
        self.inputs = [one for one in session.get_inputs() if not one.name.startswith(PAST)]
        self.outputs = [one for one in session.get_outputs() if not one.name.startswith(PRESENT)]
        self._states = [one for one in session.get_inputs() if one.name.startswith(PAST)]
        there = {one.name for one in session.get_outputs()}
        lost = [one.name for one in self._states if PRESENT + one.name.removeprefix(PAST) not in there]
        free = [one.name for one in (*self.outputs, *self._states) if _free(one.shape[1:])]
        if lost or free:
            raise NetworkFileError(
                f"state without its output: {lost}; outputs or state of no fixed shape: {free}",
                where=network,
                remedy="export the network again",
            )
        self._buffers: dict[str, NDArray[np.generic]] = {}
        self._rows = rows
        self._calls: dict[Hashable, _Call] = {}

    def run(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one call on a batch, with the state's rows from `first_row` on; return the other outputs.

        The next call of the same shapes overwrites them.
        """
        count = len(next(iter(inputs.values())))
        if not self._buffers or first_row + count > self._rows:
            self._grow(max(first_row + count, self._rows))
        key = (first_row, *(values.shape for values in inputs.values()))
        call = self._calls.pop(key, None) or self._bind(inputs, first_row, count)
        self._calls[key] = call
        if len(self._calls) > _KEPT_CALLS:
            del self._calls[next(iter(self._calls))]
        for name, values in inputs.items():
            np.copyto(call.inputs[name], values, casting="no")
        self._session.run_with_iobinding(call.binding)
        return call.outputs

    def _bind(self, inputs: Arrays, first_row: int, count: int) -> _Call:
        """Make the arrays of calls of these shapes, and bind them and the rows of the state."""
        binding = self._session.io_binding()
        kept: dict[str, NDArray[np.generic]] = {
            name: np.empty(values.shape, values.dtype) for name, values in inputs.items()
        }
        for name, values in kept.items():
            binding.bind_input(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
        outputs = {one.name: np.empty((count, *one.shape[1:]), DTYPES[one.type]) for one in self.outputs}
        for name, values in outputs.items():
            binding.bind_output(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
        for past, buffer in self._buffers.items():
            values = buffer[first_row : first_row + count]
            present = PRESENT + past.removeprefix(PAST)
            binding.bind_input(past, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
            binding.bind_output(present, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
        return _Call(binding, kept, outputs)

    def _grow(self, rows: int) -> None:
        """Make the state so many rows long; what is there stays."""
        self._calls = {}
        for one in self._states:
            buffer = np.zeros((rows, *one.shape[1:]), DTYPES[one.type])
            if (old := self._buffers.get(one.name)) is not None:
                buffer[: len(old)] = old
            self._buffers[one.name] = buffer
        self._rows = rows


def _free(sizes: list[Any]) -> bool:
    return any(not isinstance(size, int) for size in sizes)
