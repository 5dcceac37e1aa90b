"""A network in the precision that it is measured in: INT8 with QDQ pairs, FP16, or FP32.

As a child process (`python -m models.network.quantization`) it takes a `QuantizeRequest` and prints lines
`::progress <done> <total> <unit>`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from common.errors import PipelineError, StepFailedError
from common.files import disk_full_named, write_atomic
from common.process import peak_bytes, serve_request
from models.benchmark import (
    Benchmark,
    OnProgress,
    Precision,
    Samples,
    TensorSpec,
    ignore_progress,
)
from models.network.calibration import CalibrationReader
from models.network.checks import check_network
from models.network.edits import (
    clean,
    drop_unneeded,
    keep_sums_whole,
    set_type,
    sort_nodes,
    state_lengths,
    take_int8_input,
    tensor_count,
)
from models.network.progress import progress_printer
from models.network.published import is_quantized, store_weights_as_int8

CALIBRATION_METHOD = "percentile"
CALIBRATION_PERCENTILE = 99.999
"""How the range of an activation is found: the share (in %) of its absolute values that is not clipped.

With the largest value alone (minmax) one outlier coarsens the steps for all others; a high percentile costs
ResNet-50 less accuracy (Wu et al., 2020, Integer Quantization for Deep Learning Inference, arXiv 2004.09602,
section 5). ONNX Runtime's entropy search works on 128 bins, too few to tell thresholds apart; its percentile
works on 2048.
"""
QUANTIZED_OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "ReduceMean", "GlobalAveragePool")
"""Operators whose inputs are rounded. Outputs are not: the next one's input is, behind the activation."""
PRODUCTS = ("MatMul", "Gemm")
"""What is rounded in a network without convolutions: in a transformer the residual sums feed normalisations,
and the mask's sum feeds a softmax; rounding those costs accuracy and saves no product."""


