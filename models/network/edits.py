"""Edits of ONNX networks that leave their answers as they are: nodes, types, where QDQ pairs stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from mlperf_submission.benchmark.parts import TensorSpec
from mlperf_submission.errors import NetworkFileError

_SUMS_OF_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def drop_unneeded(model: ModelProto) -> None:
    """Drop nodes, weights and operator domains that no output needs."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(names_used(node))
            kept.append(node)
    replace(graph.node, kept[::-1])
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    domains = {node.domain for node in graph.node} | {function.domain for function in model.functions} | {""}
    replace(model.opset_import, [entry for entry in model.opset_import if entry.domain in domains])


def sort_nodes(model: ModelProto) -> None:
    """Put every node behind those that it reads from, as ONNX asks for; the order stays otherwise."""
    graph = model.graph
    unmade = {name for node in graph.node for name in node.output}
    waiting, ordered = list(graph.node), list[NodeProto]()
    while waiting:
        later: list[NodeProto] = []
        for node in waiting:
            if unmade.isdisjoint(names_used(node)):
                unmade.difference_update(node.output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise NetworkFileError(
                f"the network's nodes form a circle: {later[0].name}", remedy="export the network again"
            )
        waiting = later
    replace(graph.node, ordered)


def set_type(value: ValueInfoProto, spec: TensorSpec, *, keep_free: bool = False) -> None:
    """Give an input or output the dtype and shape of its specification; free dimensions get names.

    With `keep_free` an axis that the specification calls variable stays free if it is.
    """
    shape = [
        ("N" if axis == 0 else f"D{axis}")
        if size is None or (keep_free and _is_free(value, axis, spec))
        else size
        for axis, size in enumerate(spec.shape)
    ]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    value.CopyFrom(helper.make_tensor_value_info(spec.name, element, shape))


def state_lengths(model: ModelProto, inputs: tuple[TensorSpec, ...]) -> None:
    """State the sizes that each free axis beside the batch may have, in the metadata, for TensorRT's profile.

    `profiles.D1` = `1:192:384` says that the axis named D1 has 1 to 384, most often about 192.
    """
    for value, spec in pairs_of(model.graph.input, inputs):
        for axis in spec.variable_axes:
            name = value.type.tensor_type.shape.dim[axis].dim_param
            if name and not any(entry.key == f"profiles.{name}" for entry in model.metadata_props):
                most = spec.shape[axis] or 1
                sizes = f"1:{max(1, most // 2)}:{most}"
                model.metadata_props.add(key=f"profiles.{name}", value=sizes)


def free_batch(model: ModelProto) -> None:
    """Let a network that was exported for a batch of one take any, by reshapes that keep their first size.

    One whose constants were not folded, or that has another batch, stays as it is.
    """
    graph = model.graph
    values = (*graph.input, *graph.output)
    batches = [value.type.tensor_type.shape.dim[0] for value in values if value.type.tensor_type.shape.dim]
    if not batches or any(size.dim_value != 1 for size in batches):
        return
    for size in batches:
        size.dim_param = "N"
    graph.ClearField("value_info")
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes and tensor.dims[0] > 1:
            sizes = numpy_helper.to_array(tensor).copy()
            if sizes[0] == 1:
                sizes[0] = 0  # as large as it comes
                tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))


def _is_free(value: ValueInfoProto, axis: int, spec: TensorSpec) -> bool:
    dimensions = value.type.tensor_type.shape.dim
    return (
        axis in spec.variable_axes and axis < len(dimensions) and not dimensions[axis].HasField("dim_value")
    )


def keep_sums_whole(model: ModelProto) -> int:
    """Let each residual sum take one operand straight from its convolution; return how many pairs went.

    The quantiser puts a QDQ pair on both operands. A GPU kernel computes convolution, sum and activation in
    one go if the convolution's own result stays unrounded; the other operand is read from memory and stays
    INT8 (NVIDIA, TensorRT developer guide, Q/DQ placement). Where both come from convolutions, the later one
    is taken.
    """
    graph = model.graph
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output}
    readers = readers_of(model)
    dropped = 0
    for node in graph.node:
        if node.op_type != "Add":
            continue
        candidates = [
            (made_by[source], position, source)
            for position, name in enumerate(node.input)
            if (source := _behind_pair(model, name, made_by, readers)) in made_by
            and graph.node[made_by[source]].op_type in _SUMS_OF_PRODUCTS
        ]
        if candidates:
            _, position, source = max(candidates)
            node.input[position] = source
            dropped += 1
    drop_unneeded(model)
    return dropped


