"""3d-unet-99's network: windows of volumes in, the labels of their voxels out; the sums are its state."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto
from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition, Precision
from mlperf_submission.benchmark.parts import Network, OnProgress, TensorSpec
from models.unet3d import tensors

AGREEMENT_CASES = {"mini": 1, "full": 2}
"""Cases that a converted network is compared on: a processor takes minutes for each full one."""


class Unet3dNetwork(Network):
    """The official file with a free batch is used as it is."""

    outputs = tensors.OUTPUTS
    source_outputs = tensors.SCORES

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return a batch of windows, INT8 for the INT8 network, and where they belong."""
        return tensors.inputs(precision)

    def source_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return a batch of windows."""
        return tensors.windows(precision)

    def finish(self, model: ModelProto) -> ModelProto:
        """Let the network itself weigh and sum the scores; see `models.unet3d.summing`."""
        from models.unet3d.summing import with_sums

        return with_sums(model)

    def random(
        self, output: Path, precision: Precision, layers: int | None, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Write the network in FP32: it is converted like the official one."""
        from models.network.random import write_model
        from models.unet3d.architecture import unet3d

        del precision, layers
        return write_model(unet3d(), output, on_progress)

    def agreement_samples(self, edition: Edition) -> int:
        """Return few cases, which a processor is slow at."""
        return AGREEMENT_CASES[edition.name]


NETWORK = Unet3dNetwork()
