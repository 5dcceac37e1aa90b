"""The mini edition of 3d-unet: deterministic, its splits apart; wrong steps and weights cost accuracy."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from mlperf_submission.benchmark.answer import Arrays, Samples
from mlperf_submission.benchmark.facts import Edition, MiniListing, Precision, Subset
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.compliance.audits import audit_config
from mlperf_submission.compliance.responses import compare_accuracy
from mlperf_submission.errors import SettingError, SourceError
from mlperf_submission.harness.run import RunOutcome, RunRequest, measure
from mlperf_submission.harness.settings import RunLength, settings_for
from mlperf_submission.rounds import RunKind, Scenario, get_round
from mlperf_submission.submission.accuracy_log import read_accuracy
from models.network.agreement import CpuSession as WholeSession
from models.network.agreement import drained
from models.network.calibration import int8_inputs
from models.network.quantization import quantize
from models.network.source import whole_network
from models.registry import get_benchmark
from models.unet3d import windows as unet3d_windows
from models.unet3d.answer import ANSWER
from models.unet3d.cases import case_folder
from models.unet3d.facts import INFERENCE_CASES, MINI_CALIBRATION_CASES
from models.unet3d.mini import files as unet3d_files
from models.unet3d.mini import rendering as volumes
from models.unet3d.samples import VolumeSamples
from models.unet3d.volumes import (
    CLIP_HIGH,
    CLIP_LOW,
    DEVIATION,
    MEAN,
    Scan,
    fitted,
    prepare_image,
    prepare_label,
    read_image,
    read_label,
    resampled,
)
from tests.models.unet3d.plain import segment
from tests.waiting import PATIENCE

UNET = get_benchmark("3d-unet-99")
TARGET = get_round("v4.1").model("3d-unet-99").accuracy[0].floor
CASES = 8


@dataclass(frozen=True)
class Made:
    files: Path
    listing: MiniListing
    edition: Edition
    dataset: Path


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


class CpuSession:
    def __init__(self, network: Path, batch_size: int = 2) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.batch_size = batch_size

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        return {"output": self._session.run(["output"], dict(inputs))[0]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    files, dataset = tmp_path_factory.mktemp("unet-files"), tmp_path_factory.mktemp("unet-data")
    listing = UNET.data.make_mini(files, CASES, ignore_progress)
    edition = UNET.data.mini_edition(listing)
    (source,) = edition.data
    assert source.unpack
    with tarfile.open(files / source.name) as archive:
        archive.extractall(dataset / source.unpack, filter="data")
    return Made(files, listing, edition, dataset)


def _preprocess(
    made: Made, folder: Path, subset: Subset = "validation", precision: Precision = "fp32"
) -> Samples:
    folder.mkdir()
    UNET.data.preprocess(
        Preprocessing(
            made.dataset,
            folder,
            edition=made.edition,
            subset=subset,
            precision=precision,
            workers=2,
        )
    )
    return UNET.data.open(folder)


@pytest.fixture(scope="module")
def int8(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 network, calibrated on the mini edition's calibration cases."""
    folder = tmp_path_factory.mktemp("unet-int8")
    samples = _preprocess(made, folder / "calibration", "calibration")
    network = folder / "network.onnx"
    figures = quantize(unet3d_files.NETWORK, network, benchmark=UNET, precision="int8", calibration=samples)
    assert figures["int8_weights"] == 8
    return network


def _score(network: Path | ModelProto, made: Made, samples: Samples) -> float:
    session = WholeSession(network, int8_inputs(UNET), batch_size=2)
    entries = []
    for index in range(CASES):
        (data,) = drained(ANSWER.open(session, samples), np.array([index]))
        entries.append(Entry(index, data))
    return UNET.scorer.score(entries, made.dataset, made.edition).metrics["DICE"]


def test_it_reaches_the_target_of_the_round(made: Made, tmp_path: Path) -> None:
    """In INT8 a run of the harness does, below."""
    samples = _preprocess(made, tmp_path / "fp32")
    assert _score(whole_network(unet3d_files.NETWORK, UNET), made, samples) >= TARGET + 0.02


Values = NDArray[np.generic]
Floats = NDArray[np.float32]
Wrong = Callable[[Scan, Scan], tuple[Values, Values]]


def _resampled(image: Scan) -> Floats:
    return resampled(image.values, image.spacing, order=1).astype(np.float32, copy=False)


def _normalised(values: Floats) -> Floats:
    normalised: Floats = ((np.clip(values, CLIP_LOW, CLIP_HIGH) - MEAN) / DEVIATION).astype(np.float32)
    return normalised


