from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Responses
from mlperf_submission.harness.batching import Collector, QueryCutter
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.harness.sut import SystemUnderTest
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission.accuracy_log import AccuracyLogEntry, read_accuracy
from tests.mlperf_submission.harness.in_process import run_in_process

SAMPLES = 90


def even(indices: NDArray[np.int64]) -> Responses:
    return Responses.from_rows(np.stack([indices, indices * 3], axis=1).astype("<i4"))


def huge(indices: NDArray[np.int64]) -> Responses:
    return Responses.from_rows(np.repeat(indices.astype("<i8")[:, None], 1000, axis=1))


def uneven(indices: NDArray[np.int64]) -> Responses:
    parts = [np.full(index % 5, index, np.uint8) for index in indices.tolist()]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Responses(np.concatenate([*parts, np.empty(0, np.uint8)]), offsets)


def mixed(indices: NDArray[np.int64]) -> Responses:
    return even(indices) if len(indices) % 2 else uneven(indices)


class FunctionBackend:
    """Answers with a function; two streams, whose response memory is overwritten after each batch."""

    name = "function"
    device_names = ("here",)
    details: ClassVar[dict[str, str]] = {}
    streams = 2

    def __init__(self, function: Callable[[NDArray[np.int64]], Responses]) -> None:
        self.function = function
        self.loaded: list[int] = []
        self.last: list[Responses | None] = [None, None]

    def load(self, indices: NDArray[np.int64]) -> None:
        self.loaded += indices.tolist()

    def unload(self) -> None:
        pass

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        last = self.last[stream]
        if last is not None:
            last.data.fill(0xEE)
        self.last[stream] = self.function(indices)
        return self.last[stream] or Responses.from_rows(indices)

    def close(self) -> None:
        pass


def run_loadgen(settings: RunSettings, backend: FunctionBackend, folder: Path) -> list[AccuracyLogEntry]:
    errors: list[BaseException] = []
    source = Collector(8, 100_000) if settings.scenario is Scenario.SERVER else QueryCutter(8)
    system = SystemUnderTest(backend, source, 8, errors.append)
    run_in_process(
        system,
        errors,
        settings,
        folder,
        samples=SAMPLES,
        resident=40,
        load=lambda indices: backend.load(np.array(indices)),
        unload=lambda _: backend.unload(),
    )
    assert system.completed == SAMPLES
    return sorted(read_accuracy(folder / "mlperf_log_accuracy.json"), key=lambda entry: entry.qsl_idx)


@pytest.mark.parametrize("scenario", [Scenario.OFFLINE, Scenario.SERVER])
@pytest.mark.parametrize("function", [even, huge, uneven, mixed])
def test_loadgen_gets_exactly_the_bytes_of_each_sample(
    tmp_path: Path,
    make_settings: Callable[..., RunSettings],
    scenario: Scenario,
    function: Callable[[NDArray[np.int64]], Responses],
) -> None:
    settings = make_settings(scenario, kind=RunKind.ACCURACY, samples=40, target_qps=5000)
    backend = FunctionBackend(function)
    entries = run_loadgen(settings, backend, tmp_path)
    assert [entry.qsl_idx for entry in entries] == list(range(SAMPLES))
    assert sorted(backend.loaded) == list(range(SAMPLES))
    if function is not mixed:  # whose bytes depend on the batch
        for entry in entries:
            expected = function(np.array([entry.qsl_idx]))
            assert entry.data == expected.data.tobytes()


def test_an_answer_of_the_wrong_length_is_an_error_of_the_run(
    make_settings: Callable[..., RunSettings],
) -> None:
    failed = threading.Event()
    errors: list[BaseException] = []
    source = QueryCutter(4)

    def fail(error: BaseException) -> None:
        errors.append(error)
        failed.set()

    system = SystemUnderTest(FunctionBackend(lambda indices: even(indices[1:])), source, 4, fail)
    system.start()
    source.put([1, 2, 3, 4], [0, 1, 2, 3])
    assert failed.wait(10)
    system.stop()
    assert "3 responses for a batch of 4" in str(errors[0])
