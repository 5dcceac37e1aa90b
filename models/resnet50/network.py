"""resnet50's network: images in, a class out."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Network, OnProgress, TensorSpec
from models.resnet50 import tensors


class Resnet50Network(Network):
    """The official file is used as it is; what follows its ArgMax is dropped."""

    outputs = tensors.OUTPUTS

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the images, INT8 for the INT8 network."""
        return tensors.inputs(precision)

    def random(
        self, output: Path, precision: Precision, layers: int | None, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Write the network in FP32: it is converted like the official one."""
        from models.network.random import write_model
        from models.resnet50.architecture import resnet50

        del precision, layers
        return write_model(resnet50(), output, on_progress)


NETWORK = Resnet50Network()
