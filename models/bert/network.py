"""bert-99's network: token ids in, the logits of start and end out."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto
from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Network, OnProgress, TensorSpec
from models.bert import tensors
from models.network.edits import free_batch

_INT8_NAMES = {"attention_mask": tensors.MASK, "token_type_ids": tensors.SEGMENTS}
"""Inputs of the fake-quant network (onnxruntime_SUT.py) and what the FP32 network calls them."""


class Bert99Network(Network):
    """The official files: FP32, and INT8 by its owner."""

    calibration_batch = 4
    outputs = tensors.OUTPUTS

    def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return the inputs: the same token ids in every precision."""
        del precision
        return tensors.INPUTS

    def adapt(self, model: ModelProto) -> ModelProto:
        """Give the published INT8 network the input names of the FP32 one, and each of them a free batch."""
        free_batch(model)
        names = {value.name for value in model.graph.input}
        for old, new in _INT8_NAMES.items():
            if old not in names or new in names:
                continue
            for value in model.graph.input:
                value.name = new if value.name == old else value.name
            for node in model.graph.node:
                for position, name in enumerate(node.input):
                    if name == old:
                        node.input[position] = new
        return model

    def random(
        self, output: Path, precision: Precision, layers: int | None, on_progress: OnProgress
    ) -> dict[str, JsonValue]:
        """Write the network; in INT8 rounded by fixed ranges, as its owner publishes an INT8 network."""
        from models.bert.architecture import bert, with_rounding
        from models.network.random import write_model

        del layers
        return write_model(with_rounding(bert()) if precision == "int8" else bert(), output, on_progress)


NETWORK = Bert99Network()
