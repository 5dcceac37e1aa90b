"""A network in the precision that it is measured in: INT8 with QDQ pairs, FP16, or FP32.

As a child process (`python -m models.network.quantization`) it takes a `QuantizeRequest` and prints lines
`::progress <done> <total> <unit>`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark, OnProgress, TensorSpec, ignore_progress
from mlperf_submission.errors import PipelineError, StepFailedError
from mlperf_submission.files import disk_full_named, write_atomic
from mlperf_submission.process import peak_bytes, serve_request
from models.network.calibration import CalibrationReader
from models.network.edits import state_lengths
from models.network.folding import lay_aside, put_back
from models.network.precision import CALIBRATION_METHOD, CALIBRATION_PERCENTILE, to_fp16, to_int8
from models.network.progress import progress_printer
from models.network.published import is_quantized, store_weights_as_int8
from models.network.source import read_source


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

    INT8: symmetric, weights per output channel, activations per tensor. Twice: `output` leaves everything
    else in FP32 and is what ONNX Runtime runs, whose processors have no kernels for FP16 (it would take five
    times as long for BERT); `device_file(output)` has everything else in FP16, the scales too, and is what an
    engine is built from. A network that its owner publishes with rounding built in keeps its ranges: only
    its weights are stored as INT8, and nothing is calibrated. The calibration samples are taken in order,
    a few at a time. An input that `Network.inputs("int8")` gives as int8 takes quantised
    samples.

    Args:
        network: the benchmark's FP32 network, of any opset.
        output: the file to write, in one piece (weights inside); in INT8 another one beside it.
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
    chosen = benchmark.network
    inputs, outputs = chosen.source_inputs(precision), chosen.source_outputs
    model, weights = read_source(network, benchmark)
    published = is_quantized(model)
    device: ModelProto | None = None
    try:
        if precision == "int8":
            put_back(model, weights)
            if published:
                store_weights_as_int8(model)
            else:
                reader = CalibrationReader(benchmark, calibration, calibration_limit, model, on_progress)
                model = to_int8(model, inputs, reader)
            device, weights = lay_aside(_copied(model))
            device = to_fp16(device, inputs, outputs)
            put_back(device, weights)
        elif precision == "fp16":
            model = to_fp16(model, inputs, outputs)
    except (PipelineError, OSError):
        raise
    except Exception as error:
        raise StepFailedError(
            f"the network cannot be converted to {precision}: {type(error).__name__}: {error}",
            where=network,
            remedy="choose another precision in the system file, or report the network to the project",
            code="conversion-failed",
        ) from error
    put_back(model, weights)
    if device is not None:
        _write(chosen.finish(device), chosen.inputs(precision), device_file(output))
    model = chosen.finish(model)
    size = _write(model, chosen.inputs(precision), output)
    kinds = Counter(node.op_type for node in model.graph.node)
    figures: dict[str, JsonValue] = {
        "precision": precision,
        "opset": next(entry.version for entry in model.opset_import if entry.domain == ""),
        "nodes": len(model.graph.node),
        "bytes": size,
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(),
    }
    if precision == "int8":
        stored = sum(
            one.data_type == TensorProto.INT8 and len(one.dims) > 1 for one in model.graph.initializer
        )
        figures |= {"int8_weights": stored, "qdq_pairs": kinds["QuantizeLinear"]}
    if precision == "int8" and calibration is not None and not published:
        figures |= {
            "calibration_samples": min(len(calibration), calibration_limit or len(calibration)),
            "calibration_method": f"{CALIBRATION_METHOD} {CALIBRATION_PERCENTILE}",
        }
    return figures


def device_file(output: Path) -> Path:
    """Return the file that an engine is built from, beside an INT8 network."""
    return output.with_name(f"{output.stem}.device{output.suffix}")


def _copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _write(model: ModelProto, inputs: tuple[TensorSpec, ...], output: Path) -> int:
    state_lengths(model, inputs)
    onnx.checker.check_model(model)
    content = model.SerializeToString(deterministic=True)
    with disk_full_named(output):
        write_atomic(output, content)
    return len(content)


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