class QuantizeRequest(BaseModel):
    """What the child process is asked for.

    Attributes:
        network: the benchmark's ONNX file.
        output: the ONNX file to write.
        benchmark: its name in models.registry.
        calibration: folder of preprocessed calibration samples; needed for INT8.
        calibration_limit: only the first so many of them are taken; None: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: Path
    output: Path
    benchmark: str
    precision: Precision
    calibration: Path | None = None
    calibration_limit: int | None = Field(default=None, ge=1)


def quantize(
    network: Path,
    output: Path,
    *,
    benchmark: Benchmark,
    precision: Precision,
    calibration: Samples | None = None,
    calibration_limit: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, JsonValue]:
    """Write the network in a precision; the same inputs give the same bytes.

    INT8: symmetric, weights per output channel, activations per tensor, biases and sums in FP32, as
    TensorRT wants it. A network that its owner publishes with rounding built in keeps its ranges: only
    its weights are stored as INT8, and nothing is calibrated. The calibration samples are taken in order,
    a few at a time. An input that `Network.inputs("int8")` gives as int8 takes quantised
    samples.

    Args:
        network: the benchmark's FP32 network, of any opset.
        output: the file to write, in one piece (weights inside).
        benchmark: its inputs and outputs.
        precision: of weights and activations.
        calibration: samples for the ranges of INT8, float32 or int8; apart from the validation set.
        calibration_limit: only the first so many of them are taken; None: all.
        on_progress: told how many calibration samples are done.

    Returns:
        Figures: precision, opset, nodes, bytes, seconds, peak_bytes (memory of this process), int8_weights,
        qdq_pairs, calibration_samples, calibration_method.

    Raises:
        NetworkFileError: the file is no network of this benchmark.
        SettingError: INT8 without calibration samples, or samples of another shape.
        StepFailedError: the converter failed.
    """
    converted = benchmark.network.convert(network, output, precision, on_progress)
    if converted is not None:
        return {**converted, "peak_bytes": peak_bytes()}
    started = time.monotonic()
    specs = benchmark.network.inputs("fp32"), benchmark.network.outputs
    model = clean(check_network(network, *specs, adapt=benchmark.network.adapt), *specs)
    inputs = benchmark.network.inputs(precision)
    published = is_quantized(model)
    try:
        if precision == "int8" and published:
            store_weights_as_int8(model)
        elif precision == "int8":
            reader = CalibrationReader(benchmark, calibration, calibration_limit, model, on_progress)
            model = _to_int8(model, inputs, reader)
        elif precision == "fp16":
            model = _to_fp16(model, inputs, benchmark.network.outputs)
    except (PipelineError, OSError):
        raise
    except Exception as error:
        raise StepFailedError(
            f"the network cannot be converted to {precision}: {type(error).__name__}: {error}",
            where=network,
            remedy="choose another precision in the system file, or report the network to the project",
        ) from error
    state_lengths(model, inputs)
    onnx.checker.check_model(model)
    content = model.SerializeToString(deterministic=True)
    with disk_full_named(output):
        write_atomic(output, content)
    kinds = Counter(node.op_type for node in model.graph.node)
    figures: dict[str, JsonValue] = {
        "precision": precision,
        "opset": next(entry.version for entry in model.opset_import if entry.domain == ""),
        "nodes": len(model.graph.node),
        "bytes": len(content),
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(),
    }
    if precision == "int8":
        figures |= {"int8_weights": tensor_count(model), "qdq_pairs": kinds["QuantizeLinear"]}
    if precision == "int8" and calibration is not None and not published:
        figures |= {
            "calibration_samples": min(len(calibration), calibration_limit or len(calibration)),
            "calibration_method": f"{CALIBRATION_METHOD} {CALIBRATION_PERCENTILE}",
        }
    return figures


def _to_int8(model: ModelProto, inputs: tuple[TensorSpec, ...], reader: CalibrationReader) -> ModelProto:
    import onnxruntime.quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quantized_inputs = [spec for spec in inputs if spec.dtype == "int8"]
    with tempfile.TemporaryDirectory(prefix="mlperf-quantize-") as folder, _quiet():
        plain, folded, result = (Path(folder, name) for name in ("plain.onnx", "folded.onnx", "int8.onnx"))
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
        prepared = onnx.load(folded)
        convolves = any(node.op_type in ("Conv", "ConvTranspose") for node in prepared.graph.node)
        operators = list(QUANTIZED_OPERATORS if convolves else PRODUCTS)
        ort.quantize_static(
            str(folded),
            str(result),
            reader,
            quant_format=ort.QuantFormat.QDQ,
            op_types_to_quantize=operators,
            nodes_to_exclude=_sums_with_constants(prepared),
            per_channel=True,
            activation_type=ort.QuantType.QInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=ort.CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "CalibPercentile": CALIBRATION_PERCENTILE,
                "CalibStridedMinMax": 1,
                "OpTypesToExcludeOutputQuantization": operators,
                "TensorQuantOverrides": {
                    spec.name: [
                        {
                            "quant_type": ort.QuantType.QInt8,
                            "scale": np.array(spec.scale, np.float32),
                            "zero_point": np.array(0, np.int8),
                        }
                    ]
                    for spec in quantized_inputs
                },
            },
        )
        converted = onnx.load(result)
    for spec in quantized_inputs:
        take_int8_input(converted, spec)
    keep_sums_whole(converted)
    drop_unneeded(converted)
    del converted.graph.value_info[:]
    return converted


def _sums_with_constants(model: ModelProto) -> list[str]:
    """Sums with a weight are biases, not residual connections: they stay in FP32."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name for node in model.graph.node if node.op_type == "Add" and weights.intersection(node.input)
    ]


def _to_fp16(
    model: ModelProto, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept = [spec.name for spec in (*inputs, *outputs) if spec.dtype == "float32"]
    converted: ModelProto = convert_float_to_float16(model, keep_io_types=kept)
    by_name = {spec.name: spec for spec in inputs}
    for value in converted.graph.input:
        if value.name in by_name:
            set_type(value, by_name[value.name])
    sort_nodes(converted)
    drop_unneeded(converted)
    del converted.graph.value_info[:]
    return converted


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's own messages out of the progress lines."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _main(request: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    from models.registry import get_benchmark

    asked = QuantizeRequest.model_validate(request)
    benchmark = get_benchmark(asked.benchmark)
    calibration = benchmark.data.open(asked.calibration) if asked.calibration else None
    return quantize(
        asked.network,
        asked.output,
        benchmark=benchmark,
        precision=asked.precision,
        calibration=calibration,
        calibration_limit=asked.calibration_limit,
        on_progress=progress_printer(),
    )


if __name__ == "__main__":
    serve_request(_main)
