"""The seeded RetinaNet has the official network's weights and heads."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest

from models.network.checks import dimensions, dtype_name
from models.retinanet.anchors import BASE_SIZES
from models.retinanet.architecture import retinanet

small = partial(retinanet, stages=((1, 4), (1, 4), (1, 8), (1, 8)), groups=2, stem=4, pyramid=4, classes=3)


def test_it_is_retinanet_with_resnext50() -> None:
    graph = retinanet().graph
    kinds = [node.op_type for node in graph.node]
    assert (kinds.count("Conv"), kinds.count("Resize")) == (53 + 8 + 50, 2)
    # torchvision's resnext50_32x4d has 25,028,904 parameters, 2,049,000 of them in its dense layer. Folded, a
    # batch normalisation has one per channel in place of two: 34,112.
    backbone = 25_028_904 - 2_049_000 - 34_112
    pyramid = (512 + 1024 + 2048 + 3) * 256 + 5 * (9 * 256 + 1) * 256
    tower = 4 * (9 * 256 + 1) * 256
    heads = 2 * tower + (9 * 256 + 1) * (2376 + 36)
    constants = 3 + 3 + 4
    weights = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    assert weights == backbone + pyramid + heads + constants
    grouped = [
        node.name
        for node in graph.node
        for attribute in node.attribute
        if attribute.name == "group" and attribute.i == 32
    ]
    assert len(grouped) == 16


def test_its_heads_have_the_official_shapes() -> None:
    graph = small(classes=264).graph
    (image,) = graph.input
    assert (image.name, dimensions(image)) == ("images", ("N", 3, 800, 800))
    found = {one.name: (dtype_name(one.type.tensor_type.elem_type), dimensions(one)) for one in graph.output}
    wanted = {f"classification_head_{side}x{side}": ("N", 2376, side, side) for side in BASE_SIZES}
    wanted |= {f"regression_head_{side}x{side}": ("N", 36, side, side) for side in BASE_SIZES}
    assert found == {name: ("float32", shape) for name, shape in wanted.items()}


def test_the_shapes_that_are_stated_are_those_that_come_out() -> None:
    model = small()
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((2, 3, 800, 800), np.float32)
    for output, values in zip(session.get_outputs(), session.run(None, {"images": images}), strict=True):
        assert list(values.shape) == [2, *output.shape[1:]]
        assert np.isfinite(values).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_network(seed: int) -> None:
    def build(seed: int) -> bytes:
        return bytes(small(seed=seed).SerializeToString())

    assert build(seed) == build(seed)
    assert build(seed) != build(seed + 1)
