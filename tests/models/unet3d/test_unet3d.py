"""3d-unet through the benchmark's interface: sources, cases, samples, responses, score, a person's folder."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from mlperf_submission.benchmark.answer import Samples, StackedSamples
from mlperf_submission.benchmark.facts import Edition, Precision, Subset
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import LogError, SourceError
from models.network.agreement import CpuSession, drained
from models.registry import get_benchmark
from models.unet3d import cases as unet3d_cases
from models.unet3d import facts as unet3d_facts
from models.unet3d.answer import ANSWER
from models.unet3d.cases import case_folder, git_identity
from models.unet3d.mini.files import nifti
from models.unet3d.mini.rendering import Triple
from models.unet3d.samples import VolumeSamples
from models.unet3d.volumes import prepare_label, read_label
from tests.models.unet3d.networks import summing

UNET = get_benchmark("3d-unet-99")
COARSE = (10.0, 7.0, 7.0)


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


def _case(
    folder: Path, number: int, shape: tuple[int, int, int] = (20, 18, 18), spacing: Triple = COARSE
) -> None:
    """A case of a few voxels: blocks of kidney and tumour that differ from case to case."""
    random = np.random.default_rng(number)
    image = random.integers(-200, 400, shape).astype(np.int16)
    label = np.zeros(shape, np.uint8)
    label[3:15, 4 + number % 3 : 14, 5:12] = 1
    label[4:8, 5:9, 6 : 9 + number % 2] = 2
    folder.mkdir(parents=True)
    (folder / "imaging.nii.gz").write_bytes(nifti(image, spacing))
    (folder / "segmentation.nii.gz").write_bytes(nifti(label, spacing))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three cases of a mini edition, of 1, 2 and 1 windows, and its calibration cases."""
    root = tmp_path / "dataset"
    for number, case in enumerate(unet3d_facts.INFERENCE_CASES[:3]):
        shape = (32, 18, 18) if number == 1 else (20, 18, 18)
        _case(root / "kits19" / "data" / case, number, shape)
    for number, case in enumerate(unet3d_facts.CALIBRATION_CASES[:8]):
        _case(root / "kits19" / "data" / case, 100 + number)
    return root


EDITION = Edition("mini", UNET.facts.full.network, (), 3)


def _preprocessed(
    dataset: Path,
    folder: Path,
    subset: Subset = "validation",
    precision: Precision = "int8",
    edition: Edition = EDITION,
) -> tuple[dict[str, object], Samples]:
    folder.mkdir()
    figures = UNET.data.preprocess(
        Preprocessing(
            dataset,
            folder,
            edition=edition,
            subset=subset,
            precision=precision,
            workers=2,
        )
    )
    return figures, UNET.data.open(folder)


def _volumes(
    dataset: Path, folder: Path, precision: Precision = "int8", edition: Edition = EDITION
) -> tuple[dict[str, object], VolumeSamples]:
    figures, samples = _preprocessed(dataset, folder, precision=precision, edition=edition)
    assert isinstance(samples, VolumeSamples)
    return figures, samples


def test_the_full_edition_names_the_official_sources() -> None:
    edition = UNET.facts.full
    assert edition.sample_count == 43
    assert edition.network.digest == "md5:82f0618fde78f9839e7c712274019b4a"
    assert edition.network.urls[0].endswith("3dunet_kits19_128x128x128_dynbatch.onnx")
    assert edition.data == ()
    assert edition.licensed is not None
    assert "CC BY-NC-SA 4.0" in edition.licensed.title


def test_the_official_cases_in_the_official_order() -> None:
    inference, calibration = unet3d_facts.INFERENCE_CASES, unet3d_facts.CALIBRATION_CASES
    assert (len(inference), len(calibration)) == (43, 20)
    assert list(inference) == sorted(inference)
    assert inference[-2:] == ("case_00207", "case_00400")
    assert not set(inference) & set(calibration)
    full = UNET.facts.full
    assert unet3d_cases.cases_of(full, "validation") == inference
    assert unet3d_cases.cases_of(full, "calibration") == calibration


def test_int8_samples_feed_the_int8_network_only() -> None:
    spec = UNET.network.inputs("int8")[0]
    assert UNET.network.source_inputs("int8") == (spec,)
    assert (spec.dtype, spec.shape) == ("int8", (None, 1, 128, 128, 128))
    assert spec.scale == pytest.approx(203 / 76.9 / 127)
    assert UNET.network.inputs("fp16") == UNET.network.inputs("fp32")


