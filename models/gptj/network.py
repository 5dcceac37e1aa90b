"""gptj-99's network: tokens in, the best continuations of each beam out; the cache is its state."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition, Precision
from mlperf_submission.benchmark.parts import Network, OnProgress, TensorSpec
from models.gptj import decoder

MINI_AGREEMENT_SAMPLES = 3


class GptJNetwork(Network):
    """There is no official ONNX network: `convert` exports the checkpoint."""

    outputs = decoder.OUTPUTS
    is_exported = True

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the inputs beside the cache, the same in every precision."""
        del precision
        return decoder.INPUTS

    def convert(
        self, network: Path, output: Path, precision: Precision, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Export the official checkpoint, or write a network of ours anew, tensor by tensor.

        Args:
            network: an ONNX file of this project, or the folder that the checkpoint was unpacked into.
            output: the ONNX file; large weights lie in `<output>.data`.
            precision: `fp16` or `fp32`.
            on_progress: told how many tensors are written.

        Raises:
            NetworkFileError: no network of ours, or a precision that there is not.
            SourceError: the checkpoint is damaged or not GPT-J's.
        """
        from models.gptj import export
        from models.gptj.checkpoint import Checkpoint

        if network.is_dir():
            checkpoint = Checkpoint(network)
            return export.write_network(
                output, checkpoint.shape(), checkpoint, precision, on_progress=on_progress
            )
        shape, weights = export.weights_of(network)
        return export.write_network(output, shape, weights, precision, on_progress=on_progress)

    def random(
        self, output: Path, precision: Precision, layers: int | None, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Write the network in its precision, with fewer layers if asked: one has 0.4 GB in FP16."""
        from models.gptj.architecture import gptj

        figures = gptj(output, layers=layers, precision=precision, on_progress=on_progress)
        return {"bytes": figures["bytes"]}

    def agreement_samples(self, edition: Edition) -> int | None:
        """Return few samples, and none for 6B, which a processor would take days for."""
        return MINI_AGREEMENT_SAMPLES if edition.name == "mini" else 0


NETWORK = GptJNetwork()
