"""What else happened on the host during a run: other processes, throttling, clocks, temperature, CPU load.

The state is read once before and once after the timed part, never during it. What the operating system
counts (CPU time) is compared over the whole run; what it only shows at a moment (clocks, processes on a GPU)
is shown for both moments. Hardware that is not there is said not to be there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from mlperf_submission.harness.limits import DisturbanceLimits

__all__ = [
    "DisturbanceLimits",
    "GpuState",
    "HostState",
    "disturbances",
    "gpu_joules",
    "host_state",
    "shown_states",
]

_CLOCK_SLEW = 0.001
"""Share of the time that a clock is slowed or hurried by where it is not set (adjtime(3): 0.0005)."""
_CLOCK_RESOLUTION = 0.05
"""Seconds that may pass between the two readings of one moment."""
_GOVERNORS = "/sys/devices/system/cpu"
# nvmlClocksEventReason* of NVIDIA's NVML reference; idle and application clocks are no disturbance.
_CLOCK_REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
_HARMLESS = frozenset({"idle", "application clocks", "software power cap"})


class GpuState(BaseModel):
    """One GPU at one moment; clocks in MHz, temperature in degrees Celsius, power in W.

    `sm_clock_set` is the application clock, which an administrator sets. `energy` is a counter, in J, that
    runs on from when the driver was loaded.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    driver: str
    sm_clock: int | None = None
    sm_clock_highest: int | None = None
    sm_clock_set: int | None = None
    temperature: int | None = None
    power: float | None = None
    energy: float | None = None
    clock_reasons: tuple[str, ...] = ()
    other_processes: tuple[str, ...] = ()


class HostState(BaseModel):
    """The host at one moment.

    Attributes:
        at: seconds on the host's monotonic clock, from which durations are taken.
        clock: seconds since the epoch by the host's clock, which may be set at any time; None in old records.
        cores: logical CPUs of the host.
        load: load average of the last minute.
        governors: CPU frequency governors in use.
        busy_seconds: CPU time of all processes since boot, summed over the cores.
        stolen_seconds: CPU time that the hypervisor gave to others, likewise.
        own_seconds: CPU time of this process and of its children that have ended.
        memory_percent: memory in use.
        swapped_bytes: bytes swapped in and out since boot.
        gpus: the GPUs that NVML shows.
        absent: what could not be looked at, and why.
    """

    model_config = ConfigDict(frozen=True)

    at: float
    clock: float | None = None
    cores: int
    load: float
    governors: tuple[str, ...] = ()
    busy_seconds: float
    stolen_seconds: float
    own_seconds: float
    memory_percent: float
    swapped_bytes: int
    gpus: tuple[GpuState, ...] = ()
    absent: tuple[str, ...] = ()


def host_state() -> HostState:
    """Look at the host now. Takes some milliseconds; never raises for hardware that is missing."""
    absent: list[str] = []
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user already
    stolen = getattr(times, "steal", 0.0)
    swap = psutil.swap_memory()
    own = os.times()
    return HostState(
        at=time.monotonic(),
        clock=time.time(),
        cores=psutil.cpu_count() or 1,
        load=os.getloadavg()[0],
        governors=_governors(absent),
        busy_seconds=sum(times) - idle - guest - stolen,
        stolen_seconds=stolen,
        own_seconds=own.user + own.system + own.children_user + own.children_system,
        memory_percent=psutil.virtual_memory().percent,
        swapped_bytes=swap.sin + swap.sout,
        gpus=_gpus(absent),
        absent=tuple(absent),
    )


def disturbances(
    before: HostState, after: HostState, limits: DisturbanceLimits | None = None
) -> tuple[str, ...]:
    """Return in words what disturbed a run beyond the limits; empty if nothing did.

    Args:
        before: the state right before the timed part.
        after: the state right after it, from the same process.
        limits: the limits; None for the default ones.
    """
    limits = limits or DisturbanceLimits()
    found: list[str] = []
    seconds = after.at - before.at
    available = max(seconds, 1e-3) * after.cores
    own = after.own_seconds - before.own_seconds
    others = max(0.0, after.busy_seconds - before.busy_seconds - own) / available
    if others > limits.other_cpu_share:
        found.append(
            f"other processes used {others:.0%} of the {after.cores} cores, more than "
            f"{limits.other_cpu_share:.0%}"
        )
    stolen = (after.stolen_seconds - before.stolen_seconds) / available
    if stolen > limits.stolen_share:
        found.append(f"the hypervisor took {stolen:.1%} of the CPU time, more than {limits.stolen_share:.1%}")
    swapped = after.swapped_bytes - before.swapped_bytes
    if swapped > limits.swapped_bytes:
        found.append(f"{swapped / 2**20:.0f} MiB were swapped")
    if before.clock is not None and after.clock is not None:
        stepped = after.clock - before.clock - seconds
        if abs(stepped) > _CLOCK_SLEW * seconds + _CLOCK_RESOLUTION:
            found.append(f"the host's clock, which LoadGen measures by, was set by {stepped:+.3g} s")
    if before.governors != after.governors:
        found.append(
            f"the CPU frequency governor was changed from {', '.join(before.governors) or 'none'} to "
            f"{', '.join(after.governors) or 'none'}"
        )
    for number, gpu in enumerate(after.gpus):
        place = f"GPU {number} ({gpu.name})"
        earlier = before.gpus[number] if number < len(before.gpus) else gpu
        processes = sorted({*gpu.other_processes, *earlier.other_processes})
        if processes:
            found.append(f"other processes on {place}: {', '.join(processes)}")
        reasons = sorted(({*gpu.clock_reasons} | {*earlier.clock_reasons}) - _HARMLESS)
        if reasons:
            found.append(f"{place} was slowed down: {', '.join(reasons)}")
        if gpu.sm_clock_set != earlier.sm_clock_set:
            found.append(
                f"the clock of {place} was set from {earlier.sm_clock_set} to {gpu.sm_clock_set} MHz"
            )
        if gpu.temperature is not None and gpu.temperature > limits.temperature:
            found.append(f"{place} was at {gpu.temperature} °C, more than {limits.temperature} °C")
    return tuple(found)


