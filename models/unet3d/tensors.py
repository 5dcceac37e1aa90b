"""The inputs and outputs of 3d-unet-99's network: of the published part, and with the sums of its windows."""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import TensorSpec
from models.unet3d.volumes import CLASSES, INT8_SCALE, STRIDE, WINDOW

INPUT, OUTPUT = "input", "output"
SIDE = STRIDE
"""Of a block, voxels: windows begin at its multiples."""
VOXELS = SIDE**3
PARTS = 4
"""Tensors that the blocks of a volume are spread over."""
FULL_BLOCKS = 128
"""Blocks in each of them: of a volume of up to 512 voxels along every axis."""
BLOCKS_KEY = "blocks"
"""Says their number in a network's metadata."""
QUARTERS, WRITE, FRESH, LABELS = "quarters", "write", "fresh", "labels"
_SIDES = (WINDOW, WINDOW, WINDOW)
SCORES = (TensorSpec(OUTPUT, "float32", (None, CLASSES, *_SIDES)),)
OUTPUTS = (TensorSpec(LABELS, "uint8", (None, PARTS, 2, VOXELS)),)
_WHERE = (
    TensorSpec(QUARTERS, "int64", (None, PARTS)),
    TensorSpec(WRITE, "int64", (None, PARTS)),
    TensorSpec(FRESH, "bool", (None, PARTS, 2)),
)
"""Of each of the four tensors: which quarter of the window (z and y, 0 to 3) it gets, at which block this
begins, and whether each of its two blocks is written for the first time."""


def windows(precision: Precision) -> tuple[TensorSpec, ...]:
    """Return the input of the published part: int8 (a quarter of the bytes) for the INT8 network."""
    if precision == "int8":
        return (TensorSpec(INPUT, "int8", (None, 1, *_SIDES), scale=INT8_SCALE),)
    return (TensorSpec(INPUT, "float32", (None, 1, *_SIDES)),)


def inputs(precision: Precision) -> tuple[TensorSpec, ...]:
    """Return the inputs of the whole network beside its state, the windows first."""
    return (*windows(precision), *_WHERE)
