"""Bring the network into the precision that the system runs, and record what that costs in accuracy."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition, Precision, Source
from mlperf_submission.steps.cache import StepRecord
from models.network.agreement import AgreementRequest
from models.network.quantization import QuantizeRequest, device_file
from models.network.random import CALIBRATION_SAMPLES
from models.registry import get_benchmark
from tasks.child import call_child
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.random_network import weights_of
from tasks.versions import benchmark_code, library_versions, versions_of

NETWORK_FILE = "network.onnx"
AGREEMENT_SAMPLES = {"mini": 32, "full": 500}
"""Samples on which the converted network is compared with FP32; the accuracy run is what counts."""
QUANTIZE = StepSpec("quantize", "prepare", ("download", "random_network", "preprocess"), 2.5, 600.0)


def quantize(
    label: str,
    benchmark: str,
    precision: Precision,
    edition: Edition,
    network: StepRecord,
    dataset: Path,
    calibration: StepRecord,
    validation: StepRecord,
    limit_seconds: float,
) -> Step:
    """Write `network.onnx` in the system's precision, calibrated on samples apart from the validation set.

    In INT8 the network that an engine is built from lies beside it (see `engine_source`).

    Figures: those of `models.network.quantization.quantize`, and `agreement` with the FP32 network
    (None where the benchmark compares no samples, and for random weights).

    Raises:
        NetworkFileError: the file is no ONNX network, or not this benchmark's.
    """

    def inputs() -> dict[str, JsonValue]:
        return {
            "precision": precision,
            "weights": weights_of(network),
            "network": network.content_hash,
            "calibration": calibration.content_hash if precision == "int8" else None,
            "calibration_limit": _calibration_limit(network),
            "validation": validation.content_hash,
            "code_version": benchmark_code(
                benchmark,
                ("data", "network", "answer"),
                "models.network.quantization",
                "models.network.agreement",
            ),
            **versions_of("onnx", "onnxruntime"),
            **library_versions(benchmark, "score"),
        }

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        output = folder / NETWORK_FILE
        figures = call_child(
            "models.network.quantization",
            QuantizeRequest(
                network=_source_path(network, edition.network_for(precision)),
                output=output,
                benchmark=benchmark,
                precision=precision,
                calibration=calibration.folder if precision == "int8" else None,
                calibration_limit=_calibration_limit(network),
            ),
            recorder.part(0.0, 0.5),
            limit_seconds,
        )
        trained = weights_of(network) == "trained"
        limit = get_benchmark(benchmark).network.agreement_samples(edition) if trained else 0
        if limit == 0:
            return {**figures, "agreement": None}
        agreement = call_child(
            "models.network.agreement",
            AgreementRequest(
                reference=_source_path(network, edition.network),
                converted=output,
                benchmark=benchmark,
                samples=validation.folder,
                dataset=dataset,
                edition=edition,
                sample_limit=limit or AGREEMENT_SAMPLES[edition.name],
            ),
            recorder.part(0.5, 1.0),
            limit_seconds,
        )
        return {**figures, "agreement": agreement}

    return Step(QUANTIZE, label, inputs, produce)


def engine_source(network: StepRecord, precision: Precision) -> Path:
    """Return the file of a converted network that its engine is built from."""
    path = network.file(NETWORK_FILE)
    return device_file(path) if precision == "int8" else path


def _calibration_limit(network: StepRecord) -> int | None:
    return CALIBRATION_SAMPLES if weights_of(network) == "random" else None


def _source_path(network: StepRecord, source: Source) -> Path:
    """Return the downloaded file, or the folder that it was unpacked into."""
    return network.folder / source.unpack if source.unpack else network.file(source.name)
