"""The child process of one run: takes the host's lock, opens the backend, runs LoadGen once, reports.

Started by `measure` in the run's own folder. What it needs is imported once the lock is held, so that a
waiting child costs nothing.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlperf_submission.errors import PipelineError, SettingError, StepFailedError
from mlperf_submission.process import LOCKED_LINE, print_progress, serve_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlperf_submission.benchmark.answer import SampleLoop, Samples
    from mlperf_submission.harness.backends.base import Backend, LoopBackend
    from mlperf_submission.harness.batching import BatchSource, Source
    from mlperf_submission.harness.record import ChildReport, RunRequest
    from mlperf_submission.harness.sut import Streams
    from mlperf_submission.harness.throughput import Completions

_REPORT_SECONDS = 1.0
_NOTE_SECONDS = 0.25
_SWITCH_SECONDS = 2e-4
"""How long a thread may keep the interpreter's lock when LoadGen wants it (Python's default: 5 ms)."""
_WARM_UP_BATCHES, _WARM_UP_SECONDS = 3, 0.5
_LATENCY_SHARE = 0.8


def main(request: dict[str, Any]) -> Mapping[str, Any]:
    """Run LoadGen once as the request (a `RunRequest` as JSON) says; return a `ChildReport` as JSON."""
    from mlperf_submission.harness.lock import host_lock, not_agreed

    settings = request["settings"]
    path = Path(request["lock"]) if request["lock"] else None
    apart = not_agreed(path)
    if apart:
        print(f"not excluded: {apart}", flush=True)
    with host_lock(
        path,
        False,
        request["lock_timeout_seconds"],
        what=f"{settings['kind']} of {request['benchmark']} {settings['scenario']}",
        on_wait=lambda message: print(message, flush=True),
    ) as lock:
        print(LOCKED_LINE, flush=True)
        from mlperf_submission.harness.record import RunRequest

        parsed = RunRequest.model_validate(request)
        report = run(parsed, Path.cwd(), print_progress)
        if not lock.in_place:
            text = f"the lock file {lock.path} was removed: other measurements may have overlapped this one"
            report = report.model_copy(update={"disturbances": (*report.disturbances, text)})
        if apart:
            absent = (*report.after.absent, apart)
            report = report.model_copy(update={"after": report.after.model_copy(update={"absent": absent})})
        return report.model_dump(mode="json")


def run(
    request: RunRequest,
    folder: Path,
    on_progress: Callable[[float], None],
    opened: tuple[Backend, Samples | None] | None = None,
) -> ChildReport:
    """Open everything, warm up, run LoadGen into `folder`, and say how it went.

    Args:
        request: what to run.
        folder: for LoadGen's logs.
        on_progress: told the part that is done.
        opened: what `open_run` gives, where somebody opened it otherwise; it is closed in the end.

    Raises:
        PipelineError: the backend or the samples cannot be opened, or a stream failed during the run.
    """
    from mlperf_submission.harness.interference import disturbances, host_state
    from mlperf_submission.harness.record import ACCURACY_LOG, ChildReport
    from mlperf_submission.harness.throughput import Completions

    started = time.perf_counter()
    backend, samples = opened or open_run(request)
    dataset_size = len(samples) if samples is not None else request.null.sample_count
    batch_size = request.batch_size
    batch_seconds = _warm_up(backend, batch_size, dataset_size, in_loops=answers_in_loops(request))
    max_wait_us = request.max_wait_us
    if max_wait_us is None:
        max_wait_us = derived_wait_us(request.settings.target_latency_ns, batch_seconds)
    ending = _Ending()
    completions = Completions()
    system = _system(request, backend, samples, batch_size, max_wait_us, ending.fail)
    system.start()
    before = host_state()
    ready = time.perf_counter()
    thread = threading.Thread(
        target=_run_loadgen,
        args=(request, folder, dataset_size, backend, system.source, ending),
        name="loadgen",
        daemon=True,
    )
    thread.start()
    _watch(request, dataset_size, system, ending, completions, on_progress)
    ended = time.perf_counter()
    after = host_state()
    system.stop()
    completions.note(ended - ready, system.completed)
    backend.close()
    (folder / ACCURACY_LOG.replace("accuracy", "trace")).unlink(missing_ok=True)
    return ChildReport(
        backend=backend.name,
        devices=backend.device_names,
        details=dict(backend.details),
        dataset_size=dataset_size,
        setup_seconds=ready - started,
        loadgen_seconds=ended - ready,
        load_seconds=ending.load_seconds,
        load_cpu_seconds=ending.load_cpu_seconds,
        completed_samples=system.completed,
        batches=system.batches,
        throughput=completions.throughput(),
        batch_seconds=batch_seconds,
        max_wait_us=max_wait_us,
        before=before,
        after=after,
        disturbances=disturbances(before, after, request.disturbance_limits),
    )


def derived_wait_us(target_latency_ns: int, batch_seconds: float) -> int:
    """Return how long the oldest sample of a batch may wait for others, in µs.

    A sample waits for its batch, then for the batch before it on the stream, then for its own: all three have
    to fit into most of the latency limit. Waiting longer than a batch takes gains nothing: meanwhile the
    batches grow by themselves.
    """
    spare = _LATENCY_SHARE * target_latency_ns / 1e9 - 2 * batch_seconds
    return round(max(0.0, min(spare, batch_seconds)) * 1e6)


@dataclass
class _Ending:
    """How the run ended: of its own, or by the first error of a thread; and what loading took."""

    event: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    load_seconds: float = 0.0
    load_cpu_seconds: float = 0.0

    def fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self.event.set()


def open_run(request: RunRequest) -> tuple[Backend, Samples | None]:
    """Open the backend of a run; return it with the samples (None: the null backend has none).

    Raises:
        PipelineError: benchmark, samples or engine cannot be opened, or there are too few samples.
    """
    from mlperf_submission.harness.backends.base import BackendOptions, open_backend

    benchmark = samples = None
    dataset_size = request.null.sample_count
    if request.backend != "null":
        from models.registry import get_benchmark

        benchmark = get_benchmark(request.benchmark)
        if request.samples is None:
            raise SettingError(
                "the run's request names no samples",
                where=request.benchmark,
                remedy="give the folder that preprocessing wrote",
            )
        samples = benchmark.data.open(request.samples)
        dataset_size = len(samples)
    wanted = request.settings.performance_sample_count
    if dataset_size < wanted:
        raise SettingError(
            f"there are {dataset_size} samples, but {wanted} are to be resident in a performance run",
            where=request.samples or request.backend,
            remedy="preprocess more samples, or lower performance_sample_count in the system file",
        )
    options = BackendOptions(
        benchmark=benchmark,
        precision=request.precision,
        engine=request.engine,
        samples=samples,
        batch_size=request.batch_size,
        streams=request.streams,
        threads_per_stream=request.threads_per_stream,
        devices=request.devices,
        batch_seconds=request.null.batch_seconds,
        sample_seconds=request.null.sample_seconds,
    )
    return open_backend(request.backend, options), samples


def answers_in_loops(request: RunRequest) -> bool:
    """Return whether samples are answered by loops that they enter one by one, and not in batches."""
    from mlperf_submission.benchmark.answer import LoopAnswer
    from models.registry import get_benchmark

    return request.backend != "null" and isinstance(get_benchmark(request.benchmark).answer, LoopAnswer)


def _warm_up(backend: Backend, batch_size: int, dataset_size: int, *, in_loops: bool) -> float:
    """Run a few full batches on every stream, or full loops; return the time of the fastest in seconds.

    Where one takes long, as on a CPU, it is the only one.
    """
    import numpy as np

    loaded = np.arange(min(batch_size, dataset_size), dtype=np.int64)
    full = np.resize(loaded, batch_size)
    backend.load(loaded)
    fastest = float("inf")
    for stream in range(backend.streams):
        until = time.perf_counter() + _WARM_UP_SECONDS
        for _ in range(_WARM_UP_BATCHES):
            started = time.perf_counter()
            if started > until:
                break
            if in_loops:
                _fill_and_drain(cast("LoopBackend", backend).open_loop(stream), loaded)
            else:
                backend.run(stream, full)
            fastest = min(fastest, time.perf_counter() - started)
    backend.unload()
    return fastest


def _fill_and_drain(loop: SampleLoop, indices: NDArray[np.int64]) -> None:
    """Let samples enter a loop until it is full, and answer them."""
    import numpy as np

    while room := loop.room:
        loop.admit([0] * room, np.resize(indices, room))
    while not loop.is_idle:
        loop.step()


def _system(
    request: RunRequest,
    backend: Backend,
    samples: Samples | None,
    batch_size: int,
    max_wait_us: int,
    on_error: Callable[[BaseException], None],
) -> Streams:
    """Return the system under test: loops where the benchmark has one, else batches.

    A stream's query is answered in LoadGen's own thread, unless it is for several streams of the backend.
    """
    from mlperf_submission.harness.batching import Collector, QueryCutter, Waiting
    from mlperf_submission.harness.sut import DirectSystem, LoopSystem, SystemUnderTest
    from mlperf_submission.rounds import Scenario

    costs = None if samples is None else samples.costs
    is_server = request.settings.scenario is Scenario.SERVER
    if answers_in_loops(request):
        first_tokens = is_server and request.settings.use_token_latencies
        loops = cast("LoopBackend", backend)
        return LoopSystem(loops, Waiting(costs=costs), on_error, first_tokens=first_tokens)
    settings = request.settings
    if settings.is_stream and (settings.samples_per_query <= batch_size or backend.streams == 1):
        return DirectSystem(backend, batch_size, on_error)
    source: BatchSource = QueryCutter(batch_size, costs=costs)
    if is_server:
        source = Collector(batch_size, max_wait_us * 1000, costs=costs)
    return SystemUnderTest(backend, source, batch_size, on_error)


def _run_loadgen(
    request: RunRequest,
    folder: Path,
    dataset_size: int,
    backend: Backend,
    source: Source,
    ending: _Ending,
) -> None:
    """Be LoadGen's thread: the main thread watches it, since nothing can stop it from outside."""
    import mlperf_loadgen as loadgen
    import numpy as np

    from mlperf_submission.harness import loadgen_settings

    def load(indices: list[int]) -> None:
        started, cpu_before = time.perf_counter(), time.process_time()
        try:
            backend.load(np.array(indices, dtype=np.int64))
        except BaseException as error:
            ending.fail(error)
        ending.load_seconds += time.perf_counter() - started
        ending.load_cpu_seconds += time.process_time() - cpu_before

    try:
        settings = request.settings
        system = loadgen.ConstructFastSUT(source.put, source.flush)
        library = loadgen.ConstructQSL(
            dataset_size, settings.performance_sample_count, load, lambda _: backend.unload()
        )
        gc.collect()
        gc.freeze()
        gc.disable()
        sys.setswitchinterval(_SWITCH_SECONDS)
        loadgen.StartTestWithLogSettings(
            system,
            library,
            loadgen_settings.test_settings(settings),
            loadgen_settings.log_settings(folder),
            "audit.config",
        )
        loadgen.DestroyQSL(library)
        loadgen.DestroyFastSUT(system)
    except BaseException as error:
        ending.fail(error)
    ending.event.set()


