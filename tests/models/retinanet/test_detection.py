"""What the network computes behind its heads is what the reference's steps make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mlperf_submission.harness.backends.tensorrt.library import import_library, library_for
from models.retinanet import detection
from models.retinanet.detection import with_detections
from models.retinanet.heads import head_names
from tests.models.retinanet.plain import Head, detect

SIDES = (50, 25, 13)
Heads = dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]


def network(classes: int, element: int = TensorProto.FLOAT) -> ModelProto:
    """A network whose heads are its inputs, each behind a convolution that changes nothing."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    nodes, weights, inputs, outputs = [], [], [], []
    for side in SIDES:
        for name, channels in zip(head_names(side), (9 * classes, 36), strict=True):
            weight = np.eye(channels, dtype=dtype)[:, :, None, None]
            weights += [numpy_helper.from_array(weight, f"{name}.weight")]
            weights += [numpy_helper.from_array(np.zeros(channels, dtype), f"{name}.bias")]
            shape: list[str | int | None] = ["N", channels, side, side]
            inputs.append(helper.make_tensor_value_info(f"in.{name}", element, shape))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            made = name if element == TensorProto.FLOAT else f"{name}.half"
            operands = [f"in.{name}", f"{name}.weight", f"{name}.bias"]
            nodes.append(helper.make_node("Conv", operands, [made], made))
            if made != name:
                nodes.append(helper.make_node("Cast", [made], [name], f"{name}.cast", to=TensorProto.FLOAT))
    graph = helper.make_graph(nodes, "heads", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def some_heads(seed: int, classes: int, share: float) -> Heads:
    """Heads of two images; about this share of the pairs of anchor and class passes the threshold."""
    random = np.random.default_rng(seed)
    made = {}
    for side in SIDES:
        logits = random.normal(-6, 1, (2, 9 * classes, side, side))
        chosen = random.random(logits.shape) < share
        logits[chosen] = random.normal(-1, 1.5, int(chosen.sum()))
        made[side] = (
            logits.astype(np.float32),
            random.normal(0, 0.4, (2, 36, side, side)).astype(np.float32),
        )
    return made


def run(model: ModelProto, heads: Heads, dtype: type = np.float32) -> NDArray[np.float32]:
    feeds: dict[str, NDArray[Any]] = {
        f"in.{name}": values.astype(dtype)
        for side, pair in heads.items()
        for name, values in zip(head_names(side), pair, strict=True)
    }
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["detections"], feeds)[0], np.float32)


def expected(heads: Heads, image: int) -> NDArray[np.float32]:
    found = detect({side: Head(logits[image], offsets[image]) for side, (logits, offsets) in heads.items()})
    columns = (found.boxes[:, [1, 0, 3, 2]] / 800, found.scores[:, None], found.labels[:, None])
    return np.concatenate(columns, 1).astype(np.float32)


@pytest.mark.parametrize("classes", [6, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_detections_are_those_of_the_reference(classes: int, seed: int) -> None:
    heads = some_heads(seed, classes, 0.004)
    found = run(with_detections(network(classes)), heads)
    assert found.shape == (2, 300, 6)
    for image in range(2):
        wanted = expected(heads, image)
        assert len(wanted) > 50
        np.testing.assert_allclose(found[image, : len(wanted)], wanted, rtol=0, atol=1e-5)
        assert not found[image, len(wanted) :, 4].any()


def test_beyond_what_is_compared_the_best_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "_COMPARED", 256)
    heads = some_heads(2, 40, 0.02)
    found = run(with_detections(network(40)), heads)
    for image in range(2):
        wanted = expected(heads, image)
        count = int((found[image, :, 4] > 0).sum())
        assert 100 < count < len(wanted) == 300
        np.testing.assert_allclose(found[image, :count], wanted[:count], rtol=0, atol=1e-5)


def test_heads_without_anything_have_no_detection() -> None:
    heads = some_heads(3, 6, 0.0)
    for logits, _ in heads.values():
        np.minimum(logits, -4, out=logits)
    assert not run(with_detections(network(6)), heads)[:, :, 4].any()


def test_heads_in_half_precision_are_read_as_they_are() -> None:
    heads = some_heads(4, 6, 0.002)
    half = {side: (one.astype(np.float16), two.astype(np.float16)) for side, (one, two) in heads.items()}
    rounded = {side: (one.astype(np.float32), two.astype(np.float32)) for side, (one, two) in half.items()}
    model = with_detections(network(6, TensorProto.FLOAT16))
    assert not any("cast" in node.name for node in model.graph.node), "the heads stay as small as they are"
    found = run(model, rounded, np.float16)
    for image in range(2):
        wanted = expected(rounded, image)
        np.testing.assert_allclose(np.sort(found[image, : len(wanted), 4]), np.sort(wanted[:, 4]), atol=1e-5)


def test_an_engine_is_built_with_them(tmp_path: Path) -> None:
    library = library_for("8.9")
    if library == "tensorrt":
        pytest.skip(
            "tensorrt builds for the GPU at hand only; "
            "tests/mlperf_submission/harness/test_tensorrt_gpu.py does that"
        )
    trt = import_library(library)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    model = with_detections(network(6))
    onnx.checker.check_model(model, full_check=True)
    assert parser.parse(model.SerializeToString()), parser.get_error(0).desc()
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for index in range(definition.num_inputs):
        tensor = definition.get_input(index)
        sizes = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *sizes), (2, *sizes), (2, *sizes))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert builder.build_serialized_network(definition, config) is not None
