"""What the host is, as far as a measurement depends on it; and the GPUs that it has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
from pydantic import JsonValue

from mlperf_submission.config.system import Accelerator
from mlperf_submission.errors import SettingError
from mlperf_submission.harness.backends.tensorrt.cuda import gpus_like, import_cuda, visible_gpus
from mlperf_submission.harness.backends.tensorrt.library import gpu_facts


@dataclass(frozen=True)
class Gpus:
    """The GPUs of one kind that engines can run on.

    Attributes:
        ordinals: CUDA's numbers of them.
        obstacle: why they cannot be used, in words; empty if they can.
        memory: bytes of the smallest of them; None where CUDA does not say.
    """

    ordinals: tuple[int, ...] = ()
    obstacle: str = ""
    memory: int | None = None


@cache
def host_identity() -> dict[str, JsonValue]:
    """Return CPU model and count and the GPUs with their driver: another host's runs are not this one's."""
    driver, _gpus = gpu_facts()
    return {"cpu": _cpu_model(), "cpus": psutil.cpu_count(), "gpus": list(gpu_names()), "driver": driver}


def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that NVIDIA's driver reports; none without a driver."""
    return tuple(gpu.name for gpu in gpu_facts()[1])


def gpus_for(accelerator: Accelerator, *, by_name: bool) -> Gpus:
    """Return this host's first GPUs that are what a system file names, or why there are not so many.

    Args:
        accelerator: kind and number.
        by_name: whether they must have its name; else another one of its compute capability does as well.
    """
    if not gpu_names():
        return Gpus(obstacle="no GPU here")
    try:
        found = visible_gpus(import_cuda())
    except SettingError as error:
        return Gpus(obstacle=f"{error.what} ({error.remedy})")
    fitting = gpus_like(found, accelerator.compute_capability, accelerator.name, only_name=by_name)
    if len(fitting) >= accelerator.count:
        chosen = fitting[: accelerator.count]
        return Gpus(chosen, memory=min(found[ordinal].memory for ordinal in chosen) or None)
    here = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in found)
    wanted = f"{accelerator.count} x {accelerator.name} ({accelerator.compute_capability})"
    return Gpus(obstacle=f"{wanted} wanted, but CUDA sees {here}")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
