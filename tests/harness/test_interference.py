from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from harness.interference import DisturbanceLimits, GpuState, HostState, disturbances, host_state

QUIET = HostState(
    at=1000.0,
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
LATER = QUIET.model_copy(update={"at": 1010.0, "busy_seconds": 531.0, "own_seconds": 32.0})


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