def test_volumes_of_different_shapes_are_kept_memory_mapped(dataset: Path, tmp_path: Path) -> None:
    figures, samples = _volumes(dataset, tmp_path / "out")
    assert figures["count"] == len(samples) == 3
    assert figures["dtype"] == "int8"
    volumes = [samples.volume(index) for index in range(3)]
    assert [one.shape for one in volumes] == [(128, 128, 128), (192, 128, 128), (128, 128, 128)]
    assert all(isinstance(one.base, np.memmap) or isinstance(one, np.memmap) for one in volumes)
    assert samples.costs.tolist() == [1, 2, 1]
    _, floats = _volumes(dataset, tmp_path / "floats", precision="fp32")
    assert floats.volume(1).dtype == np.float32
    scaled = volumes[1].astype(np.float64) * UNET.network.inputs("int8")[0].scale
    np.testing.assert_allclose(scaled, floats.volume(1).astype(np.float64), atol=0.011)


def test_calibration_samples_are_float_windows(dataset: Path, tmp_path: Path) -> None:
    figures, samples = _preprocessed(dataset, tmp_path / "out", "calibration")
    assert figures["count"] == len(samples) == unet3d_facts.MINI_CALIBRATION_CASES
    assert isinstance(samples, StackedSamples)
    windows = samples.rows(np.array([0]))["input"]
    assert windows.shape == (1, 1, 128, 128, 128)
    assert windows.dtype == np.float32


@pytest.mark.parametrize("damage", ["gone", "other shape", "no listing", "cut off"])
def test_damaged_samples_are_refused(dataset: Path, tmp_path: Path, damage: str) -> None:
    _preprocessed(dataset, tmp_path / "out")
    array = tmp_path / "out" / "case_00003.npy"
    if damage == "gone":
        array.unlink()
    elif damage == "other shape":
        np.save(array, np.zeros((128, 128, 128), np.int8))
    elif damage == "cut off":
        array.write_bytes(array.read_bytes()[:5000])
    else:
        (tmp_path / "out" / "cases.json").write_text("{}")
    with pytest.raises(SourceError, match="cannot be opened"):
        UNET.data.open(tmp_path / "out")


def threshold(batch_size: int) -> CpuSession:
    """Kidney where a voxel is bright, tumour where it is very bright."""
    nodes = [
        helper.make_node("Mul", ["input", "factors"], ["scaled"], "scaled"),
        helper.make_node("Add", ["scaled", "levels"], ["output"], "levels"),
    ]
    numbers = {"factors": [0, 1, 2], "levels": [20, 0, -60]}
    weights = {name: np.array(one, np.float32).reshape(3, 1, 1, 1) for name, one in numbers.items()}
    return summing(nodes, weights, batch_size, blocks=4)


def test_responses_are_the_masks_in_the_order_that_was_asked_for(dataset: Path, tmp_path: Path) -> None:
    _, samples = _volumes(dataset, tmp_path / "out", precision="fp32")
    both = drained(ANSWER.open(threshold(2), samples), np.array([2, 1]))
    assert [len(one) for one in both] == [128**3, 192 * 128**2]
    volume = np.asarray(samples.volume(1)).reshape(-1)
    expected = np.where(volume > 60, 2, np.where(volume > 20, 1, 0))
    np.testing.assert_array_equal(np.frombuffer(both[1], np.uint8), expected)
    assert drained(ANSWER.open(threshold(2), samples), np.array([1])) == [both[1]]


def _one_hot_dice(truth: NDArray[np.uint8], response: NDArray[np.int64]) -> tuple[float, float]:
    """The official way: one-hot, products and sums in float64."""
    wanted, marked = (np.eye(3)[one.reshape(-1)].astype(np.float64)[:, 1:] for one in (truth, response))
    both = (wanted * marked).sum(0)
    dice = (2.0 * both + 1e-6) / (wanted.sum(0) + marked.sum(0) + 1e-6)
    return float(dice[0]), float(dice[1])


def _truths(dataset: Path, count: int = 3) -> list[NDArray[np.uint8]]:
    folders = [case_folder(dataset, case) for case in unet3d_facts.INFERENCE_CASES[:count]]
    return [prepare_label(read_label(one / "segmentation.nii.gz", one / "imaging.nii.gz")) for one in folders]


def test_the_score_is_the_official_dice_in_the_official_format(dataset: Path) -> None:
    random = np.random.default_rng(4)
    truths = _truths(dataset)
    masks = [
        np.where(random.random(one.shape) < 0.2, random.integers(0, 3, one.shape), one) for one in truths
    ]
    masks[2][masks[2] == 2] = 0  # a tumour that is missed altogether
    expected = np.array([_one_hot_dice(*pair) for pair in zip(truths, masks, strict=True)])
    entries = [Entry(index, masks[index].astype(np.uint8).tobytes()) for index in (1, 2, 0)]
    score = UNET.scorer.score(entries, dataset, EDITION)
    kidney, tumour = expected.mean(0)
    assert score.lines == (
        f"Accuracy: mean = {expected.mean():.5f}, kidney = {kidney:.4f}, tumor = {tumour:.4f}",
    )
    assert score.metrics == {"DICE": float(f"{expected.mean():.5f}")}
    assert score.samples == 3
    assert 0.3 < expected.mean() < 0.9


