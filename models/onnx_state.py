"""Networks with a state in ONNX Runtime: input `past.X` and output `present.X` are one buffer, kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import NetworkFileError
from models.benchmark import Arrays

PAST, PRESENT = "past.", "present."
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


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

    def run(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one call on a batch, with the state's rows from `first_row` on; return the other outputs."""
        count = len(next(iter(inputs.values())))
        if not self._buffers or first_row + count > self._rows:
            self._grow(max(first_row + count, self._rows))
        binding = self._session.io_binding()
        kept = {name: np.ascontiguousarray(values) for name, values in inputs.items()}
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
        self._session.run_with_iobinding(binding)
        return outputs

    def _grow(self, rows: int) -> None:
        """Make the state so many rows long; what is there stays."""
        for one in self._states:
            buffer = np.zeros((rows, *one.shape[1:]), DTYPES[one.type])
            if (old := self._buffers.get(one.name)) is not None:
                buffer[: len(old)] = old
            self._buffers[one.name] = buffer
        self._rows = rows


def _free(sizes: list[Any]) -> bool:
    return any(not isinstance(size, int) for size in sizes)
