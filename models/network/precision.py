"""A cleaned FP32 network in INT8 (QDQ pairs), and what is left of it in FP16."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from mlperf_submission.benchmark.parts import TensorSpec
from models.network.calibration import CalibrationReader
from models.network.edits import (
    drop_normalisation,
    drop_unneeded,
    keep_sums_whole,
    set_type,
    sort_nodes,
    take_int8_input,
)

CALIBRATION_METHOD = "percentile"
CALIBRATION_PERCENTILE = 99.999
"""How the range of an activation is found: the share (in %) of its absolute values that is not clipped.

With the largest value alone (minmax) one outlier coarsens the steps for all others; a high percentile costs
ResNet-50 less accuracy (Wu et al., 2020, Integer Quantization for Deep Learning Inference, arXiv 2004.09602,
section 5). ONNX Runtime's entropy search works on 128 bins, too few to tell thresholds apart; its percentile
works on 2048.
"""
QUANTIZED_OPERATORS = ("Conv", "MatMul", "Gemm", "Add", "ReduceMean", "GlobalAveragePool")
"""Operators whose inputs are rounded. Outputs are not: the next one's input is, behind the activation.

Transposed convolutions stay in FP16: TensorRT would run those of three dimensions in FP16 between two
conversions (NVIDIA's own 3D-UNet replaces them)."""
PRODUCTS = ("MatMul", "Gemm")
"""What is rounded in a network without convolutions: in a transformer the residual sums feed normalisations,
and the mask's sum feeds a softmax; rounding those costs accuracy and saves no product."""


def to_int8(model: ModelProto, inputs: tuple[TensorSpec, ...], reader: CalibrationReader) -> ModelProto:
    """Return the network with QDQ pairs around its products, and INT8 weights and inputs.

    Symmetric, weights per output channel, activations per tensor; the rest stays in FP32 (see `to_fp16`).

    Args:
        model: cleaned, with its weights.
        inputs: of the INT8 network.
        reader: the calibration samples.
    """
    import onnxruntime.quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quantized_inputs = [spec for spec in inputs if spec.dtype == "int8"]
    for spec in quantized_inputs:
        if spec.means:
            drop_normalisation(model, spec)
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
    """Sums with a weight are biases, not residual connections: they are not rounded."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name for node in model.graph.node if node.op_type == "Add" and weights.intersection(node.input)
    ]


def to_fp16(model: ModelProto, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> ModelProto:
    """Return the network with everything in FP16 that is FP32, the scales of QDQ pairs too.

    FP32 stay: inputs and outputs that are so specified. Normalisations are single operators, which libraries
    compute in FP32 inside. Weights may be laid aside: they then come back in FP16.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept = [spec.name for spec in (*inputs, *outputs) if spec.dtype == "float32"]
    converted: ModelProto = convert_float_to_float16(model, keep_io_types=kept)
    by_name = {spec.name: spec for spec in inputs}
    for value in converted.graph.input:
        if value.name in by_name:
            set_type(value, by_name[value.name], keep_free=True)
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
