"""3d-unet-99's network: windows of a volume in, the scores of their voxels out."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from models.benchmark import Edition, Network, OnProgress, Precision, TensorSpec
from models.unet3d import tensors

AGREEMENT_CASES = {"mini": 12, "full": 2}
"""Cases that a converted network is compared on: a processor takes minutes for each full one."""


class Unet3dNetwork(Network):
    """The official file with a free batch is used as it is."""

    outputs = tensors.OUTPUTS

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return a batch of windows, INT8 for the INT8 network."""
        return tensors.inputs(precision)

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