def _watch(
    request: RunRequest,
    dataset_size: int,
    system: Streams,
    ending: _Ending,
    completions: Completions,
    on_progress: Callable[[float], None],
) -> None:
    """Sleep until the run ends; note what is completed, and say once a second how far it is."""
    started = reported = time.perf_counter()
    samples = request.settings.expected_samples(dataset_size)
    seconds = request.settings.expected_seconds(dataset_size)
    timed_stream = request.settings.is_stream and not request.settings.is_accuracy
    by_time = timed_stream or request.settings.scenario.value == "Server"
    while not ending.event.wait(_NOTE_SECONDS):
        now, completed = time.perf_counter(), system.completed
        completions.note(now - started, completed)
        if now - reported >= _REPORT_SECONDS:
            reported = now
            on_progress(min((now - started) / seconds if by_time else completed / samples, 0.99))
    error = ending.error
    if error is None:
        on_progress(1.0)
        return
    if isinstance(error, PipelineError):
        raise error
    print("".join(traceback.format_exception(error)), flush=True)
    raise StepFailedError(
        f"a batch failed during the run: {type(error).__name__}: {error}",
        where=f"{request.benchmark} {request.settings.scenario} {request.settings.kind}, {request.backend}",
        remedy="the traceback is in the run's harness.log; the run was ended, since LoadGen cannot go on",
        code="batch-failed",
    ) from error


if __name__ == "__main__":
    serve_request(main)
