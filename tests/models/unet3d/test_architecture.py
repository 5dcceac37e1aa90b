"""The seeded 3D U-Net has the official network's layers, weights, input and output."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnxruntime
import pytest

from models.network.checks import dimensions, dtype_name
from models.unet3d.architecture import unet3d


def test_it_is_the_unet_of_kits19() -> None:
    graph = unet3d().graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds == {
        "Conv": 23,
        "InstanceNormalization": 22,
        "Relu": 22,
        "ConvTranspose": 5,
        "Concat": 5,
    }
    weights = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    assert round(weights / 1e6, 1) == 31.2
    found = [
        (one.name, dtype_name(one.type.tensor_type.elem_type), dimensions(one))
        for one in (*graph.input, *graph.output)
    ]
    assert found == [
        ("input", "float32", ("N", 1, 128, 128, 128)),
        ("output", "float32", ("N", 3, 128, 128, 128)),
    ]


def test_the_first_convolution_of_every_lower_level_has_the_stride() -> None:
    strided = [
        node.name
        for node in unet3d(widths=(2, 2, 2, 2, 2, 2)).graph.node
        for one in node.attribute
        if node.op_type == "Conv" and one.name == "strides" and list(one.ints) == [2, 2, 2]
    ]
    assert len(strided) == 5


def test_a_small_one_runs_on_any_batch() -> None:
    model = unet3d(widths=(2, 3, 4), window=16)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.random.default_rng(0).standard_normal((3, 1, 16, 16, 16), dtype=np.float32)
    (together,) = session.run(["output"], {"input": values})
    assert together.shape == (3, 3, 16, 16, 16)
    (alone,) = session.run(["output"], {"input": values[2:]})
    np.testing.assert_allclose(together[2:], alone, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_network(seed: int) -> None:
    def build(seed: int) -> bytes:
        return bytes(unet3d(seed=seed, widths=(2, 3), window=8).SerializeToString())

    assert build(seed) == build(seed)
    assert build(seed) != build(seed + 1)
