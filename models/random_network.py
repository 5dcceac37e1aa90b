"""The official layers of each benchmark with seeded random weights, as ONNX files to convert.

As a child process (`python -m models.random_network`) it takes a `RandomNetworkRequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from common.errors import SettingError
from common.files import disk_full_named, require_free_space, write_atomic
from common.process import serve_request
from models.architectures.bert import bert, with_rounding
from models.architectures.gptj import gptj
from models.architectures.resnet50 import resnet50
from models.architectures.retinanet import retinanet
from models.architectures.unet3d import unet3d
from models.benchmark import OnProgress, Precision, Progress, ignore_progress
from models.quantization import progress_printer

CALIBRATION_SAMPLES = 1
"""Ranges of random weights mean nothing; so one sample shows what calibrating costs in memory."""
_CONVOLUTIONS: Mapping[str, Callable[[], ModelProto]] = {
    "resnet50": resnet50,
    "retinanet": retinanet,
    "3d-unet-99": unet3d,
}
LAYERED = "gptj-99"
"""Its 28 layers have 0.4 GB each in FP16, and are alike: fewer can be asked for."""


class RandomNetworkRequest(BaseModel):
    """What the child process is asked for; the fields are `write_random_network`'s."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    benchmark: str
    output: Path
    precision: Precision
    layers: int | None = Field(default=None, ge=1)


def write_random_network(
    benchmark: str,
    output: Path,
    precision: Precision,
    *,
    layers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, JsonValue]:
    """Write the network; the same arguments give the same bytes.

    bert-99 in INT8 comes rounded by fixed ranges, as its owner publishes an INT8 network; gptj-99 comes in
    its precision. The others come in FP32 and are calibrated.

    Args:
        benchmark: its name in models.registry.
        output: the ONNX file; large weights lie in `<output>.data` beside it.
        precision: that the network is going to be converted to.
        layers: of gptj-99; None: the official number.
        on_progress: told how much is written.

    Returns:
        Figures: bytes, layers (None: the official number).

    Raises:
        SettingError: there is no such architecture, or layers are given for another than gptj-99.
        DiskFullError: there is not enough space.
    """
    if benchmark == LAYERED:
        figures = gptj(output, layers=layers, precision=precision, on_progress=on_progress)
        return {"bytes": figures["bytes"], "layers": layers}
    if layers is not None:
        raise SettingError(f"the layers of {benchmark} cannot be chosen", remedy="leave them out")
    if benchmark == "bert-99":
        model = with_rounding(bert()) if precision == "int8" else bert()
    elif benchmark in _CONVOLUTIONS:
        model = _CONVOLUTIONS[benchmark]()
    else:
        raise SettingError(
            f"there is no architecture of {benchmark}",
            remedy=f"there are those of {', '.join((*_CONVOLUTIONS, 'bert-99', LAYERED))}",
        )
    content = model.SerializeToString(deterministic=True)
    require_free_space(output.parent, len(content), "the network")
    with disk_full_named(output):
        write_atomic(output, content)
    on_progress(Progress(1, 1, "networks"))
    return {"bytes": len(content), "layers": layers}


def _main(request: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    asked = RandomNetworkRequest.model_validate(request)
    return write_random_network(
        asked.benchmark,
        asked.output,
        asked.precision,
        layers=asked.layers,
        on_progress=progress_printer(),
    )


if __name__ == "__main__":
    serve_request(_main)
