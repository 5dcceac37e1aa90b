"""A network in INT8, FP16 and FP32: same answers, TensorRT's way of rounding, the same bytes every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark, Progress, TensorSpec
from mlperf_submission.errors import NetworkFileError, SettingError
from mlperf_submission.process import progress_in, run_module
from models.network.agreement import CpuSession
from models.network.calibration import as_input
from models.network.checks import check_network
from models.network.quantization import device_file, quantize
from models.registry import get_benchmark
from models.resnet50.architecture import resnet50
from models.resnet50.network import Resnet50Network
from tests.waiting import PATIENCE

BENCHMARK = get_benchmark("resnet50")
INPUT = "input_tensor:0"
MEANS = np.array([123.68, 116.78, 103.94], np.float32)[:, None, None]


class Pictures(StackedSamples):
    """Blurred patches of colour, preprocessed as resnet50's."""

    def __init__(self, count: int, dtype: str = "float32", first: int = 0) -> None:
        rows = [self._picture(first + number) for number in range(count)]
        pixels = np.stack(rows) if rows else np.empty((0, 3, 224, 224), np.float32)
        self.pixels = as_input(pixels, dtype, None)

    @staticmethod
    def _picture(seed: int) -> NDArray[np.float32]:
        patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.float32)
        image = cv2.resize(patches, (224, 224), interpolation=cv2.INTER_CUBIC).clip(0, 255)
        return np.asarray(image.transpose(2, 0, 1) - MEANS, np.float32)

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {INPUT: self.pixels[indices]}


def small(opset: int = 13) -> ModelProto:
    return resnet50(stages=((1, 8), (1, 16)), stem=8, classes=11, opset=opset)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    onnx.save(small(), path)
    return path


@pytest.fixture(scope="module")
def int8(network: Path) -> Path:
    output = network.with_name("int8.onnx")
    quantize(network, output, benchmark=BENCHMARK, precision="int8", calibration=Pictures(20))
    return output


def answers(path: Path, pictures: Pictures) -> NDArray[np.int64]:
    outputs = CpuSession(path, {}).infer(pictures.rows(np.arange(len(pictures))))
    return np.asarray(outputs["ArgMax:0"], np.int64)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_converted_network_answers_as_before(network: Path, int8: Path, precision: Precision) -> None:
    output = network.with_name(f"answers_{precision}.onnx")
    if precision == "int8":
        output = int8
    else:
        quantize(network, output, benchmark=BENCHMARK, precision=precision)
    pictures = Pictures(60, first=1000)
    want = answers(network, pictures)
    assert len(set(want)) > 1
    assert np.mean(answers(output, pictures) == want) >= (0.9 if precision == "int8" else 0.98)
    check_network(output, BENCHMARK.network.inputs(precision), BENCHMARK.network.outputs)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_no_required_output_needs_is_gone(network: Path, int8: Path, precision: Precision) -> None:
    output = int8 if precision == "int8" else network.with_name(f"needed_{precision}.onnx")
    if precision != "int8":
        quantize(network, output, benchmark=BENCHMARK, precision=precision)
    graph = onnx.load(output).graph
    kinds = {node.op_type for node in graph.node}
    assert "Softmax" not in kinds
    assert "ArgMax" in kinds
    assert [value.name for value in graph.output] == ["ArgMax:0"]
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


def test_int8_is_rounded_as_tensorrt_wants_it(int8: Path) -> None:
    model = onnx.load(int8)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(not weights[node.input[2]].any() for node in pairs), "every zero point is 0"
    assert all(weights[node.input[2]].dtype == np.int8 for node in pairs)
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            for name in node.input[:2]:
                assert made_by[name].op_type == "DequantizeLinear"
            weight = made_by[node.input[1]]
            assert weights[weight.input[0]].dtype == np.int8
            assert weights[weight.input[1]].size in weights[weight.input[0]].shape, "one scale per channel"
        if node.op_type == "Conv":
            assert weights[node.input[2]].dtype == np.float32, "biases are not rounded"
        if node.op_type == "ArgMax":
            assert made_by[node.input[0]].op_type not in ("DequantizeLinear", "QuantizeLinear")


