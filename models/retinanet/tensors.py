"""The inputs and outputs of retinanet's network."""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import TensorSpec
from models.retinanet.anchors import DETECTIONS
from models.retinanet.facts import SIDE

INPUT = "images"
MEANS = (0.485, 0.456, 0.406)
STANDARD_DEVIATIONS = (0.229, 0.224, 0.225)
"""Of red, green and blue, 0 to 1; the network itself subtracts and divides."""
INT8_SCALE = 2.64064 / 127
"""Step of an INT8 sample, in normalised pixels, whose largest is 2.64: that of NVIDIA's results of v4.1."""
INPUTS = (TensorSpec(INPUT, "float32", (None, 3, SIDE, SIDE)),)
OUTPUT = "detections"
VALUES, SCORE = 6, 4
OUTPUTS = (TensorSpec(OUTPUT, "float32", (None, DETECTIONS, VALUES)),)
"""The best detections of an image, the best first: top, left, bottom, right (0 to 1), score, class. What is
left has the score 0."""


def inputs(precision: Precision) -> tuple[TensorSpec, ...]:
    """Return int8 for the INT8 network (a quarter of the bytes), else float32."""
    if precision == "int8":
        return (
            TensorSpec(
                INPUT,
                "int8",
                INPUTS[0].shape,
                scale=INT8_SCALE,
                means=MEANS,
                deviations=STANDARD_DEVIATIONS,
            ),
        )
    return INPUTS
