"""The inputs and outputs of 3d-unet-99's network."""

from __future__ import annotations

from models.benchmark import Precision, TensorSpec
from models.unet3d.volumes import CLASSES, INT8_SCALE, WINDOW

INPUT, OUTPUT = "input", "output"
_SIDES = (WINDOW, WINDOW, WINDOW)
OUTPUTS = (TensorSpec(OUTPUT, "float32", (None, CLASSES, *_SIDES)),)


def inputs(precision: Precision) -> tuple[TensorSpec, ...]:
    """Return int8 for the INT8 network (a quarter of the bytes), else float32."""
    if precision == "int8":
        return (TensorSpec(INPUT, "int8", (None, 1, *_SIDES), scale=INT8_SCALE),)
    return (TensorSpec(INPUT, "float32", (None, 1, *_SIDES)),)
