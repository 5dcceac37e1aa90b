"""That the benchmarks measure what they say; how fast anything is they alone tell."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from mlperf_submission.harness.record import NullTiming, RunRequest
from mlperf_submission.rounds import Scenario
from models.registry import get_benchmark
from tools.benchmarks import mini, preprocessing
from tools.benchmarks.bounds import measure_backend
from tools.benchmarks.ceilings import settings_of


@pytest.mark.parametrize("what", ["loop", "plain", "beside"])
def test_a_bare_loop_over_a_backend_of_known_speed_is_no_faster_than_that(
    tmp_path: Path, what: Literal["loop", "plain", "beside"]
) -> None:
    request = RunRequest(
        settings=settings_of(Scenario.SERVER, 200, 0.5),
        benchmark="resnet50",
        backend="null",
        batch_size=10,
        streams=2,
        lock=tmp_path / "lock",
        null=NullTiming(batch_seconds=0.01, sample_count=2000),
    )
    rate = measure_backend(request, 0.5, tmp_path / "run", what=what)
    assert 0 < rate.samples_per_second < 2100, "two streams of 10 samples in 10 ms each"
    assert rate.cpu_seconds_per_sample > 0


def test_texts_through_the_harness_are_compared_with_loops_that_sort_and_do_not_sort_them(
    tmp_path: Path,
) -> None:
    prepared = mini.prepare(get_benchmark("bert-99"), tmp_path / "edition")
    rates = mini.offline(prepared, tmp_path / "runs", mini.Shape(8, 1, 2), seconds=0.5, repeats=1)
    assert rates.plain is not None and rates.gain is not None
    assert min(rates.loop, rates.plain, rates.harness) > 0
    assert rates.ratio == pytest.approx(rates.harness / rates.loop)
    assert rates.gain == pytest.approx(rates.harness / rates.plain)


def test_a_run_shorter_than_the_latency_limit_tells_nothing_about_server(tmp_path: Path) -> None:
    prepared = mini.prepare(get_benchmark("gptj-99"), tmp_path / "edition")
    shape = mini.Shape(8, 1, 2)
    assert mini.server(prepared, tmp_path / "runs", shape, seconds=3, offline_rate=80) is None


@pytest.mark.parametrize("name", ["gptj-99"])
def test_the_references_way_gives_as_many_samples_as_ours(tmp_path: Path, name: str) -> None:
    prepared = mini.prepare(get_benchmark(name), tmp_path / "edition")
    assert sum(1 for _ in preprocessing.REFERENCE[name](prepared)) == prepared.edition.sample_count
    rates = preprocessing.against_reference(prepared, tmp_path / "work", repeats=1)
    assert rates.ratio == pytest.approx(rates.second / rates.first)
