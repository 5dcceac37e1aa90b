"""retinanet's network: images in, detections out."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto
from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition, Precision
from mlperf_submission.benchmark.parts import Network, OnProgress, TensorSpec
from models.retinanet import detection, heads, tensors

AGREEMENT_IMAGES = {"mini": 8, "full": 50}


class RetinanetNetwork(Network):
    """The official file suppresses the boxes of one image: it is cut at its heads, to go on for batches."""

    outputs = tensors.OUTPUTS
    source_outputs = heads.head_outputs()

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the images, INT8 for the INT8 network."""
        return tensors.inputs(precision)

    def adapt(self, model: ModelProto) -> ModelProto:
        """Cut the published network at its ten heads; see `models.retinanet.heads`."""
        return heads.cut_at_heads(model)

    def finish(self, model: ModelProto) -> ModelProto:
        """Let the network itself choose, decode and suppress; see `models.retinanet.detection`."""
        return detection.with_detections(model)

    def random(
        self, output: Path, precision: Precision, layers: int | None, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Write the network in FP32: it is converted like the official one."""
        from models.network.random import write_model
        from models.retinanet.architecture import retinanet

        del precision, layers
        return write_model(retinanet(), output, on_progress)

    def agreement_samples(self, edition: Edition) -> int:
        """Return few images, which a processor is slow at: it takes seconds for each full one."""
        return AGREEMENT_IMAGES[edition.name]


NETWORK = RetinanetNetwork()
