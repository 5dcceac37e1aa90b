"""The seeded ResNet-50 has the official network's weights, inputs and outputs."""

from __future__ import annotations

import numpy as np
import pytest

from models.network.checks import dimensions, dtype_name
from models.resnet50.architecture import resnet50


def test_it_is_resnet50() -> None:
    graph = resnet50().graph
    kinds = [node.op_type for node in graph.node]
    assert (kinds.count("Conv"), kinds.count("Add")) == (53, 17), "16 sums of blocks and a bias"
    # He et al., 2015, table 1, with folded batch normalisation and 1001 classes.
    assert sum(int(np.prod(tensor.dims)) for tensor in graph.initializer) == 23_454_912 + 26_560 + 2_051_049
    found = [
        (one.name, dtype_name(one.type.tensor_type.elem_type), dimensions(one))
        for one in (*graph.input, *graph.output)
    ]
    assert found == [
        ("input_tensor:0", "float32", ("N", 3, 224, 224)),
        ("ArgMax:0", "int64", ("N",)),
        ("softmax_tensor:0", "float32", ("N", 1001)),
    ]


def test_the_stride_is_in_the_3x3_convolution() -> None:
    """That makes it version 1.5 (MLPerf Inference v4.1, vision/classification_and_detection)."""
    strides = [
        {attribute.name: list(attribute.ints) for attribute in node.attribute}
        for node in resnet50().graph.node
        if node.op_type == "Conv"
    ]
    strided = [one["kernel_shape"] for one in strides if one["strides"] == [2, 2]]
    assert strided == [[7, 7], *[[1, 1], [3, 3]] * 3], (
        "the stem, and a shortcut and a 3x3 in each later stage"
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_network(seed: int) -> None:
    def build(seed: int) -> bytes:
        model = resnet50(seed=seed, stages=((1, 4),), stem=4, classes=5, image=32)
        return bytes(model.SerializeToString())

    assert build(seed) == build(seed)
    assert build(seed) != build(seed + 1)
