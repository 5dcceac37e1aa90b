from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mlperf_submission.harness.interference import (
    DisturbanceLimits,
    GpuState,
    HostState,
    disturbances,
    gpu_joules,
    host_state,
    shown_states,
)

NOBODY = (1 << 22) + 1
"""More than the kernel numbers processes with."""
QUIET = HostState(
    at=1000.0,
    clock=1.8e9,
    cores=4,
    load=0.1,
    busy_seconds=500.0,
    stolen_seconds=1.0,
    own_seconds=2.0,
    memory_percent=10.0,
    swapped_bytes=0,
    gpus=(GpuState(name="NVIDIA L40S", driver="555.42", temperature=60, clock_reasons=("idle",)),),
)
# Ten seconds later: this process used 30 of the 40 core seconds.
LATER = QUIET.model_copy(
    update={"at": 1010.0, "clock": 1.8e9 + 10, "busy_seconds": 531.0, "own_seconds": 32.0}
)


def later(**changes: object) -> HostState:
    return LATER.model_copy(update=changes)


def gpu(**changes: object) -> tuple[GpuState, ...]:
    return (QUIET.gpus[0].model_copy(update=changes),)


def test_our_own_work_is_no_disturbance() -> None:
    assert disturbances(QUIET, LATER) == ()


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (later(busy_seconds=540.0), "other processes used 25% of the 4 cores"),
        (later(stolen_seconds=3.0), "hypervisor took 5.0%"),
        (later(clock=1.8e9 - 3590), "clock, which LoadGen measures by, was set by -3.6e+03 s"),
        (later(clock=1.8e9 + 10.1), "was set by +0.1 s"),
        (later(swapped_bytes=1 << 30), "1024 MiB were swapped"),
        (later(gpus=gpu(other_processes=("17 miner",))), "other processes on GPU 0 (NVIDIA L40S): 17 miner"),
        (later(gpus=gpu(clock_reasons=("hardware thermal slowdown",))), "hardware thermal slowdown"),
        (later(gpus=gpu(temperature=95)), "at 95 °C"),
    ],
)
def test_each_disturbance_is_named_with_its_figure(after: HostState, words: str) -> None:
    found = disturbances(QUIET, after)
    assert len(found) == 1
    assert words in found[0]


def test_a_clock_that_is_set_changes_no_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = host_state()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    after = host_state()
    assert after.at >= before.at
    strict = DisturbanceLimits(other_cpu_share=100, stolen_share=100)
    assert [text for text in disturbances(before, after, strict) if "clock, which" in text]
    assert not disturbances(QUIET.model_copy(update={"clock": None}), LATER)  # a record of an older version


def test_a_limit_can_be_raised() -> None:
    after = later(busy_seconds=540.0)
    assert disturbances(QUIET, after, DisturbanceLimits(other_cpu_share=0.3)) == ()


def test_a_process_that_was_there_only_before_is_named_too() -> None:
    before = QUIET.model_copy(update={"gpus": gpu(other_processes=("17 miner",))})
    assert "17 miner" in disturbances(before, LATER)[0]


def test_the_hosts_counters_tell_a_busy_neighbour() -> None:
    burn = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    before = host_state()
    neighbour = subprocess.Popen([sys.executable, "-c", burn])
    try:
        time.sleep(0.6)
        after = host_state()
    finally:
        neighbour.kill()
        neighbour.wait()
    strict = DisturbanceLimits(other_cpu_share=0.2 / (os.cpu_count() or 1))
    assert any("other processes used" in text for text in disturbances(before, after, strict))


def test_absent_hardware_is_said_to_be_absent() -> None:
    state = host_state()
    assert state.gpus or any("NVIDIA GPU" in text for text in state.absent)
    assert state.governors or any("governor" in text for text in state.absent)
    assert HostState.model_validate_json(state.model_dump_json()) == state


def test_a_governor_or_clock_that_was_changed_is_named() -> None:
    before = QUIET.model_copy(update={"governors": ("performance",), "gpus": gpu(sm_clock_set=2520)})
    after = later(governors=("powersave",), gpus=gpu(sm_clock_set=1200))
    assert disturbances(before, after) == (
        "the CPU frequency governor was changed from performance to powersave",
        "the clock of GPU 0 (NVIDIA L40S) was set from 2520 to 1200 MHz",
    )


@pytest.mark.parametrize(
    ("before", "after", "joules"),
    [
        ([100.0, 200.0], [3700.0, 200.5], 3600.5),
        ([], [], None),
        ([100.0, None], [3700.0, None], None),
        ([100.0], [3700.0, 50.0], None),
        ([3700.0], [100.0], None),
    ],
)
def test_energy_is_the_difference_of_all_counters_or_not_known(
    before: list[float | None], after: list[float | None], joules: float | None
) -> None:
    def state(energies: list[float | None]) -> HostState:
        gpus = tuple(QUIET.gpus[0].model_copy(update={"energy": energy}) for energy in energies)
        return QUIET.model_copy(update={"gpus": gpus})

    assert gpu_joules(state(before), state(after)) == joules


class NvmlError(Exception):
    """The library's own exception."""


def played_nvml(**changes: Any) -> SimpleNamespace:
    """NVIDIA's library with one GPU, whose application clock it does not tell."""

    def not_supported(*_: object) -> Any:
        raise NvmlError("Not Supported")

    told = {
        "NVMLError": NvmlError,
        "NVML_CLOCK_SM": 1,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "555.42",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda at: at,
        "nvmlDeviceGetName": lambda _: b"NVIDIA L40S",
        "nvmlDeviceGetPowerUsage": lambda _: 300_500,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: 7_200_500,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda _: 0x2,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=os.getpid())],
        "nvmlDeviceGetGraphicsRunningProcesses": lambda _: [],
        "nvmlDeviceGetClockInfo": lambda *_: 2400,
        "nvmlDeviceGetMaxClockInfo": lambda *_: 2520,
        "nvmlDeviceGetApplicationsClock": not_supported,
        "nvmlDeviceGetTemperature": lambda *_: 71,
    }
    return SimpleNamespace(**{**told, **changes})


def test_a_gpus_state_is_read_and_its_changes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", played_nvml())
    before = host_state()
    (found,) = before.gpus
    assert (found.sm_clock, found.sm_clock_highest, found.sm_clock_set) == (2400, 2520, None)
    assert (found.power, found.energy, found.temperature) == (300.5, 7200.5, 71)
    assert found.other_processes == ()
    monkeypatch.setitem(
        sys.modules,
        "pynvml",
        played_nvml(
            nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x42,
            nvmlDeviceGetComputeRunningProcesses=lambda _: [
                SimpleNamespace(pid=pid) for pid in (os.getpid(), os.getppid(), NOBODY)
            ],
        ),
    )
    after = host_state()
    lenient = DisturbanceLimits(other_cpu_share=100, stolen_share=100)
    others, slowed = disturbances(before, after, lenient)
    assert others == f"other processes on GPU 0 (NVIDIA L40S): {NOBODY} (not visible from here)"
    assert "slowed down: hardware thermal slowdown" in slowed
    shown = dict(shown_states(before, after))
    assert "2400 MHz, 2520 MHz at most, 71 °C, 300.5 W" in shown["GPU 0, NVIDIA L40S"]
