"""Build the TensorRT engine of a network: for the GPU at hand, or for the one that the system file names."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.config.system import Accelerator
from mlperf_submission.harness.backends.tensorrt.build import BuildRequest
from mlperf_submission.harness.backends.tensorrt.library import builder_identity
from mlperf_submission.steps.cache import StepRecord, code_version
from models.benchmark import Precision
from tasks.child import call_child
from tasks.quantize import engine_source
from tasks.random_network import weights_label, weights_of
from tasks.step import Recorder, Step, perform, step_task
from tasks.workspace import Workspace

ENGINE_FILE = "engine.plan"


def build_engine_step(
    benchmark: str, precision: Precision, network: StepRecord, batch_size: int, accelerator: Accelerator
) -> Step:
    """Return everything that goes into an engine; calibration and network are one file here."""
    return Step(
        name="build_engine",
        label=weights_label(f"{benchmark} {precision}", weights_of(network)),
        inputs={
            "network": network.content_hash,
            "weights": weights_of(network),
            "precision": precision,
            "max_batch_size": batch_size,
            "compute_capability": accelerator.compute_capability,
            "accelerator": accelerator.name,
            "builder": dict(builder_identity(accelerator.compute_capability)),
            "code_version": code_version("mlperf_submission.harness.backends.tensorrt.build"),
        },
    )


@step_task("build engine", shown="{benchmark} {precision}")
def build_engine(
    workspace: Workspace,
    benchmark: str,
    precision: Precision,
    network: StepRecord,
    batch_size: int,
    accelerator: Accelerator,
    limit_seconds: float,
) -> StepRecord:
    """Build `engine.plan`. Figures: those of `mlperf_submission.harness.backends.tensorrt.build.build`.

    Raises:
        NetworkFileError: TensorRT does not understand the network.
        SettingError: no TensorRT is installed, or it cannot build for this compute capability here.
    """

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        request = BuildRequest(
            network=engine_source(network, precision),
            output=folder / ENGINE_FILE,
            precision=precision,
            max_batch_size=batch_size,
            compute_capability=accelerator.compute_capability,
            accelerator=accelerator.name,
            timing_cache=workspace.timings / f"{benchmark}-{precision}",
        )
        return call_child(
            "mlperf_submission.harness.backends.tensorrt.build", request, recorder, limit_seconds
        )

    return perform(
        workspace,
        build_engine_step(benchmark, precision, network, batch_size, accelerator),
        produce,
        prepares=True,
    )
