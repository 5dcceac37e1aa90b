"""Measure the accuracy of one result and judge it by the round's targets."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.errors import AccuracyError
from mlperf_submission.harness.record import ACCURACY_LOG, RunOutcome
from mlperf_submission.rounds import ModelRules, RunKind
from mlperf_submission.submission.accuracy import judge, targets_for, write_accuracy_txt
from mlperf_submission.submission.accuracy_log import read_accuracy
from models.registry import get_benchmark
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.measurement import Bench, Judged, run_inputs, run_loadgen
from tasks.versions import library_versions

ACCURACY_FILE = "accuracy.txt"
ACCURACY = StepSpec(
    "accuracy",
    "accuracy",
    ("download", "verify_data", "preprocess", "quantize", "build_engine", "find the rate"),
)


def accuracy(
    label: str, bench: Bench, edition: Edition, dataset: Path, dataset_hash: str, rules: ModelRules
) -> Step:
    """Answer every sample once, score the responses, write `accuracy.txt` beside LoadGen's files.

    Figures: those of the run, `metrics` and `samples_scored`.

    Raises:
        AccuracyError: a metric misses its target; it would again, so nothing is tried again.
    """

    def inputs() -> dict[str, JsonValue]:
        scored_by = library_versions(bench.benchmark, "score")
        return run_inputs(bench, RunKind.ACCURACY, dataset=dataset_hash, **scored_by)

    def score(folder: Path, _outcome: RunOutcome) -> Judged:
        log = folder / ACCURACY_LOG
        found = get_benchmark(bench.benchmark).scorer.score(read_accuracy(log), dataset, edition)
        write_accuracy_txt(folder / ACCURACY_FILE, found.lines, log)
        targets = targets_for(rules.accuracy, found.samples, rules.dataset_size)
        shortfalls = judge(found.metrics, targets)
        if shortfalls:
            raise AccuracyError(
                f"the accuracy of {bench.label()} is not enough: {'; '.join(shortfalls)}",
                where=folder,
                remedy="compare the quantised network with FP32 (figures of the step quantize); calibrate on "
                "more samples, or choose fp16",
            )
        return {"metrics": dict(found.metrics), "samples_scored": found.samples}, ()

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        return run_loadgen(bench, RunKind.ACCURACY, folder, recorder, judge=score)

    return Step(ACCURACY, label, inputs, produce)
