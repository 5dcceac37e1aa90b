"""ONNX Runtime on the CPU: one session per stream, the cores divided among them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import (
    Arrays,
    BatchAnswer,
    LoopAnswer,
    Responses,
    SampleLoop,
    Samples,
    StackedSamples,
)
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.errors import NetworkFileError
from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.samples import ResidentSamples, StreamSamples
from models.network.state import PAST, PRESENT, StatefulRunner, has_state


def cpu_model() -> str:
    """Return the CPU's model name as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class OnnxSession:
    """A compiled network on one stream; `infer` may be called from one thread at a time."""

    def __init__(
        self, network: Path, threads: int, benchmark: Benchmark, precision: Precision, batch_size: int = 1
    ) -> None:
        self.batch_size = batch_size
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Threads that spin between batches would take the cores from LoadGen and from the other streams.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common class for what it raises here
            raise NetworkFileError(
                f"ONNX Runtime cannot open the network: {str(error)[:300]}",
                where=network,
                remedy="see that it is an ONNX file; quantise it again if it is one of ours",
            ) from error
        self._keeper = (
            StatefulRunner(self._session, network, batch_size) if has_state(self._session) else None
        )
        inputs = {value.name for value in self._session.get_inputs() if not value.name.startswith(PAST)}
        outputs = {value.name for value in self._session.get_outputs() if not value.name.startswith(PRESENT)}
        self.input_shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        wanted = {spec.name for spec in benchmark.network.inputs(precision)}
        self._outputs = [spec.name for spec in benchmark.network.outputs if spec.name in outputs]
        if inputs != wanted or not self._outputs:
            raise NetworkFileError(
                f"the network takes {sorted(inputs)} and returns {sorted(outputs)}; {benchmark.name} takes "
                f"{sorted(wanted)} and returns {[spec.name for spec in benchmark.network.outputs]}",
                where=network,
                remedy="name a network of this benchmark and precision",
            )

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch, the first dimension of every input and output; a state's from `first_row` on."""
        if self._keeper:
            return self._keeper.run(inputs, first_row)
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class OnnxBackend:
    """Batches on the CPU through ONNX Runtime."""

    def __init__(self, options: BackendOptions) -> None:
        benchmark, network, samples = options.require("onnxruntime")
        cores = usable_cores()
        self.streams = options.streams
        threads = options.threads_per_stream or max(1, cores // self.streams)
        self.name = f"ONNX Runtime {ort.__version__}"
        self.device_names = (cpu_model(),)
        self.details: Mapping[str, str] = {
            "cores": str(cores),
            "streams": str(self.streams),
            "threads_per_stream": str(threads),
        }
        self._answer = benchmark.answer
        self._sessions = [
            OnnxSession(network, threads, benchmark, options.precision, options.batch_size)
            for _ in range(self.streams)
        ]
        self._resident: ResidentSamples | None = None
        self._views: list[StreamSamples] = []
        self._samples: list[Samples] = [samples] * self.streams
        if isinstance(samples, StackedSamples):
            self._resident = ResidentSamples(samples)
            self._views = [
                StreamSamples(self._resident, len(samples), options.batch_size) for _ in self._sessions
            ]
            self._samples = list(self._views)

    def load(self, indices: NDArray[np.int64]) -> None:
        """Copy these samples into memory."""
        if self._resident:
            self._resident.load(indices)
            for view in self._views:
                view.prepare()

    def unload(self) -> None:
        """Free the samples' memory."""
        if self._resident:
            self._resident.unload()

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        """Answer one batch on the session of this stream."""
        return cast(BatchAnswer, self._answer).batch(self._sessions[stream], self._samples[stream], indices)

    def open_loop(self, stream: int) -> SampleLoop:
        """Return a loop of the benchmark on the session of this stream."""
        return cast(LoopAnswer, self._answer).open(self._sessions[stream], self._samples[stream])

    def close(self) -> None:
        """Free the sessions."""
        self._sessions.clear()


def open_backend(options: BackendOptions) -> OnnxBackend:
    """Open the CPU backend.

    Raises:
        SettingError: benchmark, network or samples are missing.
        NetworkFileError: the file is no network, or not one of this benchmark.
    """
    return OnnxBackend(options)
