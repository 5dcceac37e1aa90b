"""Turn the data set into the arrays that the network takes, by the benchmark's official preprocessing."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.steps.cache import StepRecord
from models import jobs
from models.benchmark import Edition, Precision, Subset
from models.registry import get_benchmark
from tasks.step import Recorder, Step, perform, step_task
from tasks.versions import benchmark_code, library_versions
from tasks.workspace import Workspace

SUBSETS: tuple[Subset, ...] = ("validation", "calibration")


def preprocess_step(
    benchmark: str, edition: Edition, subset: Subset, precision: Precision, dataset_hash: str
) -> Step:
    """Return what goes into the arrays: the data, the code, and the dtype (but not the precision)."""
    dtypes = [spec.dtype for spec in get_benchmark(benchmark).network.inputs(precision)]
    return Step(
        name="preprocess",
        label=f"{benchmark} {edition.name} {subset}",
        inputs={
            "dataset": dataset_hash,
            "samples": edition.sample_count,
            "subset": subset,
            "input_dtypes": [*dtypes] if subset == "validation" else None,
            "code_version": benchmark_code(benchmark, ("data",)),
            **library_versions(benchmark, "preprocess"),
        },
    )


@step_task("preprocess", shown="{benchmark} {subset}")
def preprocess(
    workspace: Workspace,
    benchmark: str,
    edition: Edition,
    subset: Subset,
    precision: Precision,
    dataset: Path,
    dataset_hash: str,
    limit_seconds: float,
) -> StepRecord:
    """Preprocess one subset on all processors. Figures: count, shape, dtype.

    Raises:
        SourceError: a sample of the data set is missing or damaged.
    """

    def produce(folder: Path, recorder: Recorder) -> dict[str, object]:
        return jobs.preprocess(
            benchmark,
            dataset,
            folder,
            edition=edition,
            subset=subset,
            precision=precision,
            timeout_seconds=limit_seconds,
            on_progress=recorder,
        )

    return perform(
        workspace,
        preprocess_step(benchmark, edition, subset, precision, dataset_hash),
        produce,
        prepares=True,
    )
