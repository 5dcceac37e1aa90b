"""BERT for question answering in ONNX, layer by layer, with seeded random weights or given ones.

Inputs and outputs are the official network's (MLPerf Inference v4.1, language/bert/bert_tf_to_pytorch.py).
With random weights it answers nothing sensible, but has the official network's layers, shapes and costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.network.layers import Layers

_OPSET = 11
"""As the official export has it: a layer normalisation is nine nodes, and shapes are computed."""
_MASKED = -10_000.0
"""Added to the scores of padding, as BERT does."""
_EPSILON = 1e-12
INPUTS = ("input_ids", "input_mask", "segment_ids")
OUTPUTS = ("output_start_logits", "output_end_logits")


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT; the default is BERT-Large uncased (bert_config.json of the official network)."""

    layers: int = 24
    hidden: int = 1024
    heads: int = 16
    inner: int = 4096
    vocabulary: int = 30_522
    positions: int = 512
    segments: int = 2


LARGE = BertShape()


def bert(
    shape: BertShape = LARGE,
    *,
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    seed: int = 0,
    sequence: int | None = None,
) -> ModelProto:
    """Build the network.

    Inputs `input_ids`, `input_mask` and `segment_ids`: int64 N x sequence; outputs `output_start_logits` and
    `output_end_logits`: float32 N x sequence. The same arguments give the same bytes.

    Args:
        shape: of the network.
        weights: every weight by the name that it has here, matrices as input x output; random ones if None.
        seed: of the random weights.
        sequence: length of the sequences; None leaves it free, up to `shape.positions`.
    """
    graph = _Graph(np.random.default_rng(seed), given=weights)
    values = _embeddings(graph, shape)
    mask = graph.node("Cast", ["input_mask"], to=TensorProto.FLOAT)
    mask = graph.node("Unsqueeze", [mask], axes=[1, 2])
    mask = graph.node("Sub", [graph.constant("one", np.array(1, np.float32)), mask])
    mask = graph.node("Mul", [mask, graph.constant("masked", np.array(_MASKED, np.float32))])
    for layer in range(shape.layers):
        name = f"layer{layer}"
        mixed = _attention(graph, shape, values, mask, f"{name}.attention")
        values = graph.norm(graph.node("Add", [values, mixed]), shape.hidden, f"{name}.attention.norm")
        inner = graph.dense(values, shape.hidden, shape.inner, f"{name}.up")
        inner = graph.dense(_gelu(graph, inner), shape.inner, shape.hidden, f"{name}.down")
        values = graph.norm(graph.node("Add", [values, inner]), shape.hidden, f"{name}.norm")
    logits = graph.dense(values, shape.hidden, 2, "answer")
    start, end = graph.split(logits)
    graph.node("Squeeze", [start], axes=[-1], output=OUTPUTS[0])
    graph.node("Squeeze", [end], axes=[-1], output=OUTPUTS[1])
    size = sequence or "sequence"
    return graph.model(
        "bert",
        {name: ["N", size] for name in INPUTS},
        {name: ["N", size] for name in OUTPUTS},
        opset=_OPSET,
        version=6,
        types=dict.fromkeys(INPUTS, TensorProto.INT64),
    )


def _embeddings(graph: _Graph, shape: BertShape) -> str:
    tokens = graph.weight("tokens", (shape.vocabulary, shape.hidden), 0.5)
    table = graph.weight("positions", (shape.positions, shape.hidden), 0.5)
    segments = graph.weight("segments", (shape.segments, shape.hidden), 0.5)
    length = graph.node("Unsqueeze", [graph.size("input_ids", 1)], axes=[0])
    zero = graph.constant("zero", np.array([0], np.int64))
    positions = graph.node("Slice", [table, zero, length, zero])
    values = graph.node("Add", [graph.node("Gather", [tokens, "input_ids"]), positions])
    values = graph.node("Add", [values, graph.node("Gather", [segments, "segment_ids"])])
    return graph.norm(values, shape.hidden, "norm")


def _attention(graph: _Graph, shape: BertShape, values: str, mask: str, name: str) -> str:
    size = shape.hidden // shape.heads
    orders = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    parts = {}
    for part, order in orders.items():
        projected = graph.dense(values, shape.hidden, shape.hidden, f"{name}.{part}")
        parts[part] = graph.node("Transpose", [graph.view(projected, shape.heads, size)], perm=order)
    scores = graph.node("MatMul", [parts["query"], parts["key"]])
    scores = graph.node("Mul", [scores, graph.constant("scale", np.array(1 / math.sqrt(size), np.float32))])
    shares = graph.node("Softmax", [graph.node("Add", [scores, mask])], axis=3)
    mixed = graph.node("Transpose", [graph.node("MatMul", [shares, parts["value"]])], perm=[0, 2, 1, 3])
    return graph.dense(graph.view(mixed, shape.hidden), shape.hidden, shape.hidden, f"{name}.out")