def _with(steps: Callable[[Floats], NDArray[np.floating]]) -> Wrong:
    """Other steps between resampling and padding."""

    def prepare(image: Scan, label: Scan) -> tuple[Values, Values]:
        values = steps(_resampled(image)).astype(np.float32)
        return fitted(values, -2.2), prepare_label(label)

    return prepare


def _to_spacing(target: tuple[float, float, float] | None) -> Wrong:
    """Another spacing, for image and segmentation alike."""

    def prepare(image: Scan, label: Scan) -> tuple[Values, Values]:
        pair = [
            scan.values
            if target is None
            else resampled(scan.values, label.spacing, order=order, target=target)
            for scan, order in ((image, 1), (label, 0))
        ]
        return fitted(_normalised(pair[0].astype(np.float32, copy=False)), -2.2), fitted(pair[1], 0)

    return prepare


def _turned(image: Scan, label: Scan) -> tuple[Values, Values]:
    """The axes in the order x, y, z."""
    return prepare_image(image).transpose(2, 1, 0), prepare_label(label).transpose(2, 1, 0)


def _cropped_at_one_end(image: Scan, label: Scan) -> tuple[Values, Values]:
    values = _normalised(_resampled(image))
    truth = prepare_label(label)
    shown = np.full(truth.shape, -2.2, np.float32)
    part = tuple(slice(0, min(pair)) for pair in zip(values.shape, truth.shape, strict=True))
    shown[part] = values[part]
    return shown, truth


WRONG: dict[str, Wrong] = {
    "not resampled": _to_spacing(None),
    "1 mm": _to_spacing((1.0, 1.0, 1.0)),
    "axes turned": _turned,
    "not clipped": _with(lambda values: (values - MEAN) / DEVIATION),
    "no mean": _with(lambda values: np.clip(values, CLIP_LOW, CLIP_HIGH) / DEVIATION),
    "no deviation": _with(lambda values: np.clip(values, CLIP_LOW, CLIP_HIGH) - MEAN),
    "not normalised": _with(lambda values: values),
    "cropped at one end": _cropped_at_one_end,
}


def _dice_of(session: CpuSession, made: Made, prepare: Wrong, indices: Iterable[int]) -> float:
    scores = []
    for index in indices:
        folder = case_folder(made.dataset, INFERENCE_CASES[index])
        image = read_image(folder / "imaging.nii.gz")
        label = read_label(folder / "segmentation.nii.gz", folder / "imaging.nii.gz")
        values, truth = prepare(image, label)
        mask = segment(session, values)
        for one in (1, 2):
            both = np.count_nonzero((mask == one) & (truth == one))
            all_ = np.count_nonzero(mask == one) + np.count_nonzero(truth == one)
            scores.append(2 * both / max(1, int(all_)))
    return float(np.mean(scores))


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_step_fails_the_target(made: Made, mistake: str) -> None:
    assert _dice_of(CpuSession(unet3d_files.NETWORK), made, WRONG[mistake], range(2)) < TARGET - 0.05


