"""Two networks on the same samples: both accuracies, and how often they answer alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.benchmark.facts import Edition, Source
from mlperf_submission.benchmark.parts import AccuracyEntry, Benchmark, Progress, Score
from mlperf_submission.errors import NetworkFileError, SettingError
from models.network.agreement import Agreement, CpuSession, agreement
from models.network.quantization import quantize
from models.resnet50.architecture import resnet50

EDITION = Edition("mini", Source("network.onnx", (), "sha256:" + "0" * 64, None), (), 40)


class Labels:
    """Ground truth in memory: the true class of sample i is `labels[i]`."""

    metric = "acc"

    def __init__(self, labels: NDArray[np.int64]) -> None:
        self.labels = labels

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        good = [
            int.from_bytes(one.data, "little", signed=True) == self.labels[one.qsl_idx] for one in entries
        ]
        return Score({"acc": 100.0 * sum(good) / len(good)}, (), len(good))


class Noise(StackedSamples):
    def __init__(self, count: int) -> None:
        patches = np.random.default_rng(0).integers(-128, 128, (count, 3, 4, 4)).astype(np.float32)
        self.pixels = patches.repeat(56, axis=2).repeat(56, axis=3)
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.pixels)

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        self.asked += indices.tolist()
        return {"input_tensor:0": self.pixels[indices]}


def labelled(*labels: int) -> Benchmark:
    """Return resnet50 with its ground truth in memory."""
    benchmark = Benchmark("models.resnet50")
    benchmark.scorer = Labels(np.array(labels, np.int64))
    return benchmark


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    onnx.save(resnet50(stages=((1, 8), (1, 16)), stem=8, classes=11), path)
    return path


def compare(network: Path, other: Path, samples: Noise, **options: Any) -> Agreement:
    return agreement(
        network,
        other,
        benchmark=options.pop("benchmark", labelled()),
        samples=samples,
        dataset=network.parent,
        edition=EDITION,
        **options,
    )


def test_a_good_conversion_agrees_and_a_broken_one_does_not(network: Path, tmp_path: Path) -> None:
    samples = Noise(40)
    session = onnx.load(network)
    answers = CpuSession(network, {}).infer(samples.rows(np.arange(40)))["ArgMax:0"].astype(np.int64)
    benchmark = labelled(*np.where(np.arange(40) < 30, answers - 1, 99))
    int8 = tmp_path / "int8.onnx"
    quantize(network, int8, benchmark=benchmark, precision="int8", calibration=Noise(20))
    good = compare(network, int8, samples, benchmark=benchmark)
    assert (good.samples, good.metric, good.reference) == (40, "acc", 75.0)
    assert good.equal_share >= 0.9
    assert abs(good.converted - good.reference) <= 100 * (1 - good.equal_share) + 1e-9

    broken = tmp_path / "broken.onnx"
    last = session.graph.initializer[-1]  # the bias of the classes
    last.CopyFrom(numpy_helper.from_array(np.eye(1, 11, 10, dtype=np.float32)[0] * 1e6, last.name))
    onnx.save(session, broken)
    bad = compare(network, broken, samples, benchmark=benchmark)
    assert bad.reference == 75.0
    assert bad.converted == bad.equal_share == 0


def test_a_network_agrees_with_itself_and_progress_covers_both(network: Path) -> None:
    benchmark, seen = labelled(*[0] * 20), list[Progress]()
    result = compare(network, network, Noise(20), benchmark=benchmark, on_progress=seen.append)
    assert result.equal_share == 1.0
    assert result.reference == result.converted
    assert seen[-1] == Progress(40, 40)


def test_the_number_of_samples_is_bounded_and_spread(network: Path) -> None:
    benchmark, samples = labelled(*[0] * 40), Noise(40)
    assert compare(network, network, samples, benchmark=benchmark, sample_limit=4).samples == 4
    assert samples.asked == [0, 13, 26, 39] * 2


def test_bad_input_is_named(network: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no samples"):
        compare(network, network, Noise(0))
    none = tmp_path / "none.onnx"
    none.write_bytes(b"none")
    with pytest.raises(NetworkFileError, match="cannot load"):
        compare(network, none, Noise(4))
