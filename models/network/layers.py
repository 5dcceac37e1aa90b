"""A network that is written node by node: what the architectures of the benchmarks are made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Axes = Sequence[int | str | None]


@dataclass
class Layers:
    """Nodes and weights in their order. `random` makes the weights; `prefix` begins the name of each node."""

    random: np.random.Generator
    prefix: str = ""
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, TensorProto] = field(default_factory=dict)

    def node(self, kind: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = f"{self.prefix}{kind}_{len(self.nodes)}"
        output = output or f"{name}:0"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def relu(self, value: str) -> str:
        """Add a rectifier."""
        return self.node("Relu", [value])

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Keep values under a name, once; return the name."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(values, name)
        return name

    def model(
        self,
        name: str,
        inputs: Mapping[str, Axes],
        outputs: Mapping[str, Axes],
        *,
        opset: int,
        version: int = 8,
        types: Mapping[str, int] | None = None,
    ) -> ModelProto:
        """Return the network, checked unless it is too large for that.

        Args:
            name: of the graph.
            inputs: the shape of each; a text is a free dimension.
            outputs: the same.
            opset: of the operators.
            version: of the format.
            types: the element types that are not float32, by the name of the input or output.
        """

        def infos(side: Mapping[str, Axes]) -> list[ValueInfoProto]:
            kinds = dict.fromkeys(side, TensorProto.FLOAT) | dict(types or {})
            return [helper.make_tensor_value_info(name, kinds[name], [*axes]) for name, axes in side.items()]

        weights = [*self.weights.values()]
        graph = helper.make_graph(self.nodes, name, infos(inputs), infos(outputs), weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version)
        if model.ByteSize() < onnx.checker.MAXIMUM_PROTOBUF:
            onnx.checker.check_model(model)
        return model


@dataclass
class Continuation:
    """Nodes and constants that follow a network. `prefix` begins their names; integers are INT64."""

    prefix: str
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = f"{self.prefix}/{kind}_{len(self.nodes)}"
        output = output or name
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def constant(self, values: NDArray[np.generic]) -> str:
        """Add values; return their name."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def ints(self, *values: int) -> str:
        """Add a row of integers."""
        return self.constant(np.array(values, np.int64))

    def reshape(self, value: str, *sizes: int) -> str:
        """Give a tensor another shape."""
        return self.add("Reshape", [value, self.ints(*sizes)])

    def follow(self, model: ModelProto) -> None:
        """Put everything behind the nodes of a network."""
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(self.constants)
