"""The published network, one image in and suppressed boxes out, is cut to any batch and ten heads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mlperf_submission.errors import NetworkFileError
from models.network.checks import check_network
from models.retinanet.architecture import retinanet
from models.retinanet.heads import cut_at_heads, head_names
from tests.models.retinanet.mini import RETINANET

small = partial(retinanet, stages=((1, 4), (1, 4), (1, 8), (1, 8)), groups=2, stem=4, pyramid=4)


def _published(heads: ModelProto) -> ModelProto:
    """Return a network as it is exported with its whole image-to-boxes code.

    The batch of one is taken apart and put together, the pyramid's sizes are numbers, scores are sorted and
    boxes suppressed.
    """
    model = ModelProto()
    model.CopyFrom(heads)
    graph = model.graph
    names = {name: f"head.{place}" for place, name in enumerate(value.name for value in graph.output)}
    for node in graph.node:
        for position, name in enumerate(node.output):
            node.output[position] = names.get(name, name)
    classes, boxes = (names[head_names(7)[kind]] for kind in (0, 1))
    constants: dict[str, NDArray[np.generic]] = {
        "zero": np.array(0, np.int64),
        "axis": np.array([0], np.int64),
        "flat": np.array([1, 1, -1], np.int64),
        "four": np.array([1, -1, 4], np.int64),
        "least": np.array([0.05], np.float32),
        "most": np.array([300], np.int64),
    }
    sizes = iter((50, 100))
    for node in graph.node:
        if node.op_type == "Resize":
            side = next(sizes)
            name = f"size{side}"
            constants[name] = np.array([1, 4, side, side], np.int64)
            source = node.input[0]
            del node.input[:]
            node.input.extend([source, "", "", name])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    first, second = graph.node[0], graph.node[1]
    assert (first.op_type, second.op_type) == ("Sub", "Div")
    first.input[0] = "image"
    stem = next(node for node in graph.node if node.op_type == "Conv")
    stem.input[0] = "batched"
    graph.node.insert(0, helper.make_node("Gather", ["images", "zero"], ["image"], axis=0))
    graph.node.insert(3, helper.make_node("Squeeze", [second.output[0], "axis"], ["single"]))
    graph.node.insert(4, helper.make_node("Unsqueeze", ["single", "axis"], ["batched"]))
    graph.node.extend(
        [
            helper.make_node("Sigmoid", [classes], ["likely"]),
            helper.make_node("Reshape", ["likely", "flat"], ["scored"]),
            helper.make_node("Reshape", [boxes, "four"], ["placed"]),
            helper.make_node("NonMaxSuppression", ["placed", "scored", "most", "least"], ["labels"]),
            helper.make_node("Squeeze", ["placed", "axis"], ["boxes"]),
            helper.make_node("Squeeze", ["scored", "axis"], ["scores"]),
        ]
    )
    del graph.output[:]
    for name, kind in (
        ("boxes", TensorProto.FLOAT),
        ("scores", TensorProto.FLOAT),
        ("labels", TensorProto.INT64),
    ):
        graph.output.append(helper.make_tensor_value_info(name, kind, ["n", "m"]))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 800, 800]))
    onnx.checker.check_model(model)
    return model


def _run(model: ModelProto, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


def test_the_cut_network_takes_batches_and_answers_as_before(tmp_path: Path) -> None:
    heads = small()
    published = tmp_path / "published.onnx"
    onnx.save(_published(heads), published)
    with pytest.raises(NetworkFileError, match="batch dimension of input images is fixed"):
        check_network(published, RETINANET.network.inputs("fp32"), RETINANET.network.source_outputs)
    cut = check_network(
        published,
        RETINANET.network.inputs("fp32"),
        RETINANET.network.source_outputs,
        adapt=RETINANET.network.adapt,
    )
    assert not {"Gather", "NonMaxSuppression", "Sigmoid"} & {node.op_type for node in cut.graph.node}
    images = np.random.default_rng(0).random((2, 3, 800, 800), np.float32)
    wanted, found = _run(heads, images), _run(cut, images)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert np.allclose(found[name], values, atol=1e-5), name


def test_a_network_that_has_heads_stays_as_it_is() -> None:
    heads = small(classes=5)
    assert cut_at_heads(heads) is heads


def test_another_network_is_refused() -> None:
    heads = _published(small(classes=5))
    with pytest.raises(NetworkFileError, match="has 0 convolutions with 2376 outputs, expected 5"):
        cut_at_heads(heads)
    without_stem = _published(small())
    for tensor in without_stem.graph.initializer:
        if list(tensor.dims[1:]) == [3, 7, 7]:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros((4, 3, 5, 5), np.float32), tensor.name))
    with pytest.raises(NetworkFileError, match="has 0 convolutions of 7×7"):
        cut_at_heads(without_stem)
