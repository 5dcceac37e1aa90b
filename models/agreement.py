"""How well a converted network answers beside the one that it was made from, with ONNX Runtime on the CPU.

As a child process (`python -m models.agreement`) it takes an `AgreementRequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, JsonValue

from common.errors import NetworkFileError, SettingError
from common.process import serve_request
from models.benchmark import (
    Arrays,
    Benchmark,
    Edition,
    OnProgress,
    Progress,
    Samples,
    ignore_progress,
)
from models.calibration import as_input, batch_size_for, input_scales
from models.onnx_checks import read_network
from models.onnx_state import DTYPES, StatefulRunner, has_state
from models.quantization import progress_printer

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
    batch = batch_size_for(benchmark.inputs)
    answers: list[list[bytes]] = []
    for path in (reference, converted):
        session = CpuSession(path, input_scales(benchmark), _adapting(benchmark))
        rows: list[bytes] = []
        for start in range(0, count, batch):
            chosen = indices[start : start + batch]
            responses = benchmark.run_batch(session, samples, chosen)
            rows += [
                responses.data[first:last].tobytes()
                for first, last in zip(responses.offsets[:-1], responses.offsets[1:], strict=True)
            ]
            on_progress(Progress(len(answers) * count + len(rows), 2 * count))
        answers.append(rows)
    scores = [
        benchmark.score(
            [_Entry(int(index), data) for index, data in zip(indices, rows, strict=True)], dataset, edition
        )
        for rows in answers
    ]
    equal = sum(one == other for one, other in zip(*answers, strict=True))
    first, second = (score.metrics[benchmark.metric] for score in scores)
    return Agreement(count, benchmark.metric, first, second, equal / count)


class CpuSession:
    """An ONNX network on the CPU, as a `Session`: brings its inputs to the network's dtypes first.

    `adapt` brings a published network to the benchmark's form (at most 2 GB then); None where it has it.
    """

    batch_size = 1
    """Of benchmarks that batch by themselves; the others get what `agreement` hands over."""

    def __init__(
        self,
        path: Path,
        scales: Mapping[str, float],
        adapt: Callable[[ModelProto], ModelProto] | None = None,
    ) -> None:
        import onnxruntime

        network = str(path) if adapt is None else adapt(read_network(path)).SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise NetworkFileError(
                f"ONNX Runtime cannot load the network: {error}", where=path, remedy="quantize it again"
            ) from error
        self._dtypes = {value.name: DTYPES.get(value.type, "float32") for value in self._session.get_inputs()}
        self._names = [value.name for value in self._session.get_outputs()]
        self._keeper = StatefulRunner(self._session, path) if has_state(self._session) else None
        self.input_shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self._scales = scales

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch; `first_row` counts for networks with a state."""
        feeds = {
            name: as_input(values, self._dtypes[name], self._scales.get(name, 1.0))
            for name, values in inputs.items()
        }
        if self._keeper:
            return self._keeper.run(feeds, first_row)
        return dict(zip(self._names, self._session.run(None, feeds), strict=True))


def _adapting(benchmark: Benchmark) -> Callable[[ModelProto], ModelProto] | None:
    """Return the benchmark's `adapt` if it has one of its own: others' files are opened where they lie."""
    return None if type(benchmark).adapt is Benchmark.adapt else benchmark.adapt


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
            samples=benchmark.open_samples(asked.samples),
            dataset=asked.dataset,
            edition=asked.edition,
            sample_limit=asked.sample_limit,
            on_progress=progress_printer(),
        )
    )


if __name__ == "__main__":
    serve_request(_main)
