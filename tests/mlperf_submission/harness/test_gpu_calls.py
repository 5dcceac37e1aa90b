"""CUDA's and TensorRT's real Python bindings have every call that the backend makes; no GPU answers it."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorrt_rtx

from mlperf_submission.errors import SettingError
from mlperf_submission.harness.backends.tensorrt import device as tensorrt_device
from mlperf_submission.harness.backends.tensorrt.cuda import (
    GpuMemoryError,
    call,
    cuda_error,
    import_cuda,
    visible_gpus,
)
from mlperf_submission.harness.backends.tensorrt.device import GpuDevice
from mlperf_submission.harness.backends.tensorrt.library import gpu_facts

pytestmark = pytest.mark.skipif(bool(gpu_facts()[1]), reason="a GPU is here: test_tensorrt_gpu.py uses it")

STREAM = 5
ADDRESS = 1 << 40


@pytest.fixture
def device() -> GpuDevice:
    """A device whose every call reaches CUDA's runtime, which has no driver to pass it on to."""
    made = GpuDevice.__new__(GpuDevice)
    made._cuda, made._ordinal = import_cuda(), 0
    made._events = {STREAM: made._cuda.cudaEvent_t(7)}
    made._copy_attributes = [made._cuda.cudaMemcpyAttributes()]
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
    "clear": lambda device: device.clear(ADDRESS, 8, STREAM),
    "copy": lambda device: device.copy(ADDRESS, ADDRESS, 8, STREAM),
    "copy_each": lambda device: device.copy_each([ADDRESS, 8], [8, ADDRESS], [8, 8], STREAM),
    "copy_each, one by one": one_by_one,
    "wait": lambda device: device.wait(STREAM),
    "capture": lambda device: device.capture(STREAM, lambda: None),
    "launch": lambda device: device.launch(device._cuda.cudaGraphExec_t(3), STREAM),
    "free_graph": lambda device: device.free_graph(device._cuda.cudaGraphExec_t(3)),
    "properties of a GPU": lambda device: call(device._cuda, "cudaGetDeviceProperties", 0),
    "visible_gpus": lambda device: visible_gpus(device._cuda),
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


def test_a_lack_of_pinned_memory_is_no_lack_of_the_gpus() -> None:
    cuda = import_cuda()
    kinds = cuda.cudaError_t
    found = [
        cuda_error(cuda, kinds.cudaErrorMemoryAllocation, call) for call in ("cudaHostAlloc", "cudaMalloc")
    ]
    assert [type(one) for one in found] == [GpuMemoryError] * 2
    assert [one.where for one in found] == ["the host's memory", "the GPU"]


def test_cuda_says_name_and_compute_capability_where_they_are_read() -> None:
    properties = import_cuda().cudaDeviceProp()
    assert (properties.major, properties.minor, properties.totalGlobalMem) == (0, 0, 0)
    assert isinstance(properties.name, bytes)


NAMES: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())
"""The names that TensorRT's bindings have, by version and class (`python -m tools.record_bindings`)."""
KINDS = {
    "device.py": {
        "self._trt": "module",
        "self._engine": "ICudaEngine",
        "self._runtime": "Runtime",
        "context": "IExecutionContext",
        "config": "IRuntimeConfig",
        "self._trt.TensorIOMode": "TensorIOMode",
        "strategies": "ExecutionContextAllocationStrategy",
    },
    "build.py": {
        "trt": "module",
        "trt.NetworkDefinitionCreationFlag": "NetworkDefinitionCreationFlag",
        "builder": "Builder",
        "config": "IBuilderConfig",
        "self._config": "IBuilderConfig",
        "self._config.get_timing_cache()": "ITimingCache",
        "definition": "INetworkDefinition",
        "definition.get_layer(layer)": "ILayer",
        "definition.get_input(index)": "ITensor",
        "parser": "OnnxParser",
        "error": "ParserError",
        "profile": "IOptimizationProfile",
    },
    "library.py": {
        "trt": "module",
        "trt.ILogger": "ILogger",
        "severities": "ILogger.Severity",
        "import_library(name)": "module",
    },
    "backend.py": {"trt": "module"},
}
"""What the expressions in these files stand for."""
OF_RTX = {
    *("ComputeCapability", "num_compute_capabilities", "set_compute_capability"),
    *("DynamicShapesKernelSpecializationStrategy", "dynamic_shapes_kernel_specialization_strategy"),
}
"""Names that only TensorRT for RTX has, and that are used only with it."""


def used() -> set[tuple[str, str]]:
    """Return class and name of everything that we take of TensorRT's objects."""
    found = set()
    for file, kinds in KINDS.items():
        tree = ast.parse(Path(tensorrt_device.__file__).with_name(file).read_text())
        seen = {
            (ast.unparse(node.value), node.attr) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
        }
        assert kinds.keys() <= {owner for owner, _ in seen}, file
        found |= {(kinds[owner], name) for owner, name in seen if owner in kinds}
    return {(kind, name) for kind, name in found if not name.startswith("_")}


def test_the_recorded_versions_are_those_that_the_extras_install() -> None:
    assert {version.split(".")[0] for version in NAMES} == {"10", "11"}


@pytest.mark.parametrize("version", NAMES)
def test_tensorrt_has_what_we_take_of_it(version: str) -> None:
    names = {kind: set(text.split()) for kind, text in NAMES[version].items()}
    assert {name for kind, name in used() if name not in names[kind]} == OF_RTX


def test_tensorrt_for_rtx_has_what_we_take_of_it() -> None:
    def of(kind: str) -> object:
        return functools.reduce(getattr, kind.split(".") if kind != "module" else (), tensorrt_rtx)

    assert {f"{kind}.{name}" for kind, name in used() if not hasattr(of(kind), name)} == set()
