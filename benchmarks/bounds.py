"""What bounds the harness, each measured in a child process of its own: LoadGen alone, bare loops, or both.

The child holds the host's lock like any measurement.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from common.process import LOCKED_LINE, run_module, serve_request
from harness.record import RunRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.backends.base import Backend, LoopBackend

_SWITCH_SECONDS = 2e-4
"""As in harness.child."""


class BoundRequest(BaseModel):
    """What to measure.

    Attributes:
        what: `loadgen`: LoadGen with a callback that completes at once; `loop`: a bare loop over the backend
            that is fed as the harness feeds it; `plain`: one that takes the samples as they are listed, in
            batches that are finished together; `beside`: a bare loop while LoadGen runs alone beside it.
        run: the run that it bounds; its settings, backend and samples are used.
        seconds: length of the bare loop; of `beside` that of the run.
    """

    model_config = ConfigDict(frozen=True)

    what: Literal["loadgen", "loop", "plain", "beside"]
    run: RunRequest
    seconds: float


def measure_loadgen(run: RunRequest, folder: Path) -> None:
    """Run LoadGen with an empty callback into a folder, with the settings of a run of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    _child(BoundRequest(what="loadgen", run=run, seconds=0), folder)


@dataclass(frozen=True)
class BareRate:
    """How fast a loop was, and how much processor time it took."""

    samples_per_second: float
    cpu_seconds_per_sample: float


def measure_backend(
    run: RunRequest, seconds: float, folder: Path, *, what: Literal["loop", "plain", "beside"] = "loop"
) -> BareRate:
    """Return the rate of a bare loop over a run's backend, one thread per stream; see `BoundRequest`."""
    folder.mkdir(parents=True, exist_ok=True)
    reply = _child(BoundRequest(what=what, run=run, seconds=seconds), folder)
    return BareRate(float(reply["samples_per_second"]), float(reply["cpu_seconds_per_sample"]))


def _child(request: BoundRequest, folder: Path) -> dict[str, Any]:
    return run_module(
        "benchmarks.bounds",
        request.model_dump(mode="json"),
        timeout_seconds=300,
        cwd=folder,
        waits_for_lock=True,
    )


def main(request: dict[str, Any]) -> Mapping[str, Any]:
    """Measure one bound; the reply is empty for LoadGen, whose log says it."""
    from harness.lock import host_lock

    parsed = BoundRequest.model_validate(request)
    with host_lock(parsed.run.lock, False, parsed.run.lock_timeout_seconds, what="a benchmark"):
        print(LOCKED_LINE, flush=True)
        if parsed.what == "loadgen":
            _loadgen(parsed.run)
            return {}
        rate = _bare(parsed)
        return {
            "samples_per_second": rate.samples_per_second,
            "cpu_seconds_per_sample": rate.cpu_seconds_per_sample,
        }


def _loadgen(run: RunRequest) -> None:
    import sys

    import mlperf_loadgen as loadgen

    from harness import loadgen_settings

    def issue(ids: list[int], _indices: list[int]) -> None:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(id_, 0, 0) for id_ in ids])

    settings = run.settings
    system = loadgen.ConstructFastSUT(issue, lambda: None)
    count = max(run.null.sample_count, settings.performance_sample_count)
    library = loadgen.ConstructQSL(count, settings.performance_sample_count, lambda _: None, lambda _: None)
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(_SWITCH_SECONDS)
    loadgen.StartTestWithLogSettings(
        system,
        library,
        loadgen_settings.test_settings(settings),
        loadgen_settings.log_settings(Path.cwd()),
        "",
    )


def _bare(request: BoundRequest) -> BareRate:
    import numpy as np

    from harness.child import open_run, samples_per_batch
    from harness.samples import costs_of
    from models.registry import get_benchmark

    run = request.run
    backend, samples = open_run(run)
    dataset_size = len(samples) if samples is not None else run.null.sample_count
    indices = np.arange(min(run.settings.performance_sample_count, dataset_size), dtype=np.int64)
    backend.load(indices)
    is_plain = request.what == "plain"
    size = min(samples_per_batch(run), len(indices))
    costs = costs_of(samples)
    if costs is not None and not is_plain:
        indices = indices[np.argsort(-costs[indices], kind="stable")]
    has_loop = run.backend != "null" and get_benchmark(run.benchmark).has_loop
    # A loop is over before the last samples are: each counts as much as it costs, 1 on average.
    weights = np.ones(dataset_size) if costs is None else costs / costs[indices].mean()
    bare = _Bare(backend, indices, size, weights)
    return _timed(bare, bare.loop if has_loop and not is_plain else bare.batches, _meanwhile(request))


class _Bare:
    """Loops over a backend, one per stream, in turn over the same samples; streams begin apart."""

    def __init__(
        self, backend: Backend, indices: NDArray[np.int64], size: int, weights: NDArray[np.float64]
    ) -> None:
        self._backend = backend
        self._indices = indices
        self._size = size
        self._weights = weights
        self.counts = [0.0] * backend.streams
        self.ending = threading.Event()

    def batches(self, stream: int) -> None:
        """Run full batches."""
        size, count = self._size, len(self._indices)
        parts = [self._indices[start : start + size] for start in range(0, count - size + 1, size)]
        for part in itertools.islice(itertools.cycle(parts), self._first(stream, len(parts)), None):
            self._backend.run(stream, part)
            self.counts[stream] += float(self._weights[part].sum())
            if self.ending.is_set():
                return

    def loop(self, stream: int) -> None:
        """Keep a loop full; a sample's id is its index."""
        loop = cast("LoopBackend", self._backend).open_loop(stream)
        position = self._first(stream, len(self._indices))
        while not self.ending.is_set():
            while room := loop.room:
                chosen = self._indices.take(range(position, position + room), mode="wrap")
                loop.admit(chosen.tolist(), chosen)
                position += room
            self.counts[stream] += float(self._weights[loop.step().finished].sum())

    def _first(self, stream: int, count: int) -> int:
        return stream * count // len(self.counts)


def _meanwhile(request: BoundRequest) -> Callable[[], None]:
    """Return what the loops run beside: nothing for some time, or LoadGen alone."""
    if request.what == "beside":
        return lambda: _loadgen(request.run)
    return lambda: time.sleep(request.seconds)


def _timed(bare: _Bare, work: Callable[[int], None], meanwhile: Callable[[], None]) -> BareRate:
    """Run a thread per stream; take their rate while `meanwhile` runs, once each has answered a sample."""
    threads = [
        threading.Thread(target=work, args=(stream,), daemon=True) for stream in range(len(bare.counts))
    ]
    for thread in threads:
        thread.start()
    while min(bare.counts) == 0 and all(thread.is_alive() for thread in threads):
        time.sleep(0.01)
    begun, started, cpu_before = sum(bare.counts), time.perf_counter(), time.process_time()
    meanwhile()
    while sum(bare.counts) == begun and all(thread.is_alive() for thread in threads):
        time.sleep(0.01)
    done, seconds = sum(bare.counts) - begun, time.perf_counter() - started
    cpu = time.process_time() - cpu_before
    bare.ending.set()
    for thread in threads:
        thread.join()
    return BareRate(done / seconds, cpu / max(done, 1))


if __name__ == "__main__":
    serve_request(main)
