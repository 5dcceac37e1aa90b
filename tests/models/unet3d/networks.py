"""Small networks of windows for tests of what follows their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mlperf_submission.benchmark.answer import Arrays
from models.network.agreement import CpuSession
from models.unet3d.summing import with_sums


class Place:
    """Scores that depend on the voxel's value and on its place in the window, strongest at the border."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.batches: list[int] = []
        random = np.random.default_rng(5)
        coarse = random.standard_normal((3, 16, 16, 16)).astype(np.float32)
        self.place = coarse.repeat(8, 1).repeat(8, 2).repeat(8, 3)

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        (values,) = inputs.values()
        assert values.shape[1:] == (1, 128, 128, 128)
        assert len(values) <= self.batch_size
        self.batches.append(len(values))
        return {"output": self.place * values.astype(np.float32)}

    @property
    def nodes(self) -> tuple[list[NodeProto], dict[str, NDArray[np.float32]]]:
        """The same as nodes and weights of a network."""
        node = helper.make_node("Mul", ["input", "place"], ["output"], "scores")
        return [node], {"place": self.place}

    def whole(self, blocks: int = 12) -> CpuSession:
        """Return the same as a network that sums up, on the CPU."""
        return summing(*self.nodes, self.batch_size, blocks)


def summing(
    nodes: list[NodeProto], weights: dict[str, NDArray[np.float32]], batch_size: int, blocks: int
) -> CpuSession:
    """Return a network of windows (`input` to `output`), continued up to the labels, on the CPU."""
    return CpuSession(summing_model(nodes, weights, blocks), {}, batch_size=batch_size)


def summing_model(nodes: list[NodeProto], weights: dict[str, NDArray[np.float32]], blocks: int) -> ModelProto:
    """Return a network of windows, continued up to the labels."""
    sides = [128] * 3
    graph = helper.make_graph(
        nodes,
        "windows",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, *sides])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 3, *sides])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    helper.set_model_props(model, {"blocks": str(blocks)})
    return with_sums(model)