def test_each_residual_sum_reads_one_operand_unrounded(int8: Path) -> None:
    graph = onnx.load(int8).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    sums = [sorted(made_by[name] for name in node.input) for node in graph.node if node.op_type == "Add"]
    assert sums == [["Conv", "DequantizeLinear"]] * 2


def test_int8_samples_enter_the_network_as_they_are(int8: Path) -> None:
    graph = onnx.load(int8).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT8
    first = next(node for node in graph.node if INPUT in node.input)
    assert first.op_type == "DequantizeLinear"
    scale = next(tensor for tensor in graph.initializer if tensor.name == first.input[1])
    assert numpy_helper.to_array(scale) == BENCHMARK.network.inputs("int8")[0].scale


def test_int8_calibration_samples_give_the_same_network(network: Path, int8: Path, tmp_path: Path) -> None:
    """Calibration samples may be of either dtype; rounding them hardly moves a range."""
    other = tmp_path / "other.onnx"
    quantize(network, other, benchmark=BENCHMARK, precision="int8", calibration=Pictures(20, "int8"))
    pictures = Pictures(40, first=500)
    assert np.mean(answers(other, pictures) == answers(int8, pictures)) >= 0.9


@pytest.mark.parametrize("opset", [8, 11])
def test_old_networks_are_raised(tmp_path: Path, network: Path, int8: Path, opset: int) -> None:
    old, output = tmp_path / "old.onnx", tmp_path / "int8.onnx"
    model = small(opset)
    model.ir_version = 3
    for tensor in model.graph.initializer:  # as IR version 3 has it
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    onnx.save(model, old)
    figures = quantize(old, output, benchmark=BENCHMARK, precision="int8", calibration=Pictures(20))
    assert figures["opset"] == 19
    pictures = Pictures(20, first=700)
    np.testing.assert_array_equal(answers(output, pictures), answers(int8, pictures))
    assert [value.name for value in onnx.load(output).graph.input] == [INPUT]


def test_what_an_engine_is_built_from_is_in_half_precision_between_its_products(int8: Path) -> None:
    model = onnx.load(device_file(int8))
    onnx.checker.check_model(model, full_check=True)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT not in types.values(), "weights, biases and scales"
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    assert {value.type.tensor_type.elem_type for value in inferred.value_info} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT8,
    }
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert len(pairs) == sum(node.op_type == "DequantizeLinear" for node in onnx.load(int8).graph.node)


def test_it_answers_as_the_one_that_the_processor_runs(int8: Path) -> None:
    """As it is written: ONNX Runtime's own optimisation rounds biases by FP16 products of scales."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    pictures = Pictures(40, "int8", first=500)
    found = onnxruntime.InferenceSession(device_file(int8), options).run(
        ["ArgMax:0"], {INPUT: pictures.pixels}
    )
    assert np.mean(found[0] == answers(int8, pictures)) >= 0.9


def test_batch_normalisation_is_folded(tmp_path: Path) -> None:
    model = small()
    weight, bias = np.ones(8, np.float32), np.zeros(8, np.float32)
    names = ["scale", "bias", "mean", "variance"]
    for name, values in zip(names, (2 * weight, bias, bias, weight), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    first = model.graph.node[0]
    node = onnx.helper.make_node("BatchNormalization", ["conv", *names], [first.output[0]], name="batch_norm")
    first.output[0] = "conv"
    model.graph.node.insert(1, node)
    path, output = tmp_path / "network.onnx", tmp_path / "int8.onnx"
    onnx.save(model, path)
    quantize(path, output, benchmark=BENCHMARK, precision="int8", calibration=Pictures(4))
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(output).graph.node}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_same_inputs_give_the_same_bytes(network: Path, tmp_path: Path, precision: Precision) -> None:
    """In another process with another hash seed: nothing depends on the order of a set."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_quantization import *\n"
        "quantize(Path(sys.argv[3]), Path(sys.argv[4]), benchmark=BENCHMARK, precision=sys.argv[5],"
        " calibration=Pictures(6))\n"
    )
    root = Path(__file__).resolve().parents[2]
    contents = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.onnx"
        argv = [
            sys.executable,
            "-c",
            script,
            str(root),
            str(Path(__file__).parent),
            str(network),
            str(output),
        ]
        subprocess.run([*argv, precision], check=True, env={"PYTHONHASHSEED": seed}, capture_output=True)
        contents.append(output.read_bytes())
    assert contents[0] == contents[1]


