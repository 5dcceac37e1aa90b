"""Constants of a network: computed where they can be, and laid aside while its structure is worked on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.network.edits import drop_unneeded, replace

_KEPT = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""They state a precision, which would be lost."""
_SMALL = 1 << 20
"""Bytes: a result may be larger than what it is computed from only up to this (an expanded mask, say)."""
_LAID_ASIDE = 1 << 12
"""Bytes: smaller constants stay in the graph, where shapes and axes are looked for."""


def fold_constants(model: ModelProto) -> int:
    """Replace every node that reads nothing but constants by its value; return how many went.

    So a scale is found whether it is stored, behind a Cast or computed, and a weight behind an Identity.
    Networks are folded before anything of them is looked at.
    """
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    outputs = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in graph.node:
        values = None if outputs.intersection(node.output) else _computed(node, known, opsets)
        if values is None:
            kept.append(node)
            continue
        for name, value in zip(node.output, values, strict=True):
            if name:
                known[name] = numpy_helper.from_array(value, name)
                graph.initializer.append(known[name])
    folded = len(graph.node) - len(kept)
    if folded:
        replace(graph.node, kept)
        drop_unneeded(model)
    return folded


def _computed(
    node: NodeProto, known: Mapping[str, TensorProto], opsets: Mapping[str, int]
) -> list[NDArray[np.generic]] | None:
    """Return what a node makes of constants; None if it reads something else, or is left as it is."""
    has_graph = any(
        one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for one in node.attribute
    )
    if node.op_type in _KEPT or node.domain not in ("", "ai.onnx") or has_graph:
        return None
    if not all(name in known for name in node.input if name) or not (
        node.input or node.op_type == "Constant"
    ):
        return None
    inputs = {name: numpy_helper.to_array(known[name]) for name in node.input if name}
    try:
        values = [np.asarray(one) for one in ReferenceEvaluator(node, opsets=dict(opsets)).run(None, inputs)]
    except Exception:  # an operator that onnx has no reference for stays, as it would without folding
        return None
    size, read = (sum(one.nbytes for one in some) for some in (values, inputs.values()))
    return values if size <= max(read, _SMALL) else None


def lay_aside(model: ModelProto) -> tuple[ModelProto, dict[str, NDArray[np.generic]]]:
    """Return a network whose large weights are inputs, and these weights by name; the given one is emptied.

    Converters copy a network several times, and need its structure only. Drop the given one to free memory.
    """
    weights: dict[str, NDArray[np.generic]] = {}
    inputs: list[ValueInfoProto] = []
    for tensor in model.graph.initializer:
        if _size(tensor) >= _LAID_ASIDE:
            weights[tensor.name] = numpy_helper.to_array(tensor)
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
    light = ModelProto()
    light.CopyFrom(model)
    graph = light.graph
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in weights])
    graph.input.extend(inputs)
    return light, weights


def put_back(model: ModelProto, weights: dict[str, NDArray[np.generic]]) -> None:
    """Make inputs weights again that `lay_aside` took, in the dtype that the inputs have by now.

    `weights` is empty afterwards; what no node reads any more is dropped.
    """
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    replace(graph.input, [value for value in graph.input if value.name not in weights])
    for name in list(weights):
        values = weights.pop(name)
        if name in types:
            dtype = helper.tensor_dtype_to_np_dtype(types[name])
            graph.initializer.append(numpy_helper.from_array(values.astype(dtype, copy=False), name))
    drop_unneeded(model)


def _size(tensor: TensorProto) -> int:
    return len(tensor.raw_data) or int(np.prod(tensor.dims)) * 4
