"""What the host is, as far as a measurement depends on it; and whether it has a GPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil
from pydantic import JsonValue

from harness.backends.tensorrt_library import gpu_facts


@cache
def host_identity() -> dict[str, JsonValue]:
    """Return CPU model and count and the GPUs with their driver: another host's runs are not this one's."""
    driver, _gpus = gpu_facts()
    return {"cpu": _cpu_model(), "cpus": psutil.cpu_count(), "gpus": list(gpu_names()), "driver": driver}


def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that NVIDIA's driver reports; none without a driver."""
    return tuple(gpu.name for gpu in gpu_facts()[1])


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
