"""A stand-in for `tensorrt`: its engine is one small kernel with the input and the answer of resnet50.

With this folder first on the path the backend imports it in place of TensorRT, in the measuring child too. So
everything of ours around an engine runs on a real GPU: copies, pinned memory, streams, events, graphs. The
kernel answers a sample with a number made of its first bytes, and keeps its stream busy for a time that the
engine states: an engine file is that time in ns, as text. NVRTC compiles it (`nvidia-cuda-nvrtc`, which
PyTorch brings too).
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import driver, nvrtc, runtime

__version__ = "0.stand-in"
INPUT, OUTPUT = "input_tensor:0", "ArgMax:0"
SHAPE = (3, 224, 224)
MOST_ROWS = 4096
SEEN = 64
"""Bytes of a sample that its answer depends on."""
CLASSES = 1000
SOURCE = f"""
extern "C" __global__ void answer(const signed char* rows, long long* answers, unsigned long long busy_ns) {{
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    const signed char* row = rows + (size_t)blockIdx.x * {math.prod(SHAPE)};
    int sum = 0;
    for (int place = 0; place < {SEEN}; ++place) sum += (place + 1) * row[place];
    answers[blockIdx.x] = 1 + (sum % {CLASSES} + {CLASSES}) % {CLASSES};
    do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); while (now - start < busy_ns);
}}
"""

TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
ExecutionContextAllocationStrategy = SimpleNamespace(STATIC="static", ON_PROFILE_CHANGE="on change")
nptype = np.dtype


def expected(rows: np.ndarray[Any, np.dtype[np.int8]]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the classes (int32) that the kernel answers to samples with."""
    seen = rows.reshape(len(rows), -1)[:, :SEEN].astype(np.int64)
    return ((seen @ np.arange(1, SEEN + 1)) % CLASSES).astype(np.int32)


class ILogger:
    """TensorRT's, which says nothing here."""

    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)


class Runtime:
    """Loads engines onto the calling thread's GPU."""

    def __init__(self, _logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, content: Any) -> Engine:
        return Engine(int(bytes(content)))


class Engine:
    """One input and one output; only the batch is free."""

    num_io_tensors, num_optimization_profiles = 2, 1

    def __init__(self, busy_ns: int) -> None:
        self.busy_ns = busy_ns
        self.kernel = load_kernel()

    def get_tensor_name(self, index: int) -> str:
        return (INPUT, OUTPUT)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == INPUT else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        return np.int8 if name == INPUT else np.int64

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *SHAPE) if name == INPUT else (-1,)

    def get_tensor_profile_shape(self, name: str, _profile: int) -> tuple[tuple[int, ...], ...]:
        return tuple((rows, *self.get_tensor_shape(name)[1:]) for rows in (1, MOST_ROWS, MOST_ROWS))

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(set_execution_context_allocation_strategy=lambda _: None)

    def create_execution_context(self, _config: Any) -> Context:
        return Context(self)


class Context:
    """Launches the kernel on what it was told."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.addresses: dict[str, int] = {}
        self.count = 0

    def set_optimization_profile_async(self, _profile: int, _stream: int) -> bool:
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.count = shape[0]
        return True

    def execute_async_v3(self, stream: int) -> bool:
        values = (self.addresses[INPUT], self.addresses[OUTPUT], self._engine.busy_ns)
        arguments = [np.array([value], np.uint64) for value in values]
        pointers = np.array([one.ctypes.data for one in arguments], np.uint64)
        launched = driver.cuLaunchKernel(
            self._engine.kernel, self.count, 1, 1, 1, 1, 1, 0, stream, pointers.ctypes.data, 0
        )
        return bool(launched[0] == driver.CUresult.CUDA_SUCCESS)


def load_kernel() -> Any:
    """Compile the kernel for the calling thread's GPU and load it there."""
    _, ordinal = runtime.cudaGetDevice()
    _, properties = runtime.cudaGetDeviceProperties(ordinal)
    error, module = driver.cuModuleLoadData(compiled(f"sm_{properties.major}{properties.minor}"))
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the kernel cannot be loaded: {error}")
    _, kernel = driver.cuModuleGetFunction(module, b"answer")
    return kernel


def compiled(architecture: str) -> bytes:
    """Return the kernel as machine code of an architecture, e.g. `sm_89`.

    Raises:
        RuntimeError: NVRTC is not installed, or refuses.
    """
    _, program = nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"answer.cu", 0, [], [])
    options = [f"--gpu-architecture={architecture}".encode()]
    [error] = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(f"NVRTC refused the kernel: {log.decode().strip()}")
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    code: bytes = b" " * size
    nvrtc.nvrtcGetCUBIN(program, code)
    return code
