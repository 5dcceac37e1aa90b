"""What bounds the harness, each measured in a child process of its own: LoadGen alone, and bare loops.

The child holds the host's lock like any measurement.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from common.process import LOCKED_LINE, run_module, serve_request
from harness.record import RunRequest


class BoundRequest(BaseModel):
    """What to measure.

    Attributes:
        what: `loadgen`: LoadGen with a callback that completes at once; `backend`: a loop over the backend.
        run: the run that it bounds; its settings, backend and samples are used.
        seconds: length of the bare loop.
    """

    model_config = ConfigDict(frozen=True)

    what: Literal["loadgen", "backend"]
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


def measure_backend(run: RunRequest, seconds: float, folder: Path) -> BareRate:
    """Return the rate of a bare loop over a run's backend, one thread per stream, full batches."""
    folder.mkdir(parents=True, exist_ok=True)
    reply = _child(BoundRequest(what="backend", run=run, seconds=seconds), folder)
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
        rate = _backend(parsed)
        return {
            "samples_per_second": rate.samples_per_second,
            "cpu_seconds_per_sample": rate.cpu_seconds_per_sample,
        }


def _loadgen(run: RunRequest) -> None:
    import mlperf_loadgen as loadgen

    from harness import loadgen_settings

    def issue(ids: list[int], _indices: list[int]) -> None:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(id_, 0, 0) for id_ in ids])

    settings = run.settings
    system = loadgen.ConstructFastSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(
        run.null.sample_count, settings.performance_sample_count, lambda _: None, lambda _: None
    )
    gc.freeze()
    gc.disable()
    loadgen.StartTestWithLogSettings(
        system,
        library,
        loadgen_settings.test_settings(settings),
        loadgen_settings.log_settings(Path.cwd()),
        "",
    )


def _backend(request: BoundRequest) -> BareRate:
    import numpy as np

    from harness.child import open_run

    run = request.run
    backend, samples = open_run(run)
    dataset_size = len(samples) if samples is not None else run.null.sample_count
    resident = min(run.settings.performance_sample_count, dataset_size)
    indices = np.arange(resident, dtype=np.int64)
    backend.load(indices)
    size = min(run.batch_size, resident)
    starts = range(0, resident - size + 1, size)
    counts = [0] * backend.streams
    begin = threading.Barrier(backend.streams + 1)
    end = [0.0]

    def work(stream: int) -> None:
        for start in starts[:2]:
            backend.run(stream, indices[start : start + size])
        begin.wait()
        done = 0
        while True:
            for start in starts:
                backend.run(stream, indices[start : start + size])
                done += size
                if time.perf_counter() >= end[0]:
                    counts[stream] = done
                    return

    threads = [
        threading.Thread(target=work, args=(stream,), daemon=True) for stream in range(backend.streams)
    ]
    for thread in threads:
        thread.start()
    end[0] = time.perf_counter() + 3600
    begin.wait()
    started, cpu_before = time.perf_counter(), time.process_time()
    end[0] = started + request.seconds
    for thread in threads:
        thread.join()
    done, cpu = sum(counts), time.process_time() - cpu_before
    return BareRate(done / (time.perf_counter() - started), cpu / done)


if __name__ == "__main__":
    serve_request(main)
