"""How well a converted network answers beside the one that it was made from, with ONNX Runtime on the CPU.

As a child process (`python -m models.network.agreement`) it takes an `AgreementRequest`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, JsonValue

from mlperf_submission.benchmark.answer import (
    Answer,
    Arrays,
    BatchAnswer,
    Responses,
    SampleLoop,
    Samples,
    ShapedSession,
)
from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import Benchmark, OnProgress, Progress, TensorSpec, ignore_progress
from mlperf_submission.errors import NetworkFileError, SettingError
from mlperf_submission.process import serve_request
from models.network.calibration import as_input, batch_size_for, int8_inputs
from models.network.progress import progress_printer
from models.network.source import whole_network
from models.network.state import DTYPES, StatefulRunner, has_state

SAMPLE_LIMIT = 1000
"""Enough to see a conversion that failed; the accuracy run of the harness is what counts."""


@dataclass(frozen=True)
class Agreement:
    """What both networks answered to the same samples.

    Attributes:
        samples: how many samples were compared.
        metric: the benchmark's first metric.
        reference: its value for the network that was converted.
        converted: its value for the converted one.
        equal_share: share of samples (0 to 1) whose response bytes are equal.
    """

    samples: int
    metric: str
    reference: float
    converted: float
    equal_share: float


class AgreementRequest(BaseModel):
    """What the child process is asked for; the fields are `agreement`'s, folders in place of open samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reference: Path
    converted: Path
    benchmark: str
    samples: Path
    dataset: Path
    edition: Edition
    sample_limit: int = SAMPLE_LIMIT


def agreement(
    reference: Path,
    converted: Path,
    *,
    benchmark: Benchmark,
    samples: Samples,
    dataset: Path,
    edition: Edition,
    sample_limit: int = SAMPLE_LIMIT,
    on_progress: OnProgress = ignore_progress,
) -> Agreement:
    """Run two networks on the same samples, spread evenly over the data set, and compare their answers.

    Samples are brought to each network's own input dtype, so that an FP32 network can be compared with one
    that takes INT8 samples.

    Args:
        reference: the ONNX file that was converted.
        converted: the ONNX file that came out.
        benchmark: it batches, makes the responses and scores them.
        samples: preprocessed samples of any precision.
        dataset: the data set's folder, with the ground truth.
        edition: the edition that the data set is of.
        sample_limit: at most so many samples are run.
        on_progress: told how many samples were run, of both networks together.

    Raises:
        NetworkFileError: ONNX Runtime cannot load one of the networks.
        SettingError: there are no samples.
    """
    count = min(len(samples), sample_limit)
    if count < 1:
        raise SettingError("there are no samples to compare two networks on", where=dataset)
    indices = np.linspace(0, len(samples) - 1, count).astype(np.int64)
    batch = batch_size_for(benchmark.network.source_inputs("fp32"))
    answers: list[list[bytes]] = []
    before = reference if benchmark.network.is_exported else whole_network(reference, benchmark)
    for network in (before, converted):
        session = CpuSession(network, int8_inputs(benchmark), batch_size=batch)
        rows: list[bytes] = []
        for start in range(0, count, batch):
            chosen = indices[start : start + batch]
            rows += answer_all(benchmark.answer, session, samples, chosen)
            on_progress(Progress(len(answers) * count + len(rows), 2 * count))
        answers.append(rows)
    scores = [
        benchmark.scorer.score(
            [_Entry(int(index), data) for index, data in zip(indices, rows, strict=True)], dataset, edition
        )
        for rows in answers
    ]
    equal = sum(one == other for one, other in zip(*answers, strict=True))
    first, second = (score.metrics[benchmark.scorer.metric] for score in scores)
    return Agreement(count, benchmark.scorer.metric, first, second, equal / count)


def answer_all(
    answer: Answer, session: ShapedSession, samples: Samples, indices: NDArray[np.int64]
) -> list[bytes]:
    """Return the response bytes of some samples, in their order; together at most a batch of the session."""
    if isinstance(answer, BatchAnswer):
        return _parts(answer.batch(session, samples, indices))
    return drained(answer.open(session, samples), indices)


def drained(loop: SampleLoop, indices: NDArray[np.int64]) -> list[bytes]:
    """Let samples enter a loop until all are answered; return their response bytes, in their order."""
    waiting = deque(enumerate(indices.tolist()))
    found: dict[int, bytes] = {}
    while waiting or not loop.is_idle:
        while waiting and loop.room:
            number, index = waiting.popleft()
            loop.admit([number], np.array([index], np.int64))
        step = loop.step()
        found.update(zip(step.finished, _parts(step.responses), strict=True))
    return [found[number] for number in range(len(indices))]


def _parts(responses: Responses) -> list[bytes]:
    pairs = zip(responses.offsets[:-1], responses.offsets[1:], strict=True)
    return [responses.data[first:last].tobytes() for first, last in pairs]


class CpuSession:
    """An ONNX network (a file, or at most 2 GB in memory) on the CPU: brings inputs to its dtypes first."""

    def __init__(
        self,
        network: Path | ModelProto,
        int8: Mapping[str, TensorSpec],
        *,
        batch_size: int = 1,
    ) -> None:
        import onnxruntime

        self.batch_size = batch_size

        where = network if isinstance(network, Path) else network.graph.name
        content = str(network) if isinstance(network, Path) else network.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise NetworkFileError(
                f"ONNX Runtime cannot load the network: {error}", where=where, remedy="quantize it again"
            ) from error
        self._dtypes = {value.name: DTYPES.get(value.type, "float32") for value in self._session.get_inputs()}
        self._names = [value.name for value in self._session.get_outputs()]
        self._keeper = StatefulRunner(self._session, where) if has_state(self._session) else None
        self.input_shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self._int8 = int8

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch; `first_row` counts for networks with a state."""
        feeds = {
            name: as_input(values, self._dtypes[name], self._int8.get(name))
            for name, values in inputs.items()
        }
        if self._keeper:
            return self._keeper.run(feeds, first_row)
        return dict(zip(self._names, self._session.run(None, feeds), strict=True))


@dataclass(frozen=True)
class _Entry:
    qsl_idx: int
    data: bytes


def _main(request: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    from models.registry import get_benchmark

    asked = AgreementRequest.model_validate(request)
    benchmark = get_benchmark(asked.benchmark)
    return asdict(
        agreement(
            asked.reference,
            asked.converted,
            benchmark=benchmark,
            samples=benchmark.data.open(asked.samples),
            dataset=asked.dataset,
            edition=asked.edition,
            sample_limit=asked.sample_limit,
            on_progress=progress_printer(),
        )
    )


if __name__ == "__main__":
    serve_request(_main)
