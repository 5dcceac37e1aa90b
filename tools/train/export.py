"""For the training scripts: writes a convolutional network down as ONNX, batch normalisations folded.

Needs torch besides the project's own packages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

Shape = list[int | str]


class GraphWriter:
    """The nodes and weights of a network, in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def keep(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a weight, unless one of this name is there; return its name."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(values, name)
        return name

    def add(self, operator: str, sources: list[str], name: str, **attributes: Any) -> str:
        """Add a node that is called like its output; return this name."""
        self._nodes.append(helper.make_node(operator, sources, [name], name, **attributes))
        return name

    def relu(self, source: str, name: str = "") -> str:
        """Add a ReLU; return its output."""
        return self.add("Relu", [source], name or f"{source}.relu")

    def conv(self, name: str, source: str, layer: nn.Module, *, output: str = "", weight: str = "") -> str:
        """Add a convolution of any number of dimensions; return its output, by default `<name>.sum`.

        Args:
            name: of the layer.
            source: its input.
            layer: a convolution, or one with its batch normalisation after it in a `Sequential`.
            output: what to call the output.
            weight: what to call the weights; layers that share them name the same.
        """
        kernel, bias = _folded(layer)
        plain = layer[0] if isinstance(layer, nn.Sequential) else layer
        sources = [
            source,
            self.keep(f"{weight or name}.weight", kernel),
            self.keep(f"{weight or name}.bias", bias),
        ]
        return self.add(
            "Conv",
            sources,
            output or f"{name}.sum",
            kernel_shape=kernel.shape[2:],
            strides=plain.stride,
            pads=[*plain.padding, *plain.padding],
        )

    def model(
        self, name: str, inputs: dict[str, Shape], outputs: dict[str, tuple[int, Shape]]
    ) -> onnx.ModelProto:
        """Return the network, checked.

        Args:
            name: of the graph.
            inputs: FP32 inputs, name to shape.
            outputs: name to element type of ONNX and shape.
        """
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one, shape in inputs.items()],
            [helper.make_tensor_value_info(one, kind, shape) for one, (kind, shape) in outputs.items()],
            list(self._weights.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def _folded(layer: nn.Module) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return kernel and bias of a convolution, with its batch normalisation if it has one."""
    if not isinstance(layer, nn.Sequential):
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()
    conv, norm = layer[0], layer[1]
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    kernel = conv.weight * factor.reshape(-1, *[1] * (conv.weight.ndim - 1))
    bias = norm.bias - norm.running_mean * factor
    return kernel.detach().numpy(), bias.detach().numpy()
