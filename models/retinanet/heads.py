"""The heads of retinanet's network, and how the published file is brought to them.

The published network (MLPerf Inference v4.1, vision/classification_and_detection/README.md) takes one image
and ends with the suppression of boxes, whose sizes depend on the data: batches and engines are impossible. It
is cut at the ten convolutions that end its heads; what follows is `models.retinanet.detection`. In front, the
part that takes the batch apart is replaced by the same normalisation for any batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mlperf_submission.benchmark.parts import TensorSpec
from mlperf_submission.errors import NetworkFileError
from models.network.edits import drop_unneeded
from models.retinanet.anchors import ANCHORS, BASE_SIZES
from models.retinanet.tensors import INPUT, INPUTS, MEANS, STANDARD_DEVIATIONS

CLASSES = 264
_REMEDY = "use the official file resnext50_32x4d_fpn.onnx, or export it anew with the ten heads as outputs"


def head_names(side: int) -> tuple[str, str]:
    """Return the names of the outputs of a map: logits of the classes, offsets of the boxes."""
    return f"classification_head_{side}x{side}", f"regression_head_{side}x{side}"


def head_outputs() -> tuple[TensorSpec, ...]:
    """Return the ten outputs; a network may lack maps, and its number of classes is its own."""
    specs = []
    for side in BASE_SIZES:
        classes, boxes = head_names(side)
        specs.append(TensorSpec(classes, "float32", (None, None, side, side), optional=True))
        specs.append(TensorSpec(boxes, "float32", (None, 4 * ANCHORS, side, side), optional=True))
    return tuple(specs)


def cut_at_heads(model: ModelProto) -> ModelProto:
    """Return a network with the ten heads as outputs and any batch; one that has them stays as it is.

    The heads are found by the shapes of their weights, which all maps share: 9·264 and 9·4 output channels.
    Maps come in the order in which the network computes them, from the finest to the coarsest.

    Raises:
        NetworkFileError: the network has no such heads, or not one per map.
    """
    names = {spec.name for spec in head_outputs()}
    if any(value.name in names for value in model.graph.output):
        return model
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for channels, kind in ((ANCHORS * CLASSES, 0), (ANCHORS * 4, 1)):
        heads = [node for node in convolutions if _output_channels(node, weights) == channels]
        if len(heads) != len(BASE_SIZES):
            raise NetworkFileError(
                f"the network has {len(heads)} convolutions with {channels} outputs, "
                f"expected {len(BASE_SIZES)}: one per feature map",
                remedy=_REMEDY,
            )
        for side, node in zip(BASE_SIZES, heads, strict=True):
            _rename(graph.node, node.output[0], head_names(side)[kind])
    del graph.output[:]
    for spec in head_outputs():
        shape = ["N", ANCHORS * CLASSES if spec.shape[1] is None else spec.shape[1], *spec.shape[2:]]
        graph.output.append(helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, shape))
    _normalise_any_batch(result, convolutions)
    _double_any_batch(graph.node, graph.initializer)
    del graph.value_info[:]
    drop_unneeded(result)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *INPUTS[0].shape[1:]]))
    return result


def _output_channels(node: NodeProto, weights: Mapping[str, TensorProto]) -> int | None:
    weight = weights.get(node.input[1])
    return weight.dims[0] if weight is not None and weight.dims else None


def _rename(nodes: Iterable[NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new


def _normalise_any_batch(model: ModelProto, convolutions: list[NodeProto]) -> None:
    """Feed the first convolution with (images - means) / deviations, computed for a whole batch."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    stems = [
        node
        for node in convolutions
        if node.input[1] in weights and tuple(weights[node.input[1]].dims[1:]) == (3, 7, 7)
    ]
    if len(stems) != 1:
        raise NetworkFileError(
            f"the network has {len(stems)} convolutions of 7×7 pixels in three colours, expected one",
            remedy=_REMEDY,
        )
    for name, values in (("means", MEANS), ("deviations", STANDARD_DEVIATIONS)):
        per_channel: NDArray[np.float32] = np.array(values, np.float32).reshape(1, 3, 1, 1)
        graph.initializer.append(numpy_helper.from_array(per_channel, f"{INPUT}/{name}"))
    centred, normalised = f"{INPUT}/centred", f"{INPUT}/normalised"
    stems[0].input[0] = normalised
    graph.node.insert(0, helper.make_node("Sub", [INPUT, f"{INPUT}/means"], [centred], centred))
    graph.node.insert(1, helper.make_node("Div", [centred, f"{INPUT}/deviations"], [normalised], normalised))


def _double_any_batch(nodes: Iterable[NodeProto], initializers: object) -> None:
    """Let the pyramid double its maps by a constant scale: sizes in the file may hold a batch of one.

    Only maps of 25 and 50 cells are enlarged, to 50 and 100, so that the factor is two.
    """
    twice = f"{INPUT}/twice"
    initializers.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), twice))  # type: ignore[attr-defined]
    for node in nodes:
        if node.op_type == "Resize":
            source = node.input[0]
            del node.input[:]
            node.input.extend([source, "", twice])
