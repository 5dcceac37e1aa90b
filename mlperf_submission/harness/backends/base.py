"""What a backend is to the harness: it answers batches of sample indices on its streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Responses, SampleLoop, Samples
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.errors import SettingError


@dataclass(frozen=True)
class BackendOptions:
    """What a backend is opened with.

    Attributes:
        benchmark: gives the network's tensors, the inputs of a batch and the response bytes.
        precision: of the network, and so of its inputs.
        engine: the ONNX file (`onnxruntime`) or the built engine (`tensorrt`); None for `null`.
        samples: the preprocessed samples, memory-mapped; None for `null`.
        batch_size: the largest batch that `run` will be given.
        streams: streams per device, each driven by one thread of the harness.
        threads_per_stream: `onnxruntime` only; None divides the cores among the streams.
        devices: device ordinals; empty means all that the engine was built for.
        batch_seconds: `null` only: how long a batch takes.
        sample_seconds: `null` only: how much longer it takes for each of its samples.
    """

    benchmark: Benchmark | None
    precision: Precision
    engine: Path | None
    samples: Samples | None
    batch_size: int
    streams: int = 1
    threads_per_stream: int | None = None
    devices: tuple[int, ...] = ()
    batch_seconds: float = 0.0
    sample_seconds: float = 0.0

    def require(self, backend: str) -> tuple[Benchmark, Path, Samples]:
        """Return benchmark, engine and samples, which a real backend cannot do without.

        Raises:
            SettingError: one of them is missing.
        """
        if self.benchmark is None or self.engine is None or self.samples is None:
            raise SettingError(
                f"the backend {backend} needs a benchmark, an engine and samples",
                remedy="give all three in the run's request",
            )
        return self.benchmark, self.engine, self.samples


class Backend(Protocol):
    """A compiled network on one or several devices, with the samples resident where it wants them.

    `run` is called from one thread per stream at a time, from several streams at once. Everything that can be
    allocated before is allocated in the constructor or in `load`.
    """

    @property
    def name(self) -> str:
        """The backend's name with its version, e.g. `ONNX Runtime 1.32.0`."""

    @property
    def device_names(self) -> tuple[str, ...]:
        """One name per device that is used, e.g. `NVIDIA L40S` or the CPU's model name."""

    @property
    def details(self) -> Mapping[str, str]:
        """Further facts for the record: driver, threads, compute capability."""

    @property
    def streams(self) -> int:
        """How many streams there are over all devices; stream numbers are 0 to this number less one."""

    def load(self, indices: NDArray[np.int64]) -> None:
        """Make these samples resident (untimed: LoadGen's load callback)."""

    def unload(self) -> None:
        """Forget the resident samples."""

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        """Answer one batch of resident samples; blocks until the responses are in host memory.

        The responses may lie in memory that the next `run` of the same stream overwrites.
        """

    def close(self) -> None:
        """Free everything."""


class LoopBackend(Backend, Protocol):
    """A backend that can run the loop of a benchmark whose samples are answered by one (`LoopAnswer`)."""

    def open_loop(self, stream: int) -> SampleLoop:
        """Return a new loop on a stream; called by the thread that uses it."""


def backend_modules() -> dict[str, str]:
    """Return the module of each backend by name: a file beside this one, or `backend.py` in a folder."""
    here, package = Path(__file__), __name__.rpartition(".")[0]
    files = [path for path in here.parent.glob("*.py") if path.name not in (here.name, "__init__.py")]
    folders = [path.parent for path in here.parent.glob("*/backend.py")]
    return {path.stem: f"{package}.{path.stem}" for path in sorted(files)} | {
        path.name: f"{package}.{path.name}.backend" for path in sorted(folders)
    }


def open_backend(name: str, options: BackendOptions) -> Backend:
    """Open a backend by its name: calls `open_backend(options)` of its module, imported only now.

    Raises:
        SettingError: the backend is unknown; the message lists the known ones.
    """
    known = backend_modules()
    if name not in known:
        raise SettingError(f"unknown backend {name!r}", remedy=f"known backends: {', '.join(known)}")
    opener = cast("Callable[[BackendOptions], Backend]", import_module(known[name]).open_backend)
    return opener(options)
