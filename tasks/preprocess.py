"""Turn the data set into the arrays that the network takes, by the benchmark's official preprocessing."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition, Precision, Subset
from models import jobs
from models.registry import get_benchmark
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.versions import benchmark_code, library_versions

SUBSETS: tuple[Subset, ...] = ("validation", "calibration")
PREPROCESS = StepSpec("preprocess", "prepare", ("download", "assemble_dataset", "verify_data"), 1.0, 60.0)


def preprocess(
    label: str,
    benchmark: str,
    edition: Edition,
    subset: Subset,
    precision: Precision,
    dataset: Path,
    dataset_hash: str,
    limit_seconds: float,
) -> Step:
    """Preprocess one subset on all processors. Figures: count, shape, dtype.

    Raises:
        SourceError: a sample of the data set is missing or damaged.
    """

    def inputs() -> dict[str, JsonValue]:
        dtypes = [spec.dtype for spec in get_benchmark(benchmark).network.inputs(precision)]
        return {
            "dataset": dataset_hash,
            "samples": edition.sample_count,
            "subset": subset,
            "input_dtypes": [*dtypes] if subset == "validation" else None,  # but not the precision
            "code_version": benchmark_code(benchmark, ("data",)),
            **library_versions(benchmark, "preprocess"),
        }

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

    return Step(PREPROCESS, label, inputs, produce)
