"""The inputs and outputs of resnet50's network, and what its answers mean."""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import TensorSpec
from models.resnet50.facts import SIDE

INPUT = "input_tensor:0"
ARG_MAX = "ArgMax:0"
INT8_SCALE = 1.0
"""Real value of one step of an INT8 sample: the preprocessed values, rounded, are the integers themselves."""
BACKGROUND_OUTPUTS = 1
"""The network has one output more than there are classes, the background, which comes first."""
RESPONSE_DTYPE = "int32"
OUTPUTS = (TensorSpec(ARG_MAX, "int64", (None,)),)


def inputs(precision: Precision) -> tuple[TensorSpec, ...]:
    """Return int8 for the INT8 network (a quarter of the bytes), else float32."""
    shape = (None, 3, SIDE, SIDE)
    if precision == "int8":
        return (TensorSpec(INPUT, "int8", shape, scale=INT8_SCALE),)
    return (TensorSpec(INPUT, "float32", shape),)
