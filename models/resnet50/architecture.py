"""ResNet-50 v1.5 in ONNX, layer by layer, with seeded random weights; inputs and outputs as official.

It answers nothing sensible, but has the layers, shapes and costs of the official network: for tests, and to
measure builders and harness on a machine that has not fetched the official file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from models.network.layers import Layers

STAGES: tuple[tuple[int, int], ...] = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks and width of each stage (He et al., 2015, table 1, 50 layers); the output is four times as wide."""
_EXPANSION = 4
_OPSET = 13


def resnet50(
    *,
    seed: int = 0,
    stages: tuple[tuple[int, int], ...] = STAGES,
    stem: int = 64,
    classes: int = 1001,
    image: int = 224,
    opset: int = _OPSET,
) -> ModelProto:
    """Build the network with random weights that keep activations in range.

    Input `input_tensor:0` float32 N x 3 x image x image; outputs `ArgMax:0` int64 N and `softmax_tensor:0`
    float32 N x classes. Batch normalisation is folded into the convolutions. The same arguments give the same
    bytes.

    Args:
        seed: of the weights.
        stages: blocks and width of each stage; fewer and narrower ones make a small network for tests.
        stem: channels of the first convolution.
        classes: with the background class first, 1001 in the official file.
        image: height and width of the input in pixels.
        opset: 8 to 17 (the official files have 8 and 11).
    """
    layers = _Layers(np.random.default_rng(seed), "resnet_model/")
    value = layers.relu(layers.convolution("input_tensor:0", 3, stem, kernel=7, stride=2, gain=1 / 70))
    value = layers.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = stem
    for stage, (blocks, width) in enumerate(stages):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            value = _bottleneck(layers, value, channels, width, stride, project=block == 0)
            channels = width * _EXPANSION
    value = layers.node("ReduceMean", [value], axes=[2, 3], keepdims=0)
    value = layers.node("MatMul", [value, layers.weight((channels, classes), channels)])
    value = layers.node("Add", [value, layers.weight((classes,), classes, 0.1)])
    layers.node("ArgMax", [value], output="ArgMax:0", axis=1, keepdims=0)
    layers.node("Softmax", [value], output="softmax_tensor:0", axis=1)
    return layers.model(
        "resnet50",
        {"input_tensor:0": ["N", 3, image, image]},
        {"ArgMax:0": ["N"], "softmax_tensor:0": ["N", classes]},
        opset=opset,
        types={"ArgMax:0": TensorProto.INT64},
    )


def _bottleneck(layers: _Layers, value: str, channels: int, width: int, stride: int, *, project: bool) -> str:
    """1x1, 3x3 (with the stride: that is v1.5), 1x1, and the shortcut."""
    out = width * _EXPANSION
    shortcut = layers.convolution(value, channels, out, kernel=1, stride=stride) if project else value
    inner = layers.relu(layers.convolution(value, channels, width, kernel=1, stride=1))
    inner = layers.relu(layers.convolution(inner, width, width, kernel=3, stride=stride))
    inner = layers.convolution(inner, width, out, kernel=1, stride=1, gain=0.5)
    return layers.relu(layers.node("Add", [inner, shortcut]))


class _Layers(Layers):
    def weight(self, shape: tuple[int, ...], fan_in: int, gain: float = 1.0) -> str:
        deviation = gain * (2.0 / fan_in) ** 0.5
        values: NDArray[np.float32] = self.random.standard_normal(shape, dtype=np.float32) * np.float32(
            deviation
        )
        return self.constant(f"weight_{len(self.weights)}", values.astype(np.float32))

    def convolution(
        self, value: str, inner: int, outer: int, *, kernel: int, stride: int, gain: float = 1.0
    ) -> str:
        weight = self.weight((outer, inner, kernel, kernel), inner * kernel * kernel, gain)
        bias = self.weight((outer,), outer)
        pads = [kernel // 2] * 4
        return self.node(
            "Conv", [value, weight, bias], kernel_shape=[kernel, kernel], strides=[stride, stride], pads=pads
        )
