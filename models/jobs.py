"""The long steps of a benchmark in a child process of their own, so that a time limit really ends them.

`python -m models.jobs` is the child (see `mlperf_submission.process`); the functions here are the parent's
side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mlperf_submission.benchmark.facts import Edition, MiniListing, Precision, Subset
from mlperf_submission.benchmark.parts import Preprocessing, Progress
from mlperf_submission.process import print_progress, progress_in, run_module, serve_request
from models.registry import get_benchmark

_EDITION = TypeAdapter(Edition)
_LISTING = TypeAdapter(MiniListing)


def ignore_fraction(_: float) -> None:
    """Take progress (0 to 1) and do nothing with it."""


def make_mini(
    benchmark: str,
    folder: Path,
    sample_count: int,
    *,
    timeout_seconds: float,
    on_progress: Callable[[float], None] = ignore_fraction,
) -> MiniListing:
    """Call `Data.make_mini` in a child process.

    Raises:
        StepTimeoutError: it ran over its limit and was ended.
        PipelineError: what the benchmark raised.
    """
    request = {
        "job": "make_mini",
        "benchmark": benchmark,
        "folder": str(folder),
        "sample_count": sample_count,
    }
    return _LISTING.validate_python(_call(request, timeout_seconds, on_progress))


def preprocess(
    benchmark: str,
    dataset: Path,
    output: Path,
    *,
    edition: Edition,
    subset: Subset,
    precision: Precision,
    timeout_seconds: float,
    workers: int | None = None,
    on_progress: Callable[[float], None] = ignore_fraction,
) -> dict[str, Any]:
    """Call `Data.preprocess` in a child process, with as many threads as there are processors.

    Raises:
        StepTimeoutError: it ran over its limit and was ended.
        PipelineError: what the benchmark raised.
    """
    request = {
        "job": "preprocess",
        "benchmark": benchmark,
        "dataset": str(dataset),
        "output": str(output),
        "edition": _EDITION.dump_python(edition, mode="json"),
        "subset": subset,
        "precision": precision,
        "workers": workers or len(os.sched_getaffinity(0)),
    }
    return _call(request, timeout_seconds, on_progress)


def verify_dataset(
    benchmark: str,
    folder: Path,
    *,
    edition: Edition,
    timeout_seconds: float,
    on_progress: Callable[[float], None] = ignore_fraction,
) -> dict[str, Any]:
    """Call `Data.verify` in a child process.

    Raises:
        StepTimeoutError: it ran over its limit and was ended.
        SourceError: what is wrong with the folder.
    """
    request = {
        "job": "verify_dataset",
        "benchmark": benchmark,
        "folder": str(folder),
        "edition": _EDITION.dump_python(edition, mode="json"),
    }
    return _call(request, timeout_seconds, on_progress)


def _call(
    request: Mapping[str, Any],
    timeout_seconds: float,
    on_progress: Callable[[float], None],
) -> dict[str, Any]:
    def on_line(line: str) -> None:
        fraction = progress_in(line)
        if fraction is not None:
            on_progress(fraction)

    return run_module(__name__, request, timeout_seconds=timeout_seconds, on_line=on_line)


def _serve(request: dict[str, Any]) -> Mapping[str, Any]:
    import cv2

    cv2.setNumThreads(1)  # the pictures are what is parallel, not the work on one
    benchmark = get_benchmark(request["benchmark"])
    if request["job"] == "make_mini":
        listing = benchmark.data.make_mini(Path(request["folder"]), request["sample_count"], _say)
        made: dict[str, Any] = _LISTING.dump_python(listing, mode="json")
        return made
    edition = _EDITION.validate_python(request["edition"])
    if request["job"] == "verify_dataset":
        return benchmark.data.verify(Path(request["folder"]), edition, _say)
    return benchmark.data.preprocess(
        Preprocessing(
            Path(request["dataset"]),
            Path(request["output"]),
            edition=edition,
            subset=request["subset"],
            precision=request["precision"],
            workers=request["workers"],
            on_progress=_say,
        )
    )


def _say(progress: Progress) -> None:
    print_progress(progress.done, progress.total)


if __name__ == "__main__":
    serve_request(_serve)
