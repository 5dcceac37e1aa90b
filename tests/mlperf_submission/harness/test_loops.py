"""Loops behind real LoadGen: samples that take unequally long, slots that stay full, first tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import LoopStep, Responses, SampleLoop
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.harness.backends.base import BackendOptions
from mlperf_submission.harness.backends.onnxruntime import OnnxBackend
from mlperf_submission.harness.batching import Waiting
from mlperf_submission.harness.run import RunRequest, measure
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.harness.sut import LoopSystem
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.submission.accuracy_log import read_accuracy
from mlperf_submission.submission.detail_log import read_detail
from models.gptj.mini import files as gptj_files
from models.network.agreement import drained
from models.registry import get_benchmark
from tests.mlperf_submission.harness.in_process import run_in_process
from tests.waiting import PATIENCE

MakeSettings = Callable[..., RunSettings]
SAMPLES, SLOTS = 60, 4


def steps_of(index: int) -> int:
    return 1 + 7 * index % 11


def answer_of(index: int) -> bytes:
    return np.arange(index, index + steps_of(index) + 1, dtype="<i4").tobytes()


class CountingLoop:
    """Sample i takes 1 to 11 steps; its answer, one token longer, is that many numbers from i on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.work: dict[int, tuple[int, int]] = {}
        self.full: list[int] = []
        self.fails_at = fails_at

    @property
    def room(self) -> int:
        return SLOTS - len(self.work)

    @property
    def is_idle(self) -> bool:
        return not self.work

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        assert len(ids) <= self.room
        self.work |= {id_: (index, steps_of(index)) for id_, index in zip(ids, indices.tolist(), strict=True)}

    def step(self) -> LoopStep:
        assert self.work
        self.full.append(len(self.work))
        if len(self.full) == self.fails_at:
            raise RuntimeError("a slot broke")
        begun = [id_ for id_, (index, left) in self.work.items() if left == steps_of(index)]
        tokens = np.array([self.work[id_][0] for id_ in begun], np.int32)
        self.work = {id_: (index, left - 1) for id_, (index, left) in self.work.items()}
        done = {id_: index for id_, (index, left) in self.work.items() if not left}
        for id_ in done:
            del self.work[id_]
        parts = [np.frombuffer(answer_of(index), np.uint8) for index in done.values()]
        offsets = np.concatenate(([0], np.cumsum([part.size for part in parts]))).astype(np.int64)
        data = np.concatenate([np.empty(0, np.uint8), *parts])
        return LoopStep(list(done), Responses(data, offsets, np.diff(offsets) // 4), begun, tokens)


class LoopingBackend:
    name = "loops"
    device_names = ("here",)
    details: ClassVar[dict[str, str]] = {}

    def __init__(self, streams: int, fails_at: int | None = None) -> None:
        self.streams = streams
        self.loops = [CountingLoop(fails_at) for _ in range(streams)]

    def load(self, indices: NDArray[np.int64]) -> None:
        pass

    def unload(self) -> None:
        pass

    def run(self, stream: int, indices: NDArray[np.int64]) -> Responses:
        raise AssertionError("a benchmark with a loop is not asked for batches")

    def open_loop(self, stream: int) -> SampleLoop:
        return self.loops[stream]

    def close(self) -> None:
        pass


def run_loadgen(settings: RunSettings, backend: LoopingBackend, folder: Path) -> LoopSystem:
    errors: list[BaseException] = []
    source = Waiting()
    online = settings.use_token_latencies and settings.scenario is Scenario.SERVER
    system = LoopSystem(backend, source, errors.append, first_tokens=online)
    run_in_process(system, errors, settings, folder, samples=SAMPLES, resident=SAMPLES)
    return system


@pytest.mark.parametrize("scenario", [Scenario.OFFLINE, Scenario.SERVER])
@pytest.mark.parametrize("streams", [1, 3])
def test_every_sample_is_answered_once_with_its_own_bytes(
    tmp_path: Path, make_settings: MakeSettings, scenario: Scenario, streams: int
) -> None:
    settings = make_settings(scenario, kind=RunKind.ACCURACY, samples=SAMPLES, target_qps=5000)
    backend = LoopingBackend(streams)
    system = run_loadgen(settings, backend, tmp_path)
    entries = sorted(read_accuracy(tmp_path / "mlperf_log_accuracy.json"), key=lambda entry: entry.qsl_idx)
    assert [entry.qsl_idx for entry in entries] == list(range(SAMPLES))
    assert all(entry.data == answer_of(entry.qsl_idx) for entry in entries)
    assert system.completed == SAMPLES
    assert system.batches == sum(len(loop.full) for loop in backend.loops)


def test_slots_stay_full_while_samples_wait(tmp_path: Path, make_settings: MakeSettings) -> None:
    settings = make_settings(kind=RunKind.ACCURACY, samples=SAMPLES)
    backend = LoopingBackend(1)
    run_loadgen(settings, backend, tmp_path)
    full = backend.loops[0].full
    longest = max(map(steps_of, range(SAMPLES)))
    assert all(count == SLOTS for count in full[:-longest])
    assert sum(full) == sum(map(steps_of, range(SAMPLES)))


def test_loadgen_learns_first_tokens_and_numbers_of_tokens_where_the_round_asks_for_them(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    settings = make_settings(Scenario.SERVER, samples=SAMPLES, target_qps=3000).model_copy(
        update={
            "use_token_latencies": True,
            "first_token_latency_ns": 10**10,
            "per_token_latency_ns": 10**10,
        }
    )
    system = run_loadgen(settings, LoopingBackend(2), tmp_path)
    log = read_detail(tmp_path / "mlperf_log_detail.txt")
    assert log.errors == ()
    assert log.require("requested_use_token_latencies") is True
    assert log.require("result_validity") == "VALID"
    assert 0 < log.require("result_first_token_99.00_percentile_latency_ns") < 10**10
    assert log.require("result_time_per_output_token_99.00_percentile_ns") >= 0
    queries = log.require("result_query_count")
    assert system.completed == queries
    mean = np.mean([steps_of(index) + 1 for index in range(SAMPLES)])
    per_query = log.require("result_completed_tokens_per_second") / log.require(
        "result_completed_samples_per_sec"
    )
    assert per_query == pytest.approx(mean, rel=0.1)


def test_a_step_that_fails_is_an_error_of_the_run() -> None:
    failed = threading.Event()
    errors: list[BaseException] = []

    def fail(error: BaseException) -> None:
        errors.append(error)
        failed.set()

    source = Waiting()
    system = LoopSystem(LoopingBackend(1, fails_at=1), source, fail)
    system.start()
    source.put([1, 2], [0, 1])
    assert failed.wait(10)
    system.stop()
    assert "a slot broke" in str(errors[0])


def test_gptj_answers_in_flight_as_it_does_in_batches_and_tells_its_tokens(
    tmp_path: Path, make_settings: MakeSettings, lock: Path
) -> None:
    gptj = get_benchmark("gptj-99")
    dataset, samples = tmp_path / "dataset", tmp_path / "samples"
    for folder in (dataset, samples):
        folder.mkdir()
    edition = gptj.data.mini_edition(gptj.data.make_mini(dataset, 12, ignore_progress))
    gptj.data.preprocess(
        Preprocessing(
            dataset,
            samples,
            edition=edition,
            subset="validation",
            precision="fp32",
            workers=1,
        )
    )
    network = dataset / gptj_files.NETWORK_FILE
    request = RunRequest(
        settings=make_settings(Scenario.SERVER, kind=RunKind.ACCURACY, samples=12, target_qps=40).model_copy(
            update={"use_token_latencies": True}
        ),
        benchmark="gptj-99",
        backend="onnxruntime",
        engine=network,
        samples=samples,
        batch_size=5,
        lock=lock,
    )
    outcome = measure(request, tmp_path / "run", timeout_seconds=PATIENCE)
    assert outcome.valid, outcome.reasons
    assert outcome.child.batches > outcome.child.completed_samples == 12
    options = BackendOptions(gptj, "fp32", network, gptj.data.open(samples), 12)
    backend = OnnxBackend(options)
    expected = drained(backend.open_loop(0), np.arange(12))
    entries = {entry.qsl_idx: entry for entry in read_accuracy(tmp_path / "run" / "mlperf_log_accuracy.json")}
    assert len(entries) == 12
    for index, entry in entries.items():
        assert entry.data == expected[index]
