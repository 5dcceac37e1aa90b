"""The official layers of each benchmark with seeded random weights, as ONNX files to convert.

As a child process (`python -m models.network.random`) it takes a `RandomNetworkRequest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark, OnProgress, Progress, ignore_progress
from mlperf_submission.errors import SettingError
from mlperf_submission.files import disk_full_named, require_free_space, write_atomic
from mlperf_submission.process import serve_request
from models.network.progress import progress_printer

CALIBRATION_SAMPLES = 1
"""Ranges of random weights mean nothing; so one sample shows what calibrating costs in memory."""


class RandomNetworkRequest(BaseModel):
    """What the child process is asked for; the fields are `write_random_network`'s."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    benchmark: str
    output: Path
    precision: Precision
    layers: int | None = Field(default=None, ge=1)


def write_random_network(
    benchmark: Benchmark,
    output: Path,
    precision: Precision,
    *,
    layers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, JsonValue]:
    """Write the network (see `Network.random`); the same arguments give the same bytes.

    Args:
        benchmark: whose layers.
        output: the ONNX file; large weights lie in `<output>.data` beside it.
        precision: that the network is going to be converted to.
        layers: where they can be chosen; None: the official number.
        on_progress: told how much is written.

    Returns:
        Figures: bytes, layers (None: the official number).

    Raises:
        SettingError: layers are given where they cannot be chosen.
        DiskFullError: there is not enough space.
    """
    if layers is not None and benchmark.facts.layers is None:
        raise SettingError(f"the layers of {benchmark.name} cannot be chosen", remedy="leave them out")
    return {**benchmark.network.random(output, precision, layers, on_progress), "layers": layers}


def write_model(model: ModelProto, output: Path, on_progress: OnProgress) -> dict[str, JsonValue]:
    """Write a network that fits into memory in one piece; return its bytes.

    Raises:
        DiskFullError: there is not enough space.
    """
    content = model.SerializeToString(deterministic=True)
    require_free_space(output.parent, len(content), "the network")
    with disk_full_named(output):
        write_atomic(output, content)
    on_progress(Progress(1, 1, "networks"))
    return {"bytes": len(content)}


def _main(request: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    from models.registry import get_benchmark

    asked = RandomNetworkRequest.model_validate(request)
    return write_random_network(
        get_benchmark(asked.benchmark),
        asked.output,
        asked.precision,
        layers=asked.layers,
        on_progress=progress_printer(),
    )


if __name__ == "__main__":
    serve_request(_main)
