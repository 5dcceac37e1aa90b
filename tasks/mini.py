"""Make the mini edition of a benchmark: the small data set and network that a rehearsal runs on."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.steps.cache import StepRecord
from models import jobs
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.versions import benchmark_code, library_versions

MAKE_MINI = StepSpec("make_mini", "prepare", (), 2.0, 2.0)


def make_mini(benchmark: str, sample_count: int, limit_seconds: float) -> Step:
    """Render the mini edition's files into a folder that they are then taken from as downloads are.

    Figures: `sample_count`. Files: those that the edition's sources name.
    """

    def inputs() -> dict[str, JsonValue]:
        return {
            "benchmark": benchmark,
            "sample_count": sample_count,
            "code_version": benchmark_code(benchmark, ("data",)),
            **library_versions(benchmark, "make_mini"),
        }

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        jobs.make_mini(benchmark, folder, sample_count, timeout_seconds=limit_seconds, on_progress=recorder)
        return {"sample_count": sample_count}

    return Step(MAKE_MINI, f"{benchmark} {sample_count} samples", inputs, produce)


def listing_of(made: StepRecord, base_url: str) -> MiniListing:
    """Return the listing of a made mini edition, offered at an address."""
    files = {entry.path: (entry.size, entry.sha256) for entry in made.files}
    return MiniListing(files=files, sample_count=int(str(made.figures["sample_count"])), base_url=base_url)
