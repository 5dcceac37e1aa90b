"""CUDA's runtime through its Python bindings: import, number of GPUs, its errors as the project's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlperf_submission.errors import PipelineError, SettingError, StepFailedError


class CudaError(StepFailedError):
    """CUDA or TensorRT refused a call."""

    usual_code = "gpu-failed"


class GpuMemoryError(CudaError):
    """The memory of a GPU, or pinned memory, does not hold what is asked for; the GPU did not fail."""

    usual_code = ""


@dataclass(frozen=True)
class GpuFacts:
    """One GPU as its driver describes it; `memory` in bytes, 0 where it was not asked for."""

    name: str
    compute_capability: str
    memory: int = 0


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


def call(cuda: Any, function: str, *arguments: Any) -> Any:
    """Call a function of CUDA's runtime; return its first value, or None if it has none.

    Where a call fails, some versions of the bindings leave the values out.

    Raises:
        PipelineError: CUDA refuses it.
    """
    error, *values = getattr(cuda, function)(*arguments)
    if error != cuda.cudaError_t.cudaSuccess:
        raise cuda_error(cuda, error, function)
    return values[0] if values else None


def visible_gpus(cuda: Any) -> tuple[GpuFacts, ...]:
    """Return the GPUs that CUDA sees, in the order of its ordinals.

    Args:
        cuda: the bindings of CUDA's runtime (`import_cuda`).

    Raises:
        SettingError: no driver, or no GPU.
    """
    count = call(cuda, "cudaGetDeviceCount")
    if not count:
        raise _no_gpu("there is no GPU")
    return tuple(_gpu_at(cuda, ordinal) for ordinal in range(count))


def gpus_like(
    found: Sequence[GpuFacts], compute_capability: str, name: str = "", *, only_name: bool = False
) -> tuple[int, ...]:
    """Return the ordinals of the GPUs of a compute capability, those with a name before others.

    A host may have a further GPU of another kind, for its display or for other work.

    Args:
        found: the GPUs in the order of their ordinals.
        compute_capability: e.g. `8.9`.
        name: as CUDA gives it, e.g. `NVIDIA L40S`.
        only_name: leave those out that have another name.
    """
    fitting = [number for number, gpu in enumerate(found) if gpu.compute_capability == compute_capability]
    named = [number for number in fitting if found[number].name == name]
    others = [] if only_name else [number for number in fitting if found[number].name != name]
    return (*named, *others)


def _gpu_at(cuda: Any, ordinal: int) -> GpuFacts:
    properties = call(cuda, "cudaGetDeviceProperties", ordinal)
    name = properties.name
    text = name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)
    capability = f"{properties.major}.{properties.minor}"
    return GpuFacts(text, capability, int(properties.totalGlobalMem))


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
    if error == kinds.cudaErrorMemoryAllocation and function == "cudaHostAlloc":
        return GpuMemoryError(
            "the host has no pinned memory left for the samples and buffers that GPUs copy from",
            where="the host's memory",
            remedy="free memory of the host, or choose a smaller batch_size or fewer streams",
        )
    if error == kinds.cudaErrorMemoryAllocation:
        return out_of_memory(function)
    if error == kinds.cudaErrorInvalidDevice:
        return SettingError(
            f"there is no such GPU ({text})",
            where=function,
            remedy="name devices that nvidia-smi lists",
            code="gpu-failed",
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
        code="gpu-failed",
    )


def out_of_memory(what: str) -> GpuMemoryError:
    """Return the error for a lack of device memory."""
    return GpuMemoryError(
        f"out of memory for {what}",
        where="the GPU",
        remedy="choose a smaller batch_size or fewer streams, or end what else uses the GPU (nvidia-smi)",
    )
