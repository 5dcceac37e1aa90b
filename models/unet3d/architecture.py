"""The 3D U-Net of KiTS19 in ONNX, layer by layer, with seeded random weights; input and output as official.

It answers nothing sensible, but has the layers, shapes and costs of the official network: for tests, and to
measure builders and harness on a machine that has not fetched the official file.

Source of the structure: MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19 (README.md).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from models.network.layers import Layers

WIDTHS = (32, 64, 128, 256, 320, 320)
"""Channels at each resolution, from the input's to a 32nd of it."""
CLASSES = 3
_OPSET = 13
_EPSILON = 1e-5


def unet3d(*, seed: int = 0, widths: tuple[int, ...] = WIDTHS, window: int = 128) -> ModelProto:
    """Build the network with random weights.

    Input `input` float32 N x 1 x window^3, output `output` float32 N x 3 x window^3. Every 3x3x3 convolution
    is followed by instance normalisation and ReLU; the first of a level has stride 2. On the way up a 2x2x2
    transposed convolution is joined with the level's features. The same arguments give the same bytes.

    Args:
        seed: of the weights.
        widths: channels at each resolution; fewer and smaller ones make a small network for tests.
        window: side of the input in voxels, a multiple of 2 to the number of levels less one.
    """
    layers = _Layers(np.random.default_rng(seed))
    value = layers.block("input", 1, widths[0], stride=1)
    beside: list[tuple[str, int]] = []
    for before, after in pairwise(widths):
        beside.append((value, before))
        value = layers.block(value, before, after, stride=2)
    channels = widths[-1]
    for skip, width in reversed(beside):
        risen = layers.rise(value, channels, width)
        value = layers.block(layers.node("Concat", [risen, skip], axis=1), 2 * width, width, stride=1)
        channels = width
    last = [layers.weight((CLASSES, channels, 1, 1, 1), channels), layers.kept(np.zeros(CLASSES))]
    layers.node("Conv", [value, *last], output="output", kernel_shape=[1, 1, 1])
    sides = [window] * 3
    return layers.model(
        "unet3d", {"input": ["N", 1, *sides]}, {"output": ["N", CLASSES, *sides]}, opset=_OPSET
    )


class _Layers(Layers):
    def kept(self, values: NDArray[np.generic]) -> str:
        return self.constant(f"weight_{len(self.weights)}", values.astype(np.float32))

    def weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        values = self.random.standard_normal(shape, dtype=np.float32)
        return self.kept(values * np.float32((2.0 / fan_in) ** 0.5))

    def block(self, value: str, before: int, after: int, *, stride: int) -> str:
        """Two convolutions of 3x3x3, each with instance normalisation and ReLU; the first with the stride."""
        for channels, step in ((before, stride), (after, 1)):
            kernel = self.weight((after, channels, 3, 3, 3), channels * 27)
            value = self.node("Conv", [value, kernel], kernel_shape=[3] * 3, strides=[step] * 3, pads=[1] * 6)
            scale, shift = self.kept(np.ones(after)), self.kept(np.zeros(after))
            value = self.node("InstanceNormalization", [value, scale, shift], epsilon=_EPSILON)
            value = self.relu(value)
        return value

    def rise(self, value: str, before: int, after: int) -> str:
        """Double the resolution: a transposed convolution of 2x2x2 with stride 2."""
        kernel = self.weight((before, after, 2, 2, 2), before)
        inputs = [value, kernel, self.kept(np.zeros(after))]
        return self.node("ConvTranspose", inputs, kernel_shape=[2] * 3, strides=[2] * 3)
