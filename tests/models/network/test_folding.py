"""Constants are computed, old opsets raised and normalisations joined; the answers stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from models.bert.architecture import BertShape, bert
from models.network.agreement import CpuSession
from models.network.folding import fold_constants, lay_aside, put_back
from models.network.quantization import device_file, quantize
from models.network.source import whole_network
from models.registry import get_benchmark

SMALL = BertShape(layers=2, hidden=64, heads=2, inner=96, vocabulary=40, positions=384)
BERT = get_benchmark("bert-99")


def assert_allclose(found: NDArray[Any], wanted: NDArray[Any], rtol: float, atol: float) -> None:
    np.testing.assert_allclose(found.astype(np.float64), wanted.astype(np.float64), rtol, atol)


def inputs(count: int, length: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(count).integers(1, 40, (count, length))
    return {"input_ids": ids, "input_mask": np.ones_like(ids), "segment_ids": ids % 2}


def test_a_published_bert_keeps_its_answers_and_loses_what_was_written_out(tmp_path: Path) -> None:
    path = tmp_path / "bert.onnx"
    onnx.save(bert(SMALL), path)
    whole = whole_network(path, BERT)
    kinds = Counter(node.op_type for node in whole.graph.node)
    assert kinds["LayerNormalization"] == 2 * SMALL.layers + 1
    assert not {"ReduceMean", "Sqrt", "Pow", "Flatten", "Constant"} & set(kinds)
    given = inputs(3, 17)
    before, after = CpuSession(path, {}).infer(given), CpuSession(whole, {}).infer(given)
    for name, values in before.items():
        assert_allclose(after[name], values, rtol=1e-3, atol=1e-4)


def test_an_outlier_whose_square_no_half_holds_does_not_overflow(tmp_path: Path) -> None:
    model = bert(SMALL)
    for tensor in model.graph.initializer:
        if tensor.name == "segments":
            values = numpy_helper.to_array(tensor).copy()
            values[:, 0] = 300
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "bert.onnx")
    quantize(tmp_path / "bert.onnx", tmp_path / "fp16.onnx", benchmark=BERT, precision="fp16")
    half = onnx.load(tmp_path / "fp16.onnx")
    assert half.graph.input[0].type.tensor_type.shape.dim[1].dim_param, "the length stays free"
    assert not any(node.op_type == "Pow" for node in half.graph.node)
    given = inputs(2, 9)
    before = CpuSession(tmp_path / "bert.onnx", {}).infer(given)
    after = CpuSession(tmp_path / "fp16.onnx", {}).infer(given)
    for name, values in before.items():
        assert_allclose(after[name], values, rtol=0.05, atol=0.05)


def model_of(nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]]) -> ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(
        nodes,
        "small",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_what_reads_constants_only_is_computed() -> None:
    shape = numpy_helper.from_array(np.array([4, 4], np.int64))
    nodes = [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Identity", ["flat"], ["same"]),
        helper.make_node("Reshape", ["same", "shape"], ["square"]),
        helper.make_node("MatMul", ["x", "square"], ["y"]),
    ]
    model = model_of(nodes, {"flat": np.arange(16, dtype=np.float32)})
    assert fold_constants(model) == 3
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    (weight,) = model.graph.initializer
    np.testing.assert_array_equal(
        numpy_helper.to_array(weight), np.arange(16, dtype=np.float32).reshape(4, 4)
    )


@pytest.mark.parametrize("kind", ["a large result", "a stated precision"])
def test_what_is_better_left_stays(kind: str) -> None:
    if kind == "a large result":
        made = [helper.make_node("Expand", ["one", "size"], ["much"])]
        weights: dict[str, NDArray[Any]] = {
            "one": np.ones(1, np.float32),
            "size": np.array([1 << 20], np.int64),
        }
    else:
        made = [helper.make_node("QuantizeLinear", ["one", "scale", "zero"], ["int8"])]
        made.append(helper.make_node("DequantizeLinear", ["int8", "scale", "zero"], ["much"]))
        weights = {
            "one": np.ones(1, np.float32),
            "scale": np.array(0.5, np.float32),
            "zero": np.array(0, np.int8),
        }
    made += [
        helper.make_node("ReduceMax", ["much"], ["single"]),
        helper.make_node("Add", ["x", "single"], ["y"]),
    ]
    model = model_of(made, weights)
    assert fold_constants(model) == 0
    assert len(model.graph.node) == len(made)


def test_weights_that_were_laid_aside_come_back_in_the_type_that_is_wanted() -> None:
    weight = np.arange(4096, dtype=np.float32).reshape(4, 1024)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wide"]),
        helper.make_node("MatMul", ["wide", "v"], ["y"]),
    ]
    model = model_of(nodes, {"w": weight, "v": np.ones((1024, 4), np.float32)})
    light, weights = lay_aside(model)
    assert not light.graph.initializer and light.ByteSize() < 1000
    for value in light.graph.input:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    put_back(light, weights)
    assert [value.name for value in light.graph.input] == ["x"] and not weights
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in light.graph.initializer}
    assert found["w"].dtype == np.float16
    np.testing.assert_array_equal(found["w"], weight.astype(np.float16))


def test_the_device_file_lies_beside_its_network() -> None:
    assert device_file(Path("a/network.onnx")) == Path("a/network.device.onnx")