def drop_normalisation(model: ModelProto, spec: TensorSpec) -> None:
    """Let a network begin behind the normalisation of its input: its samples come normalised.

    Raises:
        NetworkFileError: it does not begin with (input - means) / deviations as the specification has them.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers = readers_of(model)
    value = spec.name
    for kind, wanted in (("Sub", spec.means), ("Div", spec.deviations)):
        node = next((one for one in readers[value] if one.op_type == kind and one.input[0] == value), None)
        stored = weights.get(node.input[1]) if node is not None else None
        found = None if stored is None else numpy_helper.to_array(stored).reshape(-1)
        if node is None or len(readers[value]) != 1 or not _same(found, wanted):
            raise NetworkFileError(
                f"the network does not begin with its input less {spec.means}, divided by {spec.deviations}",
                remedy="use the network that the benchmark names, or choose precision fp16",
            )
        value = node.output[0]
    for node in readers[value]:
        node.input[:] = [spec.name if name == value else name for name in node.input]
    drop_unneeded(model)


def _same(found: NDArray[np.generic] | None, wanted: tuple[float, ...]) -> bool:
    return found is not None and found.size == len(wanted) and np.allclose(found, wanted, atol=1e-6)


def take_int8_input(model: ModelProto, spec: TensorSpec) -> None:
    """Make an input INT8: the network's first QuantizeLinear goes, its samples arrive quantised.

    Args:
        model: a network whose input `spec.name` is float32, quantised with `spec.scale` and zero point 0.
        spec: the input as it is to be, of dtype int8.

    Raises:
        NetworkFileError: the network has no such input.
    """
    graph = model.graph
    value = next((one for one in graph.input if one.name == spec.name), None)
    if value is None:
        raise NetworkFileError(
            f"the network has no input {spec.name}", remedy="check the network against the benchmark first"
        )
    set_type(value, spec)
    scale, zero, floats = (f"{spec.name}/{part}" for part in ("int8_scale", "int8_zero_point", "float"))
    graph.initializer.append(numpy_helper.from_array(np.array(spec.scale, np.float32), scale))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), zero))
    same = {floats}
    doubled: set[str] = set()
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == spec.name:
            doubled.add(node.output[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in doubled:
            same.add(node.output[0])
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == spec.name or name in same:
                node.input[position] = floats
    first = helper.make_node(
        "DequantizeLinear", [spec.name, scale, zero], [floats], name=f"{spec.name}/DequantizeLinear"
    )
    graph.node.insert(0, first)
    drop_unneeded(model)


def _behind_pair(
    model: ModelProto, name: str, made_by: Mapping[str, int], readers: Mapping[str, list[NodeProto]]
) -> str | None:
    """Return what a QDQ pair rounds, if `name` is its result and nobody else reads it."""
    nodes = model.graph.node
    dequantize = nodes[made_by[name]] if name in made_by else None
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or len(readers[name]) != 1:
        return None
    quantize = nodes[made_by[dequantize.input[0]]] if dequantize.input[0] in made_by else None
    if quantize is None or quantize.op_type != "QuantizeLinear" or len(readers[quantize.output[0]]) != 1:
        return None
    source: str = quantize.input[0]
    return source


def readers_of(model: ModelProto) -> Mapping[str, list[NodeProto]]:
    """Return the nodes that read each value."""
    readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in names_used(node):
            readers[name].append(node)
    return readers


def names_used(node: NodeProto) -> list[str]:
    """Return the names of all values that a node reads, in its subgraphs too."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            names += [value.name for value in graph.output]
            names += [name for inner in graph.node for name in names_used(inner)]
    return names


def pairs_of(
    values: Iterable[ValueInfoProto], specs: tuple[TensorSpec, ...]
) -> Iterable[tuple[ValueInfoProto, TensorSpec]]:
    """Return inputs or outputs with their specification, where they have one."""
    by_name = {spec.name: spec for spec in specs}
    return [(value, by_name[value.name]) for value in values if value.name in by_name]


def replace(field: object, items: Iterable[object]) -> None:
    """Give a repeated field of a protocol buffer new content."""
    kept = list(items)
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]
