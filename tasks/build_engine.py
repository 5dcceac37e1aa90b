"""Build the TensorRT engine of a network: for the GPU at hand, or for the one that the system file names."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.config.system import Accelerator
from mlperf_submission.harness.backends.tensorrt.build import BuildRequest
from mlperf_submission.harness.backends.tensorrt.library import builder_identity
from mlperf_submission.steps.cache import StepRecord, code_version
from tasks.child import call_child
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.quantize import engine_source
from tasks.random_network import weights_of

ENGINE_FILE = "engine.plan"

BUILD_ENGINE = StepSpec("build_engine", "prepare", ("quantize",), 0.6, 600.0, asset="engine")


def build_engine(
    label: str,
    benchmark: str,
    precision: Precision,
    network: StepRecord,
    batch_size: int,
    accelerator: Accelerator,
    limit_seconds: float,
) -> Step:
    """Build `engine.plan`. Figures: those of `mlperf_submission.harness.backends.tensorrt.build.build`.

    Raises:
        NetworkFileError: TensorRT does not understand the network.
        SettingError: no TensorRT is installed, or it cannot build for this compute capability here.
    """

    def inputs() -> dict[str, JsonValue]:
        return {
            "network": network.content_hash,  # calibration and network are one file here
            "weights": weights_of(network),
            "precision": precision,
            "max_batch_size": batch_size,
            "compute_capability": accelerator.compute_capability,
            "accelerator": accelerator.name,
            "builder": dict(builder_identity(accelerator.compute_capability)),
            "code_version": code_version("mlperf_submission.harness.backends.tensorrt.build"),
        }

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        request = BuildRequest(
            network=engine_source(network, precision),
            output=folder / ENGINE_FILE,
            precision=precision,
            max_batch_size=batch_size,
            compute_capability=accelerator.compute_capability,
            accelerator=accelerator.name,
            timing_cache=recorder.workspace.timings / f"{benchmark}-{precision}",
        )
        return call_child(
            "mlperf_submission.harness.backends.tensorrt.build", request, recorder, limit_seconds
        )

    return Step(BUILD_ENGINE, label, inputs, produce)