def test_windows_without_their_weights_do_worse(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    several = [6]  # its kidneys lie across the border of a window
    session = CpuSession(unet3d_files.NETWORK)

    def right(image: Scan, label: Scan) -> tuple[Values, Values]:
        return prepare_image(image), prepare_label(label)

    before = _dice_of(session, made, right, several)
    flat = np.ones((128, 128, 128), np.float32)
    monkeypatch.setattr(unet3d_windows, "patch", lambda: flat)
    assert before >= TARGET + 0.05
    assert _dice_of(session, made, right, several) < before - 0.04


def test_a_run_of_the_harness_gives_these_masks_and_its_audit_too(
    made: Made, int8: Path, tmp_path: Path
) -> None:
    samples = _preprocess(made, tmp_path / "samples", precision="int8")
    assert isinstance(samples, VolumeSamples)

    def run(kind: RunKind, folder: Path) -> RunOutcome:
        settings = settings_for(
            get_round("v4.1"),
            UNET.name,
            kind,
            Scenario.OFFLINE,
            target_qps=1.0,
            performance_sample_count=CASES,
            length=RunLength.rehearsal(seconds=0.2),
        )
        request = RunRequest(
            settings=settings,
            benchmark=UNET.name,
            precision="int8",
            edition="mini",
            backend="onnxruntime",
            engine=int8,
            samples=tmp_path / "samples",
            batch_size=2,
            audit_config=audit_config(kind, UNET.name) if kind.is_audit else None,
            lock=tmp_path / "lock",
        )
        return measure(request, folder, timeout_seconds=PATIENCE)

    answered = run(RunKind.ACCURACY, tmp_path / "accuracy")
    assert answered.valid, answered.reasons
    log = tmp_path / "accuracy" / "mlperf_log_accuracy.json"
    lengths = {entry.qsl_idx: len(entry.data) for entry in read_accuracy(log)}
    assert lengths == {index: samples.volume(index).size for index in range(CASES)}
    assert UNET.scorer.score(read_accuracy(log), made.dataset, made.edition).metrics["DICE"] >= TARGET + 0.02
    audited = run(RunKind.TEST01, tmp_path / "audit")
    assert audited.valid, audited.reasons
    assert audited.samples_issued == CASES, "every case as often as every other"
    same = compare_accuracy(log, tmp_path / "audit" / "mlperf_log_accuracy.json", UNET.answer.response_dtype)
    assert same.passed, same.reasons
    assert same.mismatches == 0
    assert same.matched >= 1


def test_the_committed_network_belongs_to_the_code(made: Made) -> None:
    assert made.listing.files["unet3d.onnx"][1] == unet3d_files.NETWORK_SHA256
    assert (made.files / "unet3d.onnx").read_bytes() == unet3d_files.NETWORK.read_bytes()


def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unet3d_files, "NETWORK", tmp_path / "unet3d.onnx")
    (tmp_path / "unet3d.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SourceError, match="not the one that belongs to this code"):
        UNET.data.make_mini(tmp_path, 1, ignore_progress)


def test_the_network_has_the_official_names_and_is_small() -> None:
    assert unet3d_files.NETWORK.stat().st_size <= 1_000_000
    graph = onnx.load(unet3d_files.NETWORK).graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["output"]
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]


def test_volumes_differ_in_shape_and_spacing() -> None:
    found = [volumes.render("validation", index) for index in range(12)]
    assert len({one.image.shape for one in found}) == 12
    assert len({one.spacing for one in found}) >= 10
    for one in found:
        assert one.image.dtype == np.int16
        assert set(np.unique(one.label)) == {0, 1, 2}
        prepared = prepare_label(Scan(one.label, one.spacing)).shape
        assert prepared in {
            (128, 128, 128),
            (192, 128, 128),
            (128, 192, 128),
            (128, 128, 192),
            (192, 192, 128),
        }


def test_a_case_is_the_same_alone_and_in_an_edition_and_in_no_other_split(made: Made) -> None:
    for index in (7, 2):
        volume = volumes.render("validation", index)
        folder = case_folder(made.dataset, INFERENCE_CASES[index])
        np.testing.assert_array_equal(read_image(folder / "imaging.nii.gz").values, volume.image)
        label = read_label(folder / "segmentation.nii.gz", folder / "imaging.nii.gz")
        np.testing.assert_array_equal(label.values, volume.label)
    splits = [volumes.render(split, 0).image for split in ("training", "validation", "calibration")]
    digests = {hashlib.sha256(one.tobytes()).digest() for one in splits}
    assert len(digests) == 3


def test_the_same_count_gives_the_same_bytes(tmp_path: Path, made: Made) -> None:
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
    once = UNET.data.make_mini(tmp_path / "once", 1, ignore_progress)
    assert UNET.data.make_mini(tmp_path / "again", 1, ignore_progress) == once
    for name, (size, sha256) in once.files.items():
        content = (tmp_path / "once" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    with tarfile.open(tmp_path / "once" / "kits19.tar") as archive:
        entries = archive.getmembers()
        assert [entry.name for entry in entries[:2]] == [
            "data/case_00000/imaging.nii.gz",
            "data/case_00000/segmentation.nii.gz",
        ]
        assert len(entries) == 2 * (1 + MINI_CALIBRATION_CASES)
        image = archive.extractfile(entries[0])
        assert image is not None
        own = made.dataset / "kits19" / "data" / "case_00000" / "imaging.nii.gz"
        assert image.read() == own.read_bytes()


@pytest.mark.parametrize("count", [0, -3, 44])
def test_an_impossible_count_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(SettingError, match=f"cannot have {count} samples"):
        UNET.data.make_mini(tmp_path, count, ignore_progress)
    assert not list(tmp_path.iterdir())


def test_the_mini_edition_passes_its_own_verification(made: Made) -> None:
    assert (
        UNET.data.verify(made.dataset, made.edition, ignore_progress)["cases"]
        == CASES + MINI_CALIBRATION_CASES
    )
