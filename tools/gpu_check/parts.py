"""What every part of the check is given, and how it says that it could not run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from mlperf_submission.harness.backends.base import Backend, LoopBackend
from models.network.agreement import drained


class NotRunError(Exception):
    """A part cannot run here; the message says what it lacks."""


@dataclass(frozen=True)
class Bench:
    """What a part is given.

    Attributes:
        scratch: a folder for files of its own.
        work: the work folder of `mlperf-submission run … --weights random`, whose engines are taken.
        system: the system file, by name or path.
        seconds: how long one rate is measured.
    """

    scratch: Path
    work: Path
    system: str
    seconds: float


Part = Callable[[Bench], dict[str, JsonValue]]


def rate_of(call: Callable[[], object], seconds: float) -> float:
    """Return how often a call can be made per second, one after the other."""
    call()
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        call()
        count += 1
    return count / passed


def answer(backend: Backend, stream: int, indices: NDArray[np.int64], *, in_loops: bool = False) -> bytes:
    """Return the responses to a batch, or, where a benchmark answers in loops, to samples that enter one."""
    if in_loops:
        return b"".join(drained(cast(LoopBackend, backend).open_loop(stream), indices))
    return backend.run(stream, indices).data.tobytes()


def bare_loop(backend: Backend, loaded: int, batch: int, seconds: float, *, in_loops: bool = False) -> float:
    """Return samples/s of a thread per stream that runs full batches of the loaded samples in their order.

    Each stream runs one batch at least.
    """
    backend.load(np.arange(loaded, dtype=np.int64))
    done = [0] * backend.streams
    ends: list[float] = [0.0] * backend.streams
    errors: list[BaseException] = []
    started = time.perf_counter()

    def drive(stream: int) -> None:
        first = stream * batch
        try:
            while ends[stream] - started < seconds:
                answer(backend, stream, np.arange(first, first + batch) % loaded, in_loops=in_loops)
                first += batch * backend.streams
                done[stream] += batch
                ends[stream] = time.perf_counter()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=drive, args=(stream,)) for stream in range(backend.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(done) / (max(ends) - started)
