"""CUDA's and TensorRT's real Python bindings have every call that the backend makes; no GPU answers it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorrt_rtx

from common.errors import SettingError
from harness.backends import tensorrt_device
from harness.backends.cuda import device_count, gpu_at, import_cuda
from harness.backends.tensorrt_device import GpuDevice
from harness.backends.tensorrt_library import gpu_facts

pytestmark = pytest.mark.skipif(bool(gpu_facts()[1]), reason="a GPU is here: test_tensorrt_gpu.py uses it")

STREAM = 5
ADDRESS = 1 << 40


@pytest.fixture
def device() -> GpuDevice:
    """A device whose every call reaches CUDA's runtime, which has no driver to pass it on to."""
    made = GpuDevice.__new__(GpuDevice)
    made._cuda, made._ordinal = import_cuda(), 0
    made._events = {STREAM: made._cuda.cudaEvent_t(7)}
    made.batches_copies = True
    return made


def one_by_one(device: GpuDevice) -> None:
    device.batches_copies = False
    device.copy_each([ADDRESS, ADDRESS + 8], [ADDRESS, ADDRESS], [8, 8], STREAM)


CALLS: dict[str, Callable[[GpuDevice], object]] = {
    "use": lambda device: device.use(),
    "allocate": lambda device: device.allocate(16),
    "free": lambda device: device.free(ADDRESS),
    "allocate_host": lambda device: device.allocate_host(16),
    "free_host": lambda device: device.free_host(np.zeros(16, np.uint8)),
    "make_stream": lambda device: device.make_stream(),
    "free_stream": lambda device: device.free_stream(STREAM),
    "copy": lambda device: device.copy(ADDRESS, ADDRESS, 8, STREAM),
    "copy_each": lambda device: device.copy_each([ADDRESS, 8], [8, ADDRESS], [8, 8], STREAM),
    "copy_each, one by one": one_by_one,
    "wait": lambda device: device.wait(STREAM),
    "capture": lambda device: device.capture(STREAM, lambda: None),
    "launch": lambda device: device.launch(device._cuda.cudaGraphExec_t(3), STREAM),
    "free_graph": lambda device: device.free_graph(device._cuda.cudaGraphExec_t(3)),
    "gpu_at": lambda device: gpu_at(device._cuda, 0),
    "device_count": lambda _: device_count(),
    "event for a stream": lambda device: device._call(
        "cudaEventCreateWithFlags",
        device._cuda.cudaEventBlockingSync | device._cuda.cudaEventDisableTiming,
    ),
    "synchronize": lambda device: device._call("cudaEventSynchronize", device._events[STREAM]),
    "destroy a stream": lambda device: device._call("cudaStreamDestroy", STREAM),
    "end of a capture": lambda device: device._call("cudaStreamEndCapture", STREAM),
    "instantiate": lambda device: device._call("cudaGraphInstantiate", device._cuda.cudaGraph_t(3), 0),
    "destroy a graph": lambda device: device._call("cudaGraphDestroy", device._cuda.cudaGraph_t(3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_call_reaches_the_driver_that_is_not_there(device: GpuDevice, name: str) -> None:
    """A wrong name or a wrong kind of argument is an error of Python's, raised before that."""
    with pytest.raises(SettingError, match="no GPU can be used: cudaErrorInsufficientDriver"):
        CALLS[name](device)


def test_cuda_says_name_and_compute_capability_where_they_are_read() -> None:
    properties = import_cuda().cudaDeviceProp()
    assert (properties.major, properties.minor) == (0, 0)
    assert isinstance(properties.name, bytes)


KINDS = {
    "trt": tensorrt_rtx,
    "self._engine": tensorrt_rtx.ICudaEngine,
    "self._runtime": tensorrt_rtx.Runtime,
    "context": tensorrt_rtx.IExecutionContext,
    "config": tensorrt_rtx.IRuntimeConfig,
    "strategies": tensorrt_rtx.DynamicShapesKernelSpecializationStrategy,
}
"""What the names in `tensorrt_device` stand for."""


def named() -> Iterator[tuple[str, str]]:
    """Yield each attribute that the backend takes of TensorRT's objects, after the name of the object."""
    for node in ast.walk(ast.parse(Path(tensorrt_device.__file__).read_text())):
        if isinstance(node, ast.Attribute) and (owner := ast.unparse(node.value)) in KINDS:
            yield owner, node.attr


def test_tensorrt_has_what_the_backend_takes_of_it() -> None:
    found = set(named())
    assert {owner for owner, _ in found} == set(KINDS)
    assert {f"{owner}.{name}" for owner, name in found if not hasattr(KINDS[owner], name)} == set()
