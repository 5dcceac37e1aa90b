"""Write a benchmark's official layers with random weights; and the mark that keeps them out of submissions.

Every step that comes of a network has `weights` among its inputs. They are part of the step's key and of its
record, so the mark cannot be lost on the way to a result: `require_trained` stands before each way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition, Precision, Source, Weights
from mlperf_submission.errors import TreeError
from mlperf_submission.steps.cache import StepRecord
from models.network.random import RandomNetworkRequest
from tasks.child import call_child
from tasks.engine.pending import derived
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.versions import benchmark_code, versions_of

NETWORK_FILE = "random_weights.onnx"
_MARK = "weights"
RANDOM_NETWORK = StepSpec("random_network", "prepare", (), 5.0, 5.0)


def random_network(
    label: str, benchmark: str, precision: Precision, layers: int | None, limit_seconds: float
) -> Step:
    """Write `random_weights.onnx`. Figures: those of `models.network.random.write_random_network`.

    Raises:
        SettingError: layers are given for another network than gptj-99's.
    """

    def inputs() -> dict[str, JsonValue]:
        return {
            "benchmark": benchmark,
            "precision": precision,
            "layers": layers,
            _MARK: "random",
            "code_version": benchmark_code(benchmark, ("network",), "models.network.random"),  # has the seed
            **versions_of("numpy", "onnx"),
        }

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        request = RandomNetworkRequest(
            benchmark=benchmark, output=folder / NETWORK_FILE, precision=precision, layers=layers
        )
        return call_child("models.network.random", request, recorder, limit_seconds)

    return Step(RANDOM_NETWORK, label, inputs, produce)


@derived
def with_random_network(edition: Edition, network: StepRecord) -> Edition:
    """Return an edition's data with a network of random weights."""
    made = next(entry for entry in network.files if entry.path == NETWORK_FILE)
    source = Source(NETWORK_FILE, (), f"sha256:{made.sha256}", made.size)
    return replace(edition, network=source, quantized_network=None, notes="random weights; never a result")


def weights_of(record: StepRecord) -> Weights:
    """Return which weights a finished step was made from; a step that does not say so has no network."""
    found = record.inputs.get(_MARK)
    return next((weights for weights in get_args(Weights) if weights == found), "trained")


def weights_label(label: str, weights: Weights) -> str:
    """Return what a person reads of a step, with random weights named as such."""
    return f"{label}, random weights" if weights == "random" else label


def require_trained(records: Iterable[StepRecord]) -> None:
    """Raise unless nothing of this was made from random weights: a result never is.

    Raises:
        TreeError: the step that was; nothing is packaged or uploaded.
    """
    for record in records:
        if weights_of(record) == "random":
            raise TreeError(
                f"{record.step} ({record.label}) was made from random weights, which are never a result",
                where=record.folder,
                remedy="run the submission without --weights random",
                code="random-weights",
            )
