"""What the host is, as far as a measurement depends on it; and the GPUs that it has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
from pydantic import JsonValue

from common.errors import SettingError
from harness.backends.cuda import device_capabilities
from harness.backends.tensorrt_library import gpu_facts


@dataclass(frozen=True)
class Gpus:
    """The GPUs of one kind that engines can run on.

    Attributes:
        ordinals: CUDA's numbers of them.
        obstacle: why they cannot be used, in words; empty if they can.
    """

    ordinals: tuple[int, ...] = ()
    obstacle: str = ""


@cache
def host_identity() -> dict[str, JsonValue]:
    """Return CPU model and count and the GPUs with their driver: another host's runs are not this one's."""
    driver, _gpus = gpu_facts()
    return {"cpu": _cpu_model(), "cpus": psutil.cpu_count(), "gpus": list(gpu_names()), "driver": driver}


def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that NVIDIA's driver reports; none without a driver."""
    return tuple(gpu.name for gpu in gpu_facts()[1])


def gpus_for(compute_capability: str, count: int) -> Gpus:
    """Return this host's first GPUs of a compute capability, or why there are not so many to be used."""
    if not gpu_names():
        return Gpus(obstacle="no GPU here")
    try:
        found = device_capabilities()
    except SettingError as error:
        return Gpus(obstacle=f"{error.what} ({error.remedy})")
    fitting = tuple(ordinal for ordinal, capability in enumerate(found) if capability == compute_capability)
    if len(fitting) < count:
        here = ", ".join(f"{name}" for name in gpu_names())
        wanted = f"{count} of compute capability {compute_capability}"
        return Gpus(obstacle=f"{wanted} wanted, but here are {here} of {', '.join(found)}")
    return Gpus(fitting[:count])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