def _gelu(graph: _Graph, value: str) -> str:
    """X / 2 * (1 + erf(x / sqrt 2)), as exported from BERT."""
    scaled = graph.node("Div", [value, graph.constant("root2", np.array(math.sqrt(2), np.float32))])
    raised = graph.node("Add", [graph.node("Erf", [scaled]), graph.constant("one", np.array(1, np.float32))])
    product = graph.node("Mul", [value, raised])
    return graph.node("Mul", [product, graph.constant("half", np.array(0.5, np.float32))])


@dataclass
class _Graph(Layers):
    given: Mapping[str, NDArray[np.float32]] | None = None

    def split(self, value: str) -> tuple[str, str]:
        names = ("start_logits", "end_logits")
        self.nodes.append(helper.make_node("Split", [value], [*names], name="Split_logits", axis=-1))
        return names

    def weight(self, name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> str:
        if self.given is not None:
            values = np.ascontiguousarray(self.given[name], np.float32).reshape(shape)
        else:
            values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
            values += np.float32(mean)
        return self.constant(name, values)

    def dense(self, value: str, inner: int, outer: int, name: str) -> str:
        matrix = self.weight(f"{name}.weight", (inner, outer), inner**-0.5)
        bias = self.weight(f"{name}.bias", (outer,), 0.02)
        return self.node("Add", [self.node("MatMul", [value, matrix]), bias])

    def norm(self, value: str, size: int, name: str) -> str:
        scale = self.weight(f"{name}.weight", (size,), 0.05, 1.0)
        shift = self.weight(f"{name}.bias", (size,), 0.05)
        centred = self.node("Sub", [value, self.node("ReduceMean", [value], axes=[-1])])
        squares = self.node("Pow", [centred, self.constant("two", np.array(2, np.float32))])
        variance = self.node("ReduceMean", [squares], axes=[-1])
        raised = self.node("Add", [variance, self.constant("epsilon", np.array(_EPSILON, np.float32))])
        normal = self.node("Div", [centred, self.node("Sqrt", [raised])])
        return self.node("Add", [self.node("Mul", [normal, scale]), shift])

    def size(self, value: str, axis: int) -> str:
        """The size of an axis as it is when the network runs, a scalar."""
        number = self.constant(f"axis{axis}", np.array(axis, np.int64))
        return self.node("Gather", [self.node("Shape", [value]), number], axis=0)

    def view(self, value: str, *sizes: int) -> str:
        """Batch, sequence and these sizes, as PyTorch exports `view`."""
        parts = [self.node("Unsqueeze", [self.size(value, axis)], axes=[0]) for axis in (0, 1)]
        parts += [self.constant(f"size{size}", np.array([size], np.int64)) for size in sizes]
        return self.node("Reshape", [value, self.node("Concat", parts, axis=0)])


def with_rounding(model: ModelProto) -> ModelProto:
    """Round both sides of every product to INT8 by fixed ranges, as a published INT8 network has it.

    So a network of random weights can be built in INT8 without running it for its ranges. Weights are rounded
    per tensor by their largest value, activations by 6, what is behind a softmax by 1.

    Args:
        model: what `bert` returned; it is changed and returned.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    softmax = {node.output[0] for node in graph.node if node.op_type == "Softmax"}
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero_point"))
    nodes: list[NodeProto] = []
    for node in graph.node:
        for position, name in enumerate(node.input if node.op_type == "MatMul" else []):
            largest = 1.0 if name in softmax else 6.0
            if name in weights:
                largest = float(np.abs(numpy_helper.to_array(weights[name])).max())
            prefix = f"{node.name}/{position}"
            step = numpy_helper.from_array(np.array(largest / 127, np.float32), f"{prefix}/scale")
            graph.initializer.append(step)
            for kind, source, target in (
                ("QuantizeLinear", name, f"{prefix}/int8"),
                ("DequantizeLinear", f"{prefix}/int8", f"{prefix}/float"),
            ):
                inputs = [source, step.name, "zero_point"]
                nodes.append(helper.make_node(kind, inputs, [target], name=f"{prefix}/{kind}"))
            node.input[position] = f"{prefix}/float"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model
