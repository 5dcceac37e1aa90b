"""A network that is published with rounding built in: its weights become INT8, its answers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mlperf_submission.errors import NetworkFileError
from mlperf_submission.harness.backends.tensorrt.build import build
from models.bert.architecture import BertShape, bert, with_rounding
from models.network.agreement import CpuSession
from models.network.edits import replace
from models.network.published import is_quantized
from models.network.quantization import device_file, quantize
from models.network.source import whole_network
from models.registry import get_benchmark

BENCHMARK = get_benchmark("bert-99")
SMALL = BertShape(layers=2, hidden=16, heads=2, inner=32, vocabulary=40, positions=384)


def assert_allclose(found: NDArray[Any], wanted: NDArray[Any], rtol: float, atol: float) -> None:
    np.testing.assert_allclose(found.astype(np.float64), wanted.astype(np.float64), rtol, atol)


def fake_quant(zero: np.ndarray) -> ModelProto:
    """A small network as bert-99's INT8 one is published: other names, fixed length, FP32 weights."""
    model = with_rounding(bert(SMALL, sequence=384))
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.name == "zero_point":
            tensor.CopyFrom(numpy_helper.from_array(zero, "zero_point"))
    for old, new in (("input_mask", "attention_mask"), ("segment_ids", "token_type_ids")):
        for value in graph.input:
            value.name = new if value.name == old else value.name
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
    return model


