"""The memory that a result takes of each GPU, part by part, and how large a batch would fit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from flows.request import ResultRequest, SubmissionRequest
from flows.runner import Runner
from mlperf_submission.steps.cache import StepRecord
from models.registry import get_benchmark

_OF_CUDA = 600_000_000
"""A guess of what CUDA's context and the kernels of TensorRT take."""
_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True)
class DeviceMemory:
    """What a performance run takes of each GPU, bytes.

    Attributes:
        weights: of the engine: TensorRT's own figure once it is built, before that those of the network.
        scratch: of all streams; None before the engine is built.
        row: of each row of the batch: state, inputs and outputs, of all streams.
        rows: the batch size.
        capacity: the GPU's; None where nobody says.
    """

    weights: int
    scratch: int | None
    row: int
    rows: int
    capacity: int | None

    @property
    def size(self) -> int:
        """All that is known of it."""
        return self.weights + (self.scratch or 0) + self.row * self.rows + _OF_CUDA

    @property
    def fits(self) -> bool:
        """Whether the GPU has it, as far as is known."""
        return self.capacity is None or self.size <= self.capacity

    @property
    def largest_batch(self) -> int | None:
        """The largest batch that fits, by what is known; None where nobody says how much there is."""
        if self.capacity is None:
            return None
        return max(0, self.capacity - (self.size - self.row * self.rows)) // max(self.row, 1)


def device_memory(
    request: SubmissionRequest, result: ResultRequest, engine: StepRecord | None, runner: Runner
) -> DeviceMemory | None:
    """Return what a result takes of each GPU; None where no GPU runs it, or its network is a small one."""
    if runner.backend == "onnxruntime" or (request.on_mini_data and request.weights == "trained"):
        return None
    sizes, streams = get_benchmark(result.benchmark).facts.sizes, result.tuning.streams
    figures = engine.figures if engine else {}
    weights, scratch = figures.get("weights_bytes"), figures.get("activation_bytes")
    return DeviceMemory(
        weights=weights if isinstance(weights, int) else sizes.converted,
        scratch=streams * scratch if isinstance(scratch, int) else None,
        row=streams * (sizes.state + buffer_bytes(request, result.benchmark)),
        rows=result.tuning.batch_size,
        capacity=runner.memory or described_memory(request),
    )


def buffer_bytes(request: SubmissionRequest, benchmark: str) -> int:
    """Return the bytes of the inputs and outputs of one row of a batch, at most.

    They lie in device memory and, pinned, in that of the host; each stream has its own.
    """
    one = get_benchmark(benchmark)
    free, network = one.facts.sizes.free, one.network
    specs = (*network.inputs(request.settings_of(benchmark).precision), *network.outputs)
    return sum(
        np.dtype(spec.dtype).itemsize * math.prod(size or free for size in spec.shape[1:]) for spec in specs
    )


def described_memory(request: SubmissionRequest) -> int | None:
    """Return the memory of one accelerator as the system's description has it, e.g. `48 GB`."""
    stated = str(request.system.description.get("accelerator_memory_capacity", ""))
    found = re.fullmatch(r"\s*([\d.]+)\s*([MGT]i?B)\s*", stated, re.IGNORECASE)
    return round(float(found[1]) * _UNITS[found[2].upper()]) if found else None
