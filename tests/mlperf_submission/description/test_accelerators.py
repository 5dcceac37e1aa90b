"""GPUs as NVIDIA's library tells them. The library is played: the tests run without a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mlperf_submission.description.accelerators import read_gpus


class NvmlError(Exception):
    """The library's own exception."""


def _refuses(*_: object) -> Any:
    raise NvmlError("Not Supported")


def _library(**changes: Any) -> SimpleNamespace:
    """Two GPUs of one kind; the second argument of topology calls is the other GPU."""
    told = {
        "NVMLError": NvmlError,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda at: at,
        "nvmlDeviceGetName": lambda _: b"NVIDIA L40S",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=48 << 30),
        "nvmlDeviceGetMaxClockInfo": lambda _, kind: 2520 if kind == 1 else 0,
        "nvmlDeviceGetMaxPcieLinkGeneration": lambda _: 4,
        "nvmlDeviceGetMaxPcieLinkWidth": lambda _: 16,
        "nvmlDeviceGetMemoryBusWidth": lambda _: 384,
        "nvmlDeviceGetNvLinkState": lambda _, link: 1 if link < 4 else 0,
        "nvmlDeviceGetTopologyCommonAncestor": lambda *_: 50,
        "nvmlSystemGetDriverVersion": lambda: "555.42",
        "nvmlSystemGetCudaDriverVersion": lambda: 12050,
    }
    return SimpleNamespace(**{**told, **changes})


def test_what_the_library_tells_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _library())
    found = read_gpus()
    assert not isinstance(found, str)
    first = found.gpus[0]
    assert (first.name, first.memory_bytes, first.clock_mhz) == ("NVIDIA L40S", 48 << 30, 2520)
    assert (first.pcie_generation, first.pcie_width, first.bus_bits, first.nvlinks) == (4, 16, 384, 4)
    assert (len(found.gpus), found.paths, found.driver, found.cuda) == (2, ("SYS",), "555.42", "12.5")


def test_what_the_library_does_not_tell_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = (
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo",
    )
    asked = [name for name in vars(_library()) if "Get" in name and name not in kept]
    refused = dict.fromkeys(asked, _refuses)
    monkeypatch.setitem(sys.modules, "pynvml", _library(**refused))
    found = read_gpus()
    assert not isinstance(found, str)
    first = found.gpus[0]
    assert (first.clock_mhz, first.pcie_generation, first.bus_bits, first.nvlinks) == (None, None, None, 0)
    assert found.paths == ("not told",) and found.cuda == ""


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetName"])
def test_a_library_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _library(**{call: _refuses}))
    assert "Not Supported" in str(read_gpus())


def test_no_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpus() == "the package nvidia-ml-py is not installed"
