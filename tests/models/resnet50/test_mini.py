"""The mini edition of resnet50: deterministic, its splits apart; wrong preprocessing fails its accuracy."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import SettingError, SourceError, StepTimeoutError
from mlperf_submission.rounds import get_round
from models import jobs
from models.images.folder import read_list
from models.network.agreement import agreement
from models.network.quantization import quantize
from models.registry import get_benchmark
from models.resnet50.answer import ANSWER
from models.resnet50.mini import digits
from models.resnet50.mini import files as resnet50_files
from tests.models.conftest import MINI_SAMPLES, MadeMini, Steps
from tests.waiting import PATIENCE

RESNET = get_benchmark("resnet50")
TARGET = get_round("v4.1").model("resnet50").accuracy[0].floor


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(resnet50_files.NETWORK, options, providers=["CPUExecutionProvider"])


def _accuracy(session: onnxruntime.InferenceSession, mini: MadeMini, make_pixels: Steps) -> float:
    right = 0
    for path, label in zip(mini.jpegs, mini.labels, strict=True):
        (found,) = session.run(["ArgMax:0"], {"input_tensor:0": make_pixels(path)[None]})
        right += int(found[0]) - 1 == label
    return 100 * right / len(mini.labels)


def test_official_preprocessing_reaches_the_target_of_the_round(
    session: onnxruntime.InferenceSession, mini: MadeMini, tmp_path: Path
) -> None:
    for precision in ("fp32", "int8"):
        output = tmp_path / precision
        output.mkdir()
        RESNET.data.preprocess(
            Preprocessing(
                mini.dataset,
                output,
                edition=mini.edition,
                subset="validation",
                precision=precision,
                workers=2,
            )
        )
        samples = RESNET.data.open(output)
        assert isinstance(samples, StackedSamples)
        entries = []
        for first in range(0, len(samples), 60):
            indices = np.arange(first, min(first + 60, len(samples)))
            pixels = samples.rows(indices)["input_tensor:0"].astype(np.float32)
            outputs = session.run(["ArgMax:0"], {"input_tensor:0": pixels})
            responses = ANSWER.respond({"ArgMax:0": outputs[0]}, samples, indices)
            for row, index in enumerate(indices):
                begin, end = responses.offsets[row : row + 2]
                entries.append(_Entry(int(index), responses.data[begin:end].tobytes()))
        assert RESNET.scorer.score(entries, mini.dataset, mini.edition).metrics["acc"] >= TARGET + 15


class _Entry:
    def __init__(self, qsl_idx: int, data: bytes) -> None:
        self.qsl_idx = qsl_idx
        self.data = data


@pytest.mark.parametrize(
    "mistake",
    [
        {"swap": True},
        {"means": (0.0, 0.0, 0.0)},
        {"means": (247.36, 233.56, 207.88)},
        {"divide": 255.0},
        {"divide": 57.0},
        {"crop": "corner"},
        {"crop": "squeezed"},
    ],
    ids=["swapped channels", "no means", "means twice", "0 to 1", "standard deviation", "corner", "squeezed"],
)
def test_wrong_preprocessing_fails_the_target(
    session: onnxruntime.InferenceSession,
    mini: MadeMini,
    steps: Callable[..., Steps],
    mistake: dict[str, object],
) -> None:
    assert _accuracy(session, mini, steps(**mistake)) < TARGET - 5


def test_the_int8_network_on_int8_samples_reaches_the_target_too(mini: MadeMini, tmp_path: Path) -> None:
    samples = {}
    for subset in ("calibration", "validation"):
        folder = tmp_path / subset
        folder.mkdir()
        RESNET.data.preprocess(
            Preprocessing(
                mini.dataset,
                folder,
                edition=mini.edition,
                subset=subset,
                precision="int8",
                workers=2,
            )
        )
        samples[subset] = RESNET.data.open(folder)
    figures = quantize(
        resnet50_files.NETWORK,
        tmp_path / "int8.onnx",
        benchmark=RESNET,
        precision="int8",
        calibration=samples["calibration"],
    )
    assert figures["calibration_samples"] == resnet50_files.CALIBRATION_COUNT
    compared = agreement(
        resnet50_files.NETWORK,
        tmp_path / "int8.onnx",
        benchmark=RESNET,
        samples=samples["validation"],
        dataset=mini.dataset,
        edition=mini.edition,
    )
    assert compared.converted >= TARGET + 20
    assert compared.reference - compared.converted <= 1.0
    assert compared.equal_share >= 0.98


def test_the_committed_network_belongs_to_the_code(mini: MadeMini) -> None:
    assert mini.listing.files["resnet50.onnx"][1] == resnet50_files.NETWORK_SHA256
    assert (mini.files / "resnet50.onnx").read_bytes() == resnet50_files.NETWORK.read_bytes()


def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet50_files, "NETWORK", tmp_path / "resnet50.onnx")
    (tmp_path / "resnet50.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SourceError, match="not the one that belongs to this code"):
        RESNET.data.make_mini(tmp_path, 1, ignore_progress)


def test_the_network_has_the_official_names_and_is_small() -> None:
    assert resnet50_files.NETWORK.stat().st_size <= 1_000_000
    graph = onnx.load(resnet50_files.NETWORK).graph
    assert [value.name for value in graph.input] == ["input_tensor:0"]
    assert [value.name for value in graph.output] == ["ArgMax:0", "softmax_tensor:0"]
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]


def test_the_answer_does_not_depend_on_the_batch(
    session: onnxruntime.InferenceSession, mini: MadeMini, steps: Callable[..., Steps]
) -> None:
    pixels = np.stack([steps()(path) for path in mini.jpegs[:16]])
    together = session.run(["softmax_tensor:0"], {"input_tensor:0": pixels})[0]
    alone = [session.run(["softmax_tensor:0"], {"input_tensor:0": one[None]})[0][0] for one in pixels]
    assert np.allclose(together, alone, atol=1e-4)
    assert np.allclose(together.sum(1), 1, atol=1e-4)


def test_pictures_differ_in_size_shape_class_and_colour(mini: MadeMini) -> None:
    sizes = set()
    for path in mini.jpegs[:60]:
        picture = cv2.imread(str(path))
        assert picture is not None
        sizes.add(picture.shape)
    assert len(sizes) > 50
    assert any(height > width for height, width, _ in sizes)
    assert any(height < width for height, width, _ in sizes)
    assert all(min(shape[:2]) >= 256 for shape in sizes)
    assert set(mini.labels) == set(range(10))


def test_the_sources_are_the_digits_of_scikit_learn() -> None:
    # Takes two seconds, which every worker would spend on collecting.
    from sklearn.datasets import load_digits

    images, labels = digits._sources()
    theirs = load_digits()
    np.testing.assert_array_equal(images, theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)


def test_the_splits_share_no_digit() -> None:
    splits = [set(digits.split_sources(split)) for split in ("training", "validation", "calibration")]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 1797
    assert all(splits)


def test_a_sample_is_the_same_alone_and_in_an_edition(mini: MadeMini) -> None:
    for index in (239, 0, 100):
        picture = digits.render("validation", index)
        assert picture.jpeg == mini.jpegs[index].read_bytes()
        assert picture.label == mini.labels[index]
    assert digits.render("calibration", 0).jpeg != digits.render("validation", 0).jpeg


def test_the_same_count_gives_the_same_bytes_and_a_smaller_one_the_first_samples(
    tmp_path: Path, mini: MadeMini
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    once = RESNET.data.make_mini(first, 9, ignore_progress)
    assert RESNET.data.make_mini(second, 9, ignore_progress) == once
    assert once.sample_count == 9
    for name, (size, sha256) in once.files.items():
        content = (first / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
        assert (second / name).read_bytes() == content
    assert once.files["calibration.tar"] == mini.listing.files["calibration.tar"]
    with tarfile.open(first / "val.tar") as archive:
        entries = archive.getmembers()
        assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
        assert {(entry.mtime, entry.uid, entry.uname) for entry in entries} == {(0, 0, "")}
        jpeg = archive.extractfile(entries[8])
        assert jpeg is not None
        assert jpeg.read() == mini.jpegs[8].read_bytes()


def test_the_calibration_list_is_in_the_official_format(mini: MadeMini) -> None:
    path = mini.dataset / "calibration" / "cal_map.txt"
    names = path.read_text().splitlines()
    assert len(names) == resnet50_files.CALIBRATION_COUNT
    assert [image.name for image in read_list(path, classes=10, count=None, labels=False)] == names
    assert all((path.parent / name).is_file() for name in names)


@pytest.mark.parametrize("count", [0, -3, 50_001])
def test_an_impossible_count_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(SettingError, match=f"cannot have {count} samples"):
        RESNET.data.make_mini(tmp_path, count, ignore_progress)
    assert not list(tmp_path.iterdir())


def test_the_steps_run_as_child_processes_with_progress(tmp_path: Path, mini: MadeMini) -> None:
    seen: list[float] = []
    made = tmp_path / "made"
    made.mkdir()
    listing = jobs.make_mini("resnet50", made, 3, timeout_seconds=PATIENCE, on_progress=seen.append)
    assert listing.files["calibration.tar"] == mini.listing.files["calibration.tar"]
    assert seen == sorted(seen) and seen[-1] == 1
    seen.clear()
    output = tmp_path / "out"
    output.mkdir()
    figures = jobs.preprocess(
        "resnet50",
        mini.dataset,
        output,
        edition=mini.edition,
        subset="calibration",
        precision="int8",
        timeout_seconds=PATIENCE,
        on_progress=seen.append,
    )
    assert figures["count"] == resnet50_files.CALIBRATION_COUNT
    assert figures["dtype"] == "float32"
    assert seen[-1] == 1
    assert len(RESNET.data.open(output)) == resnet50_files.CALIBRATION_COUNT
    checked = jobs.verify_dataset("resnet50", mini.dataset, edition=mini.edition, timeout_seconds=PATIENCE)
    assert checked["images"] == MINI_SAMPLES


def test_a_step_ends_at_its_time_limit(tmp_path: Path) -> None:
    with pytest.raises(StepTimeoutError):
        jobs.make_mini("resnet50", tmp_path, 50_000, timeout_seconds=1.5)


def test_the_errors_of_a_child_arrive_as_they_were(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot have 0 samples"):
        jobs.make_mini("resnet50", tmp_path, 0, timeout_seconds=PATIENCE)
