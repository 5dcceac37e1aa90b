"""A network that is published with rounding built in: its weights become INT8, its answers stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from common.errors import NetworkFileError
from models.bert.architecture import BertShape, bert, with_rounding
from models.network.agreement import CpuSession
from models.network.published import is_quantized
from models.network.quantization import quantize
from models.registry import get_benchmark

BENCHMARK = get_benchmark("bert-99")
SMALL = BertShape(layers=2, hidden=16, heads=2, inner=32, vocabulary=40, positions=384)


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
    names = {"input_mask": "attention_mask", "segment_ids": "token_type_ids"}
    before = CpuSession(published, {}).infer({names.get(name, name): one for name, one in given.items()})
    after = CpuSession(output, {}).infer(given)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


@pytest.mark.parametrize(
    "zero", [np.array(128, np.uint8), np.array(3, np.int8)], ids=["uint8", "another zero"]
)
def test_rounding_that_tensorrt_does_not_take_is_refused(tmp_path: Path, zero: np.ndarray) -> None:
    path = tmp_path / "fake_quant.onnx"
    onnx.save(fake_quant(zero), path)
    with pytest.raises(NetworkFileError, match="INT8 around 0"):
        quantize(path, tmp_path / "int8.onnx", benchmark=BENCHMARK, precision="int8")
    assert not (tmp_path / "int8.onnx").exists()
