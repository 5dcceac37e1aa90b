"""Make the mini edition of a benchmark: the small data set and network that a rehearsal runs on."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.steps.cache import StepRecord
from models import jobs
from models.benchmark import MiniListing
from tasks.step import Recorder, Step, perform, step_task
from tasks.versions import benchmark_code, library_versions
from tasks.workspace import Workspace


def make_mini_step(benchmark: str, sample_count: int) -> Step:
    """Return what goes into a mini edition: the code that renders it and the number of samples."""
    return Step(
        name="make_mini",
        label=f"{benchmark} {sample_count} samples",
        inputs={
            "benchmark": benchmark,
            "sample_count": sample_count,
            "code_version": benchmark_code(benchmark, ("data",)),
            **library_versions(benchmark, "make_mini"),
        },
    )


@step_task("make mini edition", shown="{benchmark}")
def make_mini(workspace: Workspace, benchmark: str, sample_count: int, limit_seconds: float) -> StepRecord:
    """Render the mini edition's files into a folder that they are then taken from as downloads are.

    Figures: `sample_count`. Files: those that the edition's sources name.
    """

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        jobs.make_mini(benchmark, folder, sample_count, timeout_seconds=limit_seconds, on_progress=recorder)
        return {"sample_count": sample_count}

    return perform(workspace, make_mini_step(benchmark, sample_count), produce, prepares=True)


def listing_of(made: StepRecord, base_url: str) -> MiniListing:
    """Return the listing of a made mini edition, offered at an address."""
    files = {entry.path: (entry.size, entry.sha256) for entry in made.files}
    return MiniListing(files=files, sample_count=int(str(made.figures["sample_count"])), base_url=base_url)
