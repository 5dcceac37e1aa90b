"""A published network brought to the form that is converted: nothing superfluous, and in one opset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from mlperf_submission.benchmark.parts import TensorSpec
from mlperf_submission.errors import NetworkFileError
from models.network.edits import drop_unneeded, pairs_of, readers_of, replace, set_type
from models.network.folding import fold_constants

OPSET = 19
"""The first opset with FP16 scales in QuantizeLinear and DequantizeLinear (ONNX operator changelog)."""
IR_VERSION = 9
"""Came with opset 19; from IR version 4 on, weights are not inputs."""
_LAST_AXIS = frozenset({"Softmax", "LogSoftmax"})
"""Up to opset 12 they work on all axes from one on: on the last one that is what they do since."""
_SET_ASIDE = "mlperf.as.it.is"
_WISE = frozenset({"Add", "Sub", "Mul", "Div", "MatMul", "Where", "Pow", "Sqrt", "Erf", "Cast", "Identity"})
"""Operators whose result has as many axes as their operand that has most."""


def clean(model: ModelProto, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> ModelProto:
    """Return a network that computes the required outputs and nothing else, in opset 19 or newer.

    Outputs that the benchmark does not need go, and all that only they need: a softmax behind the required
    arg-max for example (allowed: MLPerf inference_rules, Softmax FAQ). Weights are no inputs, fixed
    dimensions are written down, the batch dimension is called N, every node has a name, layer normalisations
    are one node each: a library computes that in FP32 inside, whatever surrounds it.

    Raises:
        NetworkFileError: the network cannot be brought to opset 19.
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    required = {spec.name for spec in outputs}
    replace(graph.output, [value for value in graph.output if value.name in required])
    drop_unneeded(result)
    weights = {tensor.name for tensor in graph.initializer}
    replace(graph.input, [value for value in graph.input if value.name not in weights])
    result.ir_version = max(result.ir_version, IR_VERSION)
    result = _raise_opset(result)
    fold_constants(result)
    join_layer_norms(result)
    graph = result.graph
    for value, spec in pairs_of([*graph.input, *graph.output], (*inputs, *outputs)):
        set_type(value, spec, keep_free=True)
    taken = Counter(node.name for node in graph.node)
    for index, node in enumerate(graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.op_type}_{index}"
    del graph.value_info[:]
    return result


def join_layer_norms(model: ModelProto) -> int:
    """Put a LayerNormalization in place of the nodes that compute one; return how many.

    Written out, its squares overflow in FP16 from 256 on.
    """
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    readers = readers_of(model)
    joined = 0
    for division in list(graph.node):
        found = _layer_norm(division, made_by, readers) if division.op_type == "Div" else None
        if found is None:
            continue
        inputs, epsilon, last = found
        made = helper.make_node(
            "LayerNormalization", inputs, last.output, last.name, axis=-1, epsilon=_scalar(model, epsilon)
        )
        last.CopyFrom(made)
        joined += 1
    drop_unneeded(model)
    return joined


def _layer_norm(
    division: NodeProto, made_by: Mapping[str, NodeProto], readers: Mapping[str, list[NodeProto]]
) -> tuple[list[str], str, NodeProto] | None:
    """Return value, scale and shift, the epsilon, and the last node of a normalisation that divides here.

    It is (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + shift, over the last axis.
    """

    def before(node: NodeProto | None, kind: str, place: int = 0) -> NodeProto | None:
        source = made_by.get(node.input[place]) if node is not None and len(node.input) > place else None
        return source if source is not None and source.op_type == kind else None

    def behind(node: NodeProto, kind: str) -> NodeProto | None:
        follow = readers.get(node.output[0], [])
        return follow[0] if len(follow) == 1 and follow[0].op_type == kind else None

    centred, root = before(division, "Sub"), before(division, "Sqrt", 1)
    raised = before(root, "Add")
    variance = before(raised, "ReduceMean")
    squares = before(variance, "Pow") or before(variance, "Mul")
    mean = before(centred, "ReduceMean", 1)
    if centred is None or raised is None or squares is None or mean is None:
        return None
    scaled = behind(division, "Mul")
    last = behind(scaled, "Add") if scaled is not None else None
    if (
        scaled is None
        or last is None
        or squares.input[0] != division.input[0]
        or mean.input[0] != centred.input[0]
    ):
        return None
    scale = next((name for name in scaled.input if name not in made_by), None)
    shift = next((name for name in last.input if name not in made_by), None)
    if scale is None or shift is None or raised.input[1] in made_by:
        return None
    return [centred.input[0], scale, shift], raised.input[1], last


def _scalar(model: ModelProto, name: str) -> float:
    return next(
        float(numpy_helper.to_array(tensor).reshape(-1)[0])
        for tensor in model.graph.initializer
        if tensor.name == name
    )


def _raise_opset(model: ModelProto) -> ModelProto:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if opset >= OPSET:
        return model
    aside = _on_last_axis(model) if opset < 13 else []
    for node in aside:
        node.domain = _SET_ASIDE
    if aside:
        model.opset_import.append(helper.make_opsetid(_SET_ASIDE, 1))
    try:
        raised = onnx.version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise NetworkFileError(
            f"the network has opset {opset} and cannot be brought to opset {OPSET}: {error}",
            remedy=f"export the network with opset {OPSET} or newer",
        ) from error
    for node in raised.graph.node:
        if node.domain == _SET_ASIDE:
            node.CopyFrom(helper.make_node(node.op_type, node.input, node.output, node.name, axis=-1))
    replace(raised.opset_import, [entry for entry in raised.opset_import if entry.domain != _SET_ASIDE])
    return raised


def _on_last_axis(model: ModelProto) -> list[NodeProto]:
    """Return the softmax nodes that mean the last axis: the converter would flatten and reshape for them."""
    typed = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*typed.input, *typed.value_info)
        if value.type.tensor_type.HasField("shape")
    }
    ranks |= {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type in _LAST_AXIS:
            axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
            if axis in (-1, ranks.get(node.input[0], 0) - 1):
                found.append(node)
                ranks[node.output[0]] = ranks.get(node.input[0], 0)
        order = next((one.ints for one in node.attribute if one.name == "perm"), None)
        if order is not None:
            ranks.setdefault(node.output[0], len(order))
        elif node.op_type in _WISE and all(name in ranks for name in node.input):
            ranks.setdefault(node.output[0], max(ranks[name] for name in node.input))
    return found
