"""CUDA's runtime through its Python bindings: import, number of GPUs, its errors as the project's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.errors import PipelineError, SettingError, StepFailedError


class CudaError(StepFailedError):
    """CUDA or TensorRT refused a call."""


@dataclass(frozen=True)
class GpuFacts:
    """One GPU as its driver describes it."""

    name: str
    compute_capability: str


def import_cuda() -> Any:
    """Import the bindings of CUDA's runtime.

    Raises:
        SettingError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise SettingError(
            f"cuda-bindings is not installed: {error}",
            where="this Python environment",
            remedy="pip install -e '.[gpu]' to run TensorRT engines, or choose backend onnxruntime",
        ) from error
    return runtime


def device_count() -> int:
    """Return the number of GPUs.

    Raises:
        SettingError: no cuda-bindings, no driver, or no GPU.
    """
    cuda = import_cuda()
    error, count = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess:
        raise cuda_error(cuda, error, "cudaGetDeviceCount")
    if count == 0:
        raise _no_gpu("there is no GPU")
    return int(count)


def gpu_at(cuda: Any, ordinal: int) -> GpuFacts:
    """Return what CUDA says of a GPU.

    Args:
        cuda: the bindings of CUDA's runtime.
        ordinal: CUDA's number of it.
    """
    error, properties = cuda.cudaGetDeviceProperties(ordinal)
    if error != cuda.cudaError_t.cudaSuccess:
        raise cuda_error(cuda, error, "cudaGetDeviceProperties")
    name = properties.name
    text = name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)
    return GpuFacts(text, f"{properties.major}.{properties.minor}")


def visible_gpus() -> tuple[GpuFacts, ...]:
    """Return the GPUs that CUDA sees, in the order of its ordinals.

    Raises:
        SettingError: no cuda-bindings, no driver, or no GPU.
    """
    cuda = import_cuda()
    return tuple(gpu_at(cuda, ordinal) for ordinal in range(device_count()))


def cuda_error(cuda: Any, error: Any, function: str) -> PipelineError:
    """Return the project's error for one of CUDA's."""
    kinds = cuda.cudaError_t
    text = f"{getattr(error, 'name', error)}"
    if error in (
        kinds.cudaErrorNoDevice,
        kinds.cudaErrorInsufficientDriver,
        kinds.cudaErrorInitializationError,
    ):
        return _no_gpu(text)
    if error == kinds.cudaErrorMemoryAllocation:
        return out_of_memory(function)
    if error == kinds.cudaErrorInvalidDevice:
        return SettingError(
            f"there is no such GPU ({text})", where=function, remedy="name devices that nvidia-smi lists"
        )
    return CudaError(
        f"CUDA refused {function}: {text}",
        where="the GPU",
        remedy="look for errors in nvidia-smi and the kernel's log, then start the same command again",
    )


def _no_gpu(text: str) -> SettingError:
    return SettingError(
        f"no GPU can be used: {text}",
        where="NVIDIA's driver",
        remedy="install or update the driver (nvidia-smi must list the GPU), or choose backend onnxruntime",
    )


def out_of_memory(what: str) -> CudaError:
    """Return the error for a lack of device memory."""
    return CudaError(
        f"out of memory for {what}",
        where="the GPU",
        remedy="choose a smaller batch_size or fewer streams, or end what else uses the GPU (nvidia-smi)",
    )