def test_a_perfect_answer_scores_one_and_the_first_entry_counts(dataset: Path) -> None:
    entries = [Entry(index, one.tobytes()) for index, one in enumerate(_truths(dataset))]
    again = [Entry(0, bytes(len(entries[0].data)))]
    score = UNET.scorer.score([*entries, *again], dataset, EDITION)
    assert score.lines == ("Accuracy: mean = 1.00000, kidney = 1.0000, tumor = 1.0000",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(3, b""), "sample 3 is not in the data set of 3"),
        (Entry(-1, b""), "sample -1"),
        (Entry(0, bytes(7)), "has 2097152 voxels, but its response 7 bytes"),
        (Entry(0, b"\3" * 128**3), "holds the label 3"),
    ],
)
def test_a_response_that_cannot_be_is_refused(dataset: Path, entry: Entry, message: str) -> None:
    with pytest.raises(LogError, match=message):
        UNET.scorer.score([entry], dataset, EDITION)


def test_an_empty_log_is_refused(dataset: Path) -> None:
    with pytest.raises(LogError, match="no response"):
        UNET.scorer.score([], dataset, EDITION)


@pytest.fixture
def licensed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Edition]:
    """A person's clone of KiTS19, of two cases instead of 62, linked into the edition's folder."""
    own, dataset = tmp_path / "mine", tmp_path / "dataset"
    cases = ("case_00185", "case_00400")
    calibration = ("case_00047",)
    for number, case in enumerate(("case_00185", "case_00047")):
        _case(own / "data" / case, number)
    identities = "".join(
        f"{case} {git_identity(own / 'data' / case / 'segmentation.nii.gz')}\n"
        for case in ("case_00185", "case_00047")
    )
    (tmp_path / "identities.txt").write_text(identities)
    monkeypatch.setattr(unet3d_cases, "_IDENTITIES", tmp_path / "identities.txt")
    monkeypatch.setattr(unet3d_cases, "INFERENCE_CASES", cases)
    monkeypatch.setattr(unet3d_cases, "CALIBRATION_CASES", calibration)
    dataset.mkdir()
    (dataset / "kits19").symlink_to(own)
    return dataset, own, replace(UNET.facts.full, sample_count=2)


def test_a_persons_clone_is_verified_and_the_copied_case_is_not_needed(
    licensed: tuple[Path, Path, Edition], tmp_path: Path
) -> None:
    dataset, own, edition = licensed
    figures = UNET.data.verify(dataset, edition, ignore_progress)
    assert figures["cases"] == 3
    assert figures["compared"] == 2
    _, samples = _volumes(dataset, tmp_path / "out", edition=edition)
    np.testing.assert_array_equal(samples.volume(0), samples.volume(1))
    shutil.copytree(own / "data" / "case_00185", own / "data" / "case_00400")
    assert UNET.data.verify(dataset, edition, ignore_progress)["cases"] == 3


def test_the_folder_data_of_a_clone_is_as_good(licensed: tuple[Path, Path, Edition]) -> None:
    dataset, own, edition = licensed
    (dataset / "kits19").unlink()
    (dataset / "kits19").symlink_to(own / "data")
    assert UNET.data.verify(dataset, edition, ignore_progress)["cases"] == 3


def test_every_case_that_cannot_be_used_is_named(licensed: tuple[Path, Path, Edition]) -> None:
    dataset, own, edition = licensed
    (own / "data" / "case_00185" / "segmentation.nii.gz").unlink()
    image = own / "data" / "case_00047" / "imaging.nii.gz"
    image.write_bytes(image.read_bytes()[:-40])
    with pytest.raises(SourceError, match="3 of 3 cases cannot be used") as caught:
        UNET.data.verify(dataset, edition, ignore_progress)
    assert "case_00185/segmentation.nii.gz: the file is missing" in caught.value.what
    assert "case_00047/imaging.nii.gz: the NIfTI file cannot be read" in caught.value.what
    assert "get_imaging" in caught.value.remedy


def test_a_segmentation_that_was_changed_is_noticed(licensed: tuple[Path, Path, Edition]) -> None:
    dataset, own, edition = licensed
    label = own / "data" / "case_00047" / "segmentation.nii.gz"
    label.write_bytes(gzip.compress(gzip.decompress(label.read_bytes()), 9, mtime=0))
    with pytest.raises(SourceError, match="not the segmentation that the repository holds"):
        UNET.data.verify(dataset, edition, ignore_progress)


def test_the_identities_of_all_official_segmentations_are_known() -> None:
    identities = unet3d_cases._identities()
    cases = {*unet3d_facts.INFERENCE_CASES, *unet3d_facts.CALIBRATION_CASES} - {"case_00400"}
    assert set(identities) == cases
    assert all(len(bytes.fromhex(one)) == 20 for one in identities.values())
    assert len(set(identities.values())) == 62