def inputs(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(count)
    mask = (np.arange(384) < random.integers(20, 384, count)[:, None]).astype(np.int64)
    ids = random.integers(0, 40, (count, 384)) * mask
    return {"input_ids": ids, "input_mask": mask, "segment_ids": mask * (np.arange(384) > 9)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "fake_quant.onnx"
    onnx.save(fake_quant(np.array(0, np.int8)), path)
    return path


def test_the_published_network_is_taken_without_calibration(published: Path, tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    figures = quantize(published, output, benchmark=BENCHMARK, precision="int8")
    weights = 6 * SMALL.layers + 1
    products = 2 * SMALL.layers
    assert figures["int8_weights"] == weights
    assert figures["qdq_pairs"] == weights + 2 * products, "one per activation is left"
    assert "calibration_samples" not in figures
    model = onnx.load(output)
    assert is_quantized(model)
    assert [value.name for value in model.graph.input] == ["input_ids", "input_mask", "segment_ids"]
    given = inputs(3)
    before = CpuSession(whole_network(published, BENCHMARK), {}).infer(given)
    after = CpuSession(output, {}).infer(given)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


def in_form(model: ModelProto, form: str, opset: int) -> ModelProto:
    """Write scales and zero points as other exporters do."""
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    names = {name for node in graph.node if "Linear" in node.op_type for name in node.input[1:]}
    made = []
    for name in sorted(names):
        value = numpy_helper.to_array(known[name])
        graph.initializer.remove(known[name])
        if form == "constant":
            made.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        elif value.dtype == np.int8:
            whole = numpy_helper.from_array(value.astype(np.int64))
            made.append(helper.make_node("Constant", [], [f"{name}.int64"], value=whole))
            made.append(helper.make_node("Cast", [f"{name}.int64"], [name], to=TensorProto.INT8))
        elif form == "computed":
            graph.initializer.append(numpy_helper.from_array(value * np.float32(127), f"{name}._amax"))
            steps = numpy_helper.from_array(np.array(127, np.float32))
            made.append(helper.make_node("Constant", [], [f"{name}.steps"], value=steps))
            made.append(helper.make_node("Div", [f"{name}._amax", f"{name}.steps"], [name]))
        else:
            double = numpy_helper.from_array(value.astype(np.float64))
            made.append(helper.make_node("Constant", [], [f"{name}.double"], value=double))
            made.append(helper.make_node("Cast", [f"{name}.double"], [name], to=TensorProto.FLOAT))
    nodes = [*made, *graph.node]
    replace(graph.node, nodes)
    model.opset_import[0].version = opset
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("form", ["constant", "cast", "computed"])
@pytest.mark.parametrize("opset", [10, 11])
def test_scales_and_zero_points_may_be_constant_cast_or_computed(
    published: Path, tmp_path: Path, form: str, opset: int
) -> None:
    path, output = tmp_path / "fake_quant.onnx", tmp_path / "int8.onnx"
    onnx.save(in_form(fake_quant(np.array(0, np.int8)), form, opset), path)
    figures = quantize(path, output, benchmark=BENCHMARK, precision="int8")
    assert figures["int8_weights"] == 6 * SMALL.layers + 1
    plain = tmp_path / "plain.onnx"
    quantize(published, plain, benchmark=BENCHMARK, precision="int8")
    given = inputs(2)
    pytest.importorskip("tensorrt_rtx")
    built = build(
        device_file(output),
        tmp_path / "engine",
        precision="int8",
        max_batch_size=2,
        compute_capability="8.9",
    )
    assert isinstance(built["precisions"], dict) and built["precisions"]["int8"]
    for name, values in CpuSession(plain, {}).infer(given).items():
        assert_allclose(CpuSession(output, {}).infer(given)[name], values, rtol=0, atol=0.05)


def test_a_network_that_was_exported_for_a_batch_of_one_takes_any(published: Path, tmp_path: Path) -> None:
    """ONNX Runtime folds what such an export has folded: the sizes of reshapes."""
    model = onnx.load(published)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    fixed = tmp_path / "fixed.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(fixed)
    onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["MatMulAddFusion"],  # no exporter does this
    )
    assert all(node.op_type != "Shape" for node in onnx.load(fixed).graph.node)
    given = inputs(3)
    wanted = CpuSession(whole_network(published, BENCHMARK), {}).infer(given)
    found = CpuSession(whole_network(fixed, BENCHMARK), {}).infer(given)
    for name, values in wanted.items():
        assert_allclose(found[name], values, rtol=0, atol=1e-5)


def test_a_network_without_a_rounded_weight_is_refused_where_it_happens(tmp_path: Path) -> None:
    model = fake_quant(np.array(0, np.int8))
    weights = {tensor.name for tensor in model.graph.initializer}
    rounded = [
        node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in weights
    ]
    for node in rounded:
        model.graph.node.remove(node)
        behind = next(one for one in model.graph.node if node.output[0] in one.input)
        behind.CopyFrom(helper.make_node("Identity", [node.input[0]], behind.output))
    onnx.save(model, tmp_path / "fake_quant.onnx")
    with pytest.raises(NetworkFileError, match="none of its weights"):
        quantize(tmp_path / "fake_quant.onnx", tmp_path / "int8.onnx", benchmark=BENCHMARK, precision="int8")


def test_a_range_that_depends_on_the_input_is_refused(tmp_path: Path) -> None:
    model = fake_quant(np.array(0, np.int8))
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    largest = helper.make_node("ReduceMax", [first.input[0]], ["largest"], keepdims=0)
    first.input[1] = "largest"
    place = list(model.graph.node).index(first)
    model.graph.node.insert(place, largest)
    onnx.save(model, tmp_path / "fake_quant.onnx")
    with pytest.raises(NetworkFileError, match="depends on the network's input"):
        quantize(tmp_path / "fake_quant.onnx", tmp_path / "int8.onnx", benchmark=BENCHMARK, precision="int8")


@pytest.mark.parametrize(
    "zero", [np.array(128, np.uint8), np.array(3, np.int8)], ids=["uint8", "another zero"]
)
def test_rounding_that_tensorrt_does_not_take_is_refused(tmp_path: Path, zero: np.ndarray) -> None:
    path = tmp_path / "fake_quant.onnx"
    onnx.save(fake_quant(zero), path)
    with pytest.raises(NetworkFileError, match="INT8 around 0"):
        quantize(path, tmp_path / "int8.onnx", benchmark=BENCHMARK, precision="int8")
    assert not (tmp_path / "int8.onnx").exists()
