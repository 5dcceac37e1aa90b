"""What bounds the harness, each measured in a child process of its own: LoadGen alone, bare loops, or both.

The child holds the host's lock like any measurement.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from mlperf_submission.harness.record import RunRequest
from mlperf_submission.process import LOCKED_LINE, run_module, serve_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlperf_submission.harness.backends.base import Backend, LoopBackend

_SWITCH_SECONDS = 2e-4
"""As in mlperf_submission.harness.child."""


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
        "tools.benchmarks.bounds",
        request.model_dump(mode="json"),
        timeout_seconds=300,
        cwd=folder,
        waits_for_lock=True,
    )


def main(request: dict[str, Any]) -> Mapping[str, Any]:
    """Measure one bound; the reply is empty for LoadGen, whose log says it."""
    from mlperf_submission.harness.lock import host_lock

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

    from mlperf_submission.harness import loadgen_settings

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

    from mlperf_submission.harness.child import answers_in_loops, open_run

    run = request.run
    backend, samples = open_run(run)
    dataset_size = len(samples) if samples is not None else run.null.sample_count
    indices = np.arange(min(run.settings.performance_sample_count, dataset_size), dtype=np.int64)
    backend.load(indices)
    is_plain = request.what == "plain"
    costs = None if samples is None else samples.costs
    if costs is not None and not is_plain:
        indices = indices[np.argsort(-costs[indices], kind="stable")]
    size = min(run.batch_size, len(indices))
    bare = _Bare(backend, indices, size, answers_in_loops(run), is_plain=is_plain)
    warm = bare.answer(2 * run.batch_size * backend.streams)
    if request.what == "beside":
        return bare.answer_while(lambda: _loadgen(run))
    passes = round(request.seconds * warm.samples_per_second / len(indices))
    return bare.answer(max(1, passes) * len(indices))


class _Bare:
    """Threads, one per stream, that answer samples of a backend in turn."""

    def __init__(
        self, backend: Backend, indices: NDArray[np.int64], size: int, in_loops: bool, *, is_plain: bool
    ) -> None:
        self._backend = backend
        self._indices = indices
        self._size = size
        self._work = self._batches
        if in_loops:
            self._work = self._emptied_loop if is_plain else self._loop
        self._lock = threading.Lock()
        self._taken = 0
        self._most = 0.0
        self._done = [0] * backend.streams

    def answer(self, count: int) -> BareRate:
        """Answer so many samples from the first to the last, as LoadGen takes the time in Offline."""
        return self._timed(count, lambda: None)

    def answer_while(self, run: Callable[[], None]) -> BareRate:
        """Answer samples for as long as something runs beside it."""
        return self._timed(float("inf"), run)

    def _timed(self, most: float, meanwhile: Callable[[], None]) -> BareRate:
        self._taken, self._most = 0, most
        self._done = [0] * len(self._done)
        threads = [
            threading.Thread(target=self._work, args=(stream,), daemon=True)
            for stream in range(len(self._done))
        ]
        started, cpu_before = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        meanwhile()
        if most == float("inf"):
            self._most = 0.0
        for thread in threads:
            thread.join()
        done, seconds = sum(self._done), time.perf_counter() - started
        return BareRate(done / seconds, (time.process_time() - cpu_before) / max(done, 1))

    def _take(self, most: int) -> NDArray[np.int64]:
        """Return the next samples in turn, none at the end."""
        import numpy as np

        with self._lock:
            start = self._taken
            self._taken = int(min(start + most, max(self._most, start)))
            return self._indices[np.arange(start, self._taken) % len(self._indices)]

    def _batches(self, stream: int) -> None:
        while len(batch := self._take(self._size)):
            self._backend.run(stream, batch)
            self._done[stream] += len(batch)

    def _emptied_loop(self, stream: int) -> None:
        """Let a batch enter a loop only once the one before has left it whole."""
        import numpy as np

        loop = cast("LoopBackend", self._backend).open_loop(stream)
        while len(batch := self._take(self._size)):
            waiting = deque(batch.tolist())
            while waiting or not loop.is_idle:
                while waiting and loop.room:
                    loop.admit([0], np.array([waiting.popleft()]))
                loop.step()
            self._done[stream] += len(batch)

    def _loop(self, stream: int) -> None:
        loop = cast("LoopBackend", self._backend).open_loop(stream)
        while True:
            while (room := loop.room) and len(entering := self._take(room)):
                loop.admit(entering.tolist(), entering)
            if loop.is_idle:
                return
            self._done[stream] += len(loop.step().finished)


if __name__ == "__main__":
    serve_request(main)