def test_figures_and_progress(network: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    figures = quantize(
        network,
        tmp_path / "int8.onnx",
        benchmark=BENCHMARK,
        precision="int8",
        calibration=Pictures(30),
        on_progress=seen.append,
    )
    assert figures["calibration_samples"] == 30
    assert figures["int8_weights"] == 10
    assert figures["bytes"] == (tmp_path / "int8.onnx").stat().st_size
    assert seen[-1] == Progress(30, 30)
    assert [one.done for one in seen] == sorted({one.done for one in seen})


@pytest.mark.parametrize("calibration", [None, Pictures(0)])
def test_int8_without_calibration_samples_is_refused(
    network: Path, tmp_path: Path, calibration: Pictures | None
) -> None:
    with pytest.raises(SettingError, match="calibration samples"):
        quantize(network, tmp_path / "o", benchmark=BENCHMARK, precision="int8", calibration=calibration)
    assert not list(tmp_path.iterdir())


def test_calibration_samples_of_another_shape_are_refused(network: Path, tmp_path: Path) -> None:
    pictures = Pictures(3)
    pictures.pixels = pictures.pixels[:, :, ::2, ::2]
    with pytest.raises(SettingError, match=r"\(3, 112, 112\)"):
        quantize(network, tmp_path / "o", benchmark=BENCHMARK, precision="int8", calibration=pictures)


def test_a_network_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(resnet50(stages=((1, 4),), stem=4, classes=5, image=64), path)
    with pytest.raises(NetworkFileError, match="dimension 2 of input"):
        quantize(path, tmp_path / "o", benchmark=BENCHMARK, precision="fp32")


@pytest.mark.parametrize(
    ("values", "dtype", "scale", "want"),
    [
        ([0.4, 1.6, -300.0, 300.0], "int8", 1.0, [0, 2, -128, 127]),
        ([1.0, -1.0], "int8", 0.5, [2, -2]),
        ([1.5], "float16", 1.0, [1.5]),
    ],
)
def test_samples_are_brought_to_the_networks_dtype(
    values: list[float], dtype: str, scale: float, want: list[float]
) -> None:
    spec = TensorSpec("x", "int8", (None,), scale=scale)
    result = as_input(np.array(values, np.float32), dtype, spec)
    assert result.dtype == dtype
    assert result.tolist() == want
    if dtype == "int8" and abs(max(values)) < 100:
        np.testing.assert_array_equal(as_input(result, "float32", spec), np.array(values, np.float32))


def test_it_runs_as_a_child_process(network: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = tmp_path / "calibration"
    folder.mkdir()
    np.save(folder / "samples.npy", Pictures(10).pixels)
    request = {
        "network": str(network),
        "output": str(tmp_path / "int8.onnx"),
        "benchmark": "resnet50",
        "precision": "int8",
        "calibration": str(folder),
    }
    figures = run_module(
        "models.network.quantization", request, timeout_seconds=PATIENCE, on_line=lines.append
    )
    assert figures["calibration_samples"] == 10
    assert [progress_in(line) for line in lines][-1] == 1.0
    assert None not in [progress_in(line) for line in lines]
    with pytest.raises(NetworkFileError, match="empty"):
        (tmp_path / "none.onnx").touch()
        run_module(
            "models.network.quantization",
            {**request, "network": str(tmp_path / "none.onnx")},
            timeout_seconds=PATIENCE,
        )


def test_an_int8_input_has_its_own_scale(network: Path, tmp_path: Path) -> None:
    class HalfSteps(Resnet50Network):
        def inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
            spec = super().inputs(precision)[0]
            return (TensorSpec(spec.name, spec.dtype, spec.shape, scale=2.0),)

    benchmark = Benchmark("models.resnet50")
    benchmark.network = HalfSteps()

    output = tmp_path / "int8.onnx"
    quantize(network, output, benchmark=benchmark, precision="int8", calibration=Pictures(10))
    pictures = Pictures(30, first=300)
    halved = as_input(pictures.pixels, "int8", benchmark.network.inputs("int8")[0])
    outputs = CpuSession(output, {}).infer({INPUT: halved})
    assert np.mean(outputs["ArgMax:0"] == answers(network, pictures)) >= 0.9
