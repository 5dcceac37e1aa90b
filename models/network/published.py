"""Networks that their owner publishes with rounding built in ("fake quant"): their weights become INT8."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from mlperf_submission.errors import NetworkFileError
from models.network.edits import drop_unneeded, replace


def is_quantized(model: ModelProto) -> bool:
    """Whether a network has its own QuantizeLinear nodes: it brings its ranges and is not calibrated."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def store_weights_as_int8(model: ModelProto) -> int:
    """Round every weight that the network itself rounds, and keep it as INT8; return how many.

    The answers stay the same to the bit: a DequantizeLinear follows as before. What is rounded as UINT8, or
    around another zero than 0, is refused, since TensorRT takes neither.

    Raises:
        NetworkFileError: the network rounds in a way that TensorRT does not take.
    """
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    kept: list[NodeProto] = []
    stored = 0
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            kept.append(node)
            continue
        _check(node, known)
        source = known.get(node.input[0])
        if source is None:
            kept.append(node)
            continue
        axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
        scale = numpy_helper.to_array(known[node.input[1]])
        rounded = _rounded(numpy_helper.to_array(source), scale, axis)
        graph.initializer.append(numpy_helper.from_array(rounded, node.output[0]))
        stored += 1
    if not stored:
        raise NetworkFileError(
            "the network rounds activations, but none of its weights: there is no product in INT8",
            remedy="export it with its weights quantised too, or choose precision fp16",
        )
    replace(graph.node, kept)
    drop_unneeded(model)
    return stored


def _rounded(values: NDArray[np.floating], scale: NDArray[np.floating], axis: int) -> NDArray[np.int8]:
    if scale.ndim and scale.size > 1:
        shape = [1] * values.ndim
        shape[axis] = -1
        scale = scale.reshape(shape)
    rounded: NDArray[np.int8] = np.clip(np.rint(values / scale), -128, 127).astype(np.int8)
    return rounded


def _check(node: NodeProto, known: Mapping[str, TensorProto]) -> None:
    """Refuse what TensorRT does not take. Constants were folded: what is not known depends on the input."""
    scale, zero = (known.get(name) for name in (*node.input[1:], "", "")[:2])
    name = node.name or node.output[0]
    if scale is None:
        raise NetworkFileError(
            f"the scale of {name} depends on the network's input, which TensorRT does not take",
            remedy="export the network with constant ranges, or choose precision fp16",
        )
    if zero is None or zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero).any():
        raise NetworkFileError(
            f"the network rounds with {name} in a way that TensorRT does not take: it must be INT8 around 0",
            remedy="export the network with symmetric INT8 ranges, or choose precision fp16",
        )
