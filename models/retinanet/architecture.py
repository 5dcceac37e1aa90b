"""RetinaNet with a ResNeXt-50 32x4d backbone in ONNX, layer by layer, with seeded random weights.

It finds nothing sensible, but has the layers, shapes and costs of the official network cut at its heads: for
tests, and to measure builders and harness on a machine that has not fetched the official file.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import ModelProto

from models.network.layers import Axes, Layers
from models.retinanet.anchors import ANCHORS, BASE_SIZES
from models.retinanet.facts import SIDE
from models.retinanet.heads import CLASSES, head_names
from models.retinanet.tensors import INPUT, MEANS, STANDARD_DEVIATIONS

STAGES: tuple[tuple[int, int], ...] = ((3, 128), (4, 256), (6, 512), (3, 1024))
"""Blocks and width of each stage (Xie et al., 2017, table 1, 32x4d); the output is twice as wide."""
GROUPS = 32
_EXPANSION = 2
_PYRAMID = 256
"""Channels of the feature maps P3 to P7 (Lin et al., 2017, Focal Loss for Dense Object Detection)."""
_TOWER = 4
"""Convolutions of a head before its last."""
_PRIOR = 0.01
_OPSET = 13


def retinanet(
    *,
    seed: int = 0,
    stages: tuple[tuple[int, int], ...] = STAGES,
    groups: int = GROUPS,
    stem: int = 64,
    pyramid: int = _PYRAMID,
    classes: int = CLASSES,
) -> ModelProto:
    """Build the network with random weights that keep activations in range.

    Input `images` float32 N x 3 x 800 x 800, 0 to 1; ten outputs `classification_head_SxS` (N x 9·classes x S
    x S) and `regression_head_SxS` (N x 36 x S x S) for S of 100, 50, 25, 13 and 7. Batch normalisation is
    folded into the convolutions. The same arguments give the same bytes.

    Args:
        seed: of the weights.
        stages: blocks and width of each of the four stages; fewer and narrower ones make a small network.
        groups: of the 3x3 convolutions; divides every width.
        stem: channels of the first convolution.
        pyramid: channels of the feature maps and of the heads.
        classes: 264 in the official network.
    """
    layers = _Layers(np.random.default_rng(seed))
    value = layers.relu(layers.convolution(_normalised(layers), 3, stem, kernel=7, stride=2))
    value = layers.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels, features = stem, []
    for stage, (blocks, width) in enumerate(stages):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            value = _bottleneck(layers, value, channels, width, stride, groups, project=block == 0)
            channels = width * _EXPANSION
        features.append((value, channels))
    maps = _feature_pyramid(layers, features[1:], pyramid)
    outputs: dict[str, Axes] = {}
    for kind, wanted in enumerate((classes, 4)):
        for side, feature in zip(BASE_SIZES, maps, strict=True):
            name = head_names(side)[kind]
            _head(layers, feature, pyramid, ANCHORS * wanted, f"head{kind}", output=name, prior=kind == 0)
            outputs[name] = ["N", ANCHORS * wanted, side, side]
    return layers.model("retinanet", {INPUT: ["N", 3, SIDE, SIDE]}, outputs, opset=_OPSET)


def _normalised(layers: _Layers) -> str:
    means, deviations = (
        layers.constant(name, np.array(values, np.float32).reshape(1, 3, 1, 1))
        for name, values in (("means", MEANS), ("deviations", STANDARD_DEVIATIONS))
    )
    return layers.node("Div", [layers.node("Sub", [INPUT, means]), deviations])


def _bottleneck(
    layers: _Layers, value: str, channels: int, width: int, stride: int, groups: int, *, project: bool
) -> str:
    """1x1, 3x3 in groups (with the stride), 1x1, and the shortcut."""
    out = width * _EXPANSION
    shortcut = layers.convolution(value, channels, out, kernel=1, stride=stride) if project else value
    inner = layers.relu(layers.convolution(value, channels, width, kernel=1))
    inner = layers.relu(layers.convolution(inner, width, width, kernel=3, stride=stride, groups=groups))
    inner = layers.convolution(inner, width, out, kernel=1, gain=0.5)
    return layers.relu(layers.node("Add", [inner, shortcut]))


def _feature_pyramid(layers: _Layers, features: list[tuple[str, int]], width: int) -> list[str]:
    """Return P3 to P7: three from the stages with what is above each added, two further ones from P5."""
    twice = layers.constant("twice", np.array([1, 1, 2, 2], np.float32))
    laterals = [
        layers.convolution(value, channels, width, kernel=1, gain=0.5) for value, channels in features
    ]
    for level in range(len(laterals) - 2, -1, -1):
        above = layers.node(
            "Resize",
            [laterals[level + 1], "", twice],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
        laterals[level] = layers.node("Add", [laterals[level], above])
    maps = [layers.convolution(value, width, width, kernel=3, gain=0.5) for value in laterals]
    maps.append(layers.convolution(maps[-1], width, width, kernel=3, stride=2))
    maps.append(layers.convolution(layers.relu(maps[-1]), width, width, kernel=3, stride=2))
    return maps


def _head(
    layers: _Layers, value: str, width: int, channels: int, name: str, *, output: str, prior: bool
) -> None:
    """Four convolutions and the last one; all maps share the weights, which `name` names."""
    for number in range(_TOWER):
        value = layers.relu(layers.convolution(value, width, width, kernel=3, shared=f"{name}.{number}"))
    bias = -math.log((1 - _PRIOR) / _PRIOR) if prior else 0.0
    layers.convolution(
        value, width, channels, kernel=3, gain=0.1, shared=f"{name}.last", bias=bias, output=output
    )


class _Layers(Layers):
    def convolution(
        self,
        value: str,
        inner: int,
        outer: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        gain: float = 1.0,
        shared: str = "",
        bias: float = 0.0,
        output: str = "",
    ) -> str:
        """Add a convolution; a name in `shared` gives it the weights of the others of this name."""
        name = shared or f"conv_{len(self.weights)}"
        if f"{name}.weight" not in self.weights:
            fan_in = inner // groups * kernel * kernel
            values = self.random.standard_normal((outer, inner // groups, kernel, kernel), dtype=np.float32)
            self.constant(f"{name}.weight", values * np.float32(gain * (2.0 / fan_in) ** 0.5))
            noise = self.random.standard_normal(outer, dtype=np.float32)
            self.constant(f"{name}.bias", noise * np.float32(0.02) + np.float32(bias))
        return self.node(
            "Conv",
            [value, f"{name}.weight", f"{name}.bias"],
            output=output,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=groups,
        )