def gpu_joules(before: HostState, after: HostState) -> float | None:
    """Return the energy in J that the host's GPUs took between two states, by their own counters.

    None if there is no GPU, if one has no counter (those before Volta), or if a counter began anew.
    """
    pairs = list(zip(before.gpus, after.gpus, strict=False))
    taken = [
        later.energy - earlier.energy
        for earlier, later in pairs
        if earlier.energy is not None and later.energy is not None
    ]
    whole = taken and len(taken) == len(before.gpus) == len(after.gpus) and min(taken) >= 0
    return sum(taken) if whole else None


def shown_states(before: HostState, after: HostState) -> tuple[tuple[str, str], ...]:
    """Return names and values of two states for a person: what is the same in both is shown once."""
    lines = zip(_shown(before), _shown(after), strict=False)
    return tuple(
        (name, earlier if earlier == later else f"{earlier} → {later}")
        for (name, earlier), (_name, later) in lines
    ) + tuple(("not looked at", text) for text in after.absent)


def _shown(state: HostState) -> list[tuple[str, str]]:
    lines = [
        ("load of the last minute", f"{state.load:.2f} on {state.cores} cores"),
        ("memory in use", f"{state.memory_percent:.0f} %"),
    ]
    if state.governors:
        lines.append(("CPU frequency governor", ", ".join(state.governors)))
    for number, gpu in enumerate(state.gpus):
        values = {
            "MHz": gpu.sm_clock,
            "MHz at most": gpu.sm_clock_highest,
            "°C": gpu.temperature,
            "W": gpu.power,
        }
        known = [f"{value:g} {unit}" for unit, value in values.items() if value is not None]
        lines.append((f"GPU {number}, {gpu.name}", ", ".join([*known, *gpu.clock_reasons])))
    return lines


def _governors(absent: list[str]) -> tuple[str, ...]:
    found = set()
    for path in Path(_GOVERNORS).glob("cpu[0-9]*/cpufreq/scaling_governor"):
        try:
            found.add(path.read_text().strip())
        except OSError:
            continue
    if not found:
        absent.append("CPU frequency governor: the kernel shows none (usual in a virtual machine)")
    return tuple(sorted(found))


def _gpus(absent: list[str]) -> tuple[GpuState, ...]:
    """Ask NVML. It is loaded and closed here, so that a process without GPU work keeps no hold of it."""
    try:
        import pynvml
    except ImportError:
        absent.append("NVIDIA GPU: the package nvidia-ml-py is not installed")
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent.append(f"NVIDIA GPU: {error}")
        return ()
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        count = pynvml.nvmlDeviceGetCount()
        return tuple(
            _gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(number), driver) for number in range(count)
        )
    except pynvml.NVMLError as error:
        absent.append(f"NVIDIA GPU: {error}")
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any, driver: str) -> GpuState:
    def ask(name: str, *arguments: Any) -> Any:
        """Return what NVML says, or None where this GPU does not support the question."""
        try:
            return getattr(nvml, name)(handle, *arguments)
        except (nvml.NVMLError, AttributeError):
            return None

    power = ask("nvmlDeviceGetPowerUsage")
    energy = ask("nvmlDeviceGetTotalEnergyConsumption")
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    # The flow, an ancestor of the run, asks CUDA which GPUs there are; that is no work on them.
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    processes = [*(ask("nvmlDeviceGetComputeRunningProcesses") or ())]
    processes += [*(ask("nvmlDeviceGetGraphicsRunningProcesses") or ())]
    return GpuState(
        name=_text(ask("nvmlDeviceGetName") or "unnamed"),
        driver=driver,
        sm_clock=ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        sm_clock_highest=ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        sm_clock_set=ask("nvmlDeviceGetApplicationsClock", nvml.NVML_CLOCK_SM),
        temperature=ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        power=None if power is None else power / 1000,
        energy=None if energy is None else energy / 1000,
        clock_reasons=tuple(word for bit, word in _CLOCK_REASONS.items() if (reasons or 0) & bit),
        other_processes=tuple(
            sorted({f"{one.pid} {_process_name(one.pid)}" for one in processes if one.pid not in own})
        ),
    )


def _process_name(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "(not visible from here)"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
