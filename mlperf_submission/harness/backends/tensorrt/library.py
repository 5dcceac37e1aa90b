"""Which TensorRT is there, `tensorrt` or `tensorrt_rtx`; they share one interface."""

from __future__ import annotations

import importlib
import importlib.util
from collections import deque
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from mlperf_submission.errors import SettingError
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts

LibraryName = Literal["tensorrt", "tensorrt_rtx"]
LIBRARIES: tuple[LibraryName, ...] = ("tensorrt", "tensorrt_rtx")
"""In the order of choice. Only `tensorrt_rtx` can build for another GPU than the one at hand."""
_CUDA_MAJORS = (13, 12, 11)
_KEPT_MESSAGES = 40


class EngineInfo(BaseModel):
    """What stands beside an engine file, as `<engine>.json`, so that a wrong machine is told why.

    Attributes:
        library: what built it, and alone can load it.
        version: of the library, e.g. `1.7.1.116`.
        compute_capability: of the GPUs that it runs on, e.g. `8.9`.
        precision: of the network, as the system file names it.
        max_batch_size: the largest batch that it takes, samples.
    """

    model_config = ConfigDict(frozen=True)
    library: LibraryName
    version: str
    compute_capability: str
    precision: str
    max_batch_size: int

    @staticmethod
    def path(engine: Path) -> Path:
        """Return the path of the file beside an engine."""
        return engine.with_name(f"{engine.name}.json")

    @staticmethod
    def beside(engine: Path) -> EngineInfo:
        """Read what stands beside an engine.

        Raises:
            SettingError: there is no engine, or nothing readable beside it.
        """
        path = EngineInfo.path(engine)
        remedy = "build the engine again; an engine and the .json file beside it belong together"
        if not engine.is_file():
            raise SettingError("there is no such engine", where=engine, remedy=remedy)
        try:
            return EngineInfo.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SettingError(
                f"the engine's description cannot be read: {error}", where=path, remedy=remedy
            ) from error


def library_for(compute_capability: str) -> LibraryName:
    """Return which TensorRT builds for GPUs of this compute capability here, without importing it.

    `tensorrt` builds for the GPU at hand only: for another one `tensorrt_rtx` is taken, if it is installed.

    Raises:
        SettingError: neither is installed; the message says how to install one.
    """
    installed = [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]
    if installed:
        is_at_hand = any(gpu.compute_capability == compute_capability for gpu in gpu_facts()[1])
        return installed[0] if is_at_hand else installed[-1]
    raise SettingError(
        "neither tensorrt nor tensorrt_rtx is installed, so no engine can be built or run",
        where="this Python environment",
        remedy="pip install -e '.[tensorrt-cu13]' on a machine with the GPU ('.[tensorrt-cu12]' where the "
        "driver is older than 580), or '.[tensorrt-rtx]' on one without; "
        "or choose backend onnxruntime in the system file",
    )


def import_library(name: LibraryName) -> Any:
    """Import a TensorRT.

    Raises:
        SettingError: it is not installed, or cannot be loaded (a missing system library, for example).
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise SettingError(
            f"{name} cannot be loaded: {error}",
            where="this Python environment",
            remedy=f"install {name} again",
        ) from error


def builder_identity(compute_capability: str) -> dict[str, JsonValue]:
    """Return what an engine depends on beside its network and settings, without building or importing much.

    Args:
        compute_capability: of the GPUs that it is for.

    Keys: library, version, cuda (major version that the library was made for, or None), driver (or None),
    gpus (names of those that it can be for; empty on a machine without one).

    Raises:
        SettingError: no TensorRT is installed.
    """
    name = library_for(compute_capability)
    driver, gpus = gpu_facts()
    names = {gpu.name for gpu in gpus if gpu.compute_capability == compute_capability}
    return {
        "library": name,
        "version": _version(name),
        "cuda": _cuda_major(name),
        "driver": driver,
        "gpus": [*sorted(names)],
    }


def gpu_facts() -> tuple[str | None, tuple[GpuFacts, ...]]:
    """Return the driver's version and the GPUs; (None, ()) on a machine without NVIDIA's driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no GPU: each is an error of its own there
        return None, ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = tuple(
            GpuFacts(
                str(pynvml.nvmlDeviceGetName(handle)),
                "{}.{}".format(*pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            )
            for handle in handles
        )
        return str(pynvml.nvmlSystemGetDriverVersion()), gpus
    except pynvml.NVMLError:
        return None, ()
    finally:
        pynvml.nvmlShutdown()


class Messages:
    """What TensorRT says: warnings and worse are passed on and kept, for the error that follows them.

    Attributes:
        logger: the object that TensorRT wants.
        problems: the last errors, without TensorRT's own prefixes.
    """

    def __init__(
        self, trt: Any, say: Callable[[str], None], on_info: Callable[[str], None] | None = None
    ) -> None:
        severities = trt.ILogger.Severity
        problems: deque[str] = deque(maxlen=_KEPT_MESSAGES)

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (severities.INTERNAL_ERROR, severities.ERROR):
                    problems.append(message)
                    say(f"TensorRT error: {message}")
                elif severity == severities.WARNING:
                    say(f"TensorRT warning: {message}")
                elif severity == severities.INFO and on_info:
                    on_info(message)

        self.problems = problems
        self.logger = Logger()

    @property
    def last(self) -> str:
        """The last errors in one line, newest last."""
        return " | ".join(list(self.problems)[-3:]) or "it gave no reason"


def _version(name: LibraryName) -> str:
    for distribution in (name, *(f"{name}_cu{major}" for major in _CUDA_MAJORS)):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return str(import_library(name).__version__)


def _cuda_major(name: LibraryName) -> str | None:
    for major in _CUDA_MAJORS:
        try:
            metadata.version(f"{name}_cu{major}")
        except metadata.PackageNotFoundError:
            continue
        return str(major)
    return None
