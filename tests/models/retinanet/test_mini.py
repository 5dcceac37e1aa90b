"""The mini edition of retinanet: deterministic, any count; wrong pixels or decoding show in its mAP."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays, StackedSamples
from mlperf_submission.benchmark.facts import Subset
from mlperf_submission.benchmark.parts import Preprocessing, ignore_progress
from mlperf_submission.errors import SettingError, SourceError
from mlperf_submission.rounds import get_round
from models.network.agreement import CpuSession
from models.network.calibration import int8_inputs
from models.network.quantization import quantize
from models.retinanet.anchors import anchors
from models.retinanet.answer import ANSWER
from models.retinanet.mini import files as retinanet_files
from models.retinanet.mini import shapes
from models.retinanet.openimages import official_pixels, to_int8
from tests.models.retinanet import plain as retinanet_boxes
from tests.models.retinanet.mini import (
    RETINANET,
    Entry,
    MadeEdition,
    detected,
    make_edition,
    responses_of,
    truth_rows,
)
from tests.models.samples import Nothing

TARGET = get_round("v4.1").model("retinanet").accuracy[0].floor
SAMPLES = 40
BROKEN_SAMPLES = 24

_Image = NDArray[np.uint8]
_Floats = NDArray[np.float32]
_Outputs = dict[str, _Floats]


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> MadeEdition:
    return make_edition(tmp_path_factory.mktemp("mini"), SAMPLES)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(retinanet_files.NETWORK, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def images(mini: MadeEdition) -> list[_Image]:
    return [_read(path) for path in mini.jpegs]


def _read(path: Path) -> _Image:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


def _infer(session: onnxruntime.InferenceSession, pixels: _Floats) -> _Outputs:
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": pixels[None]}), strict=True))


@pytest.fixture(scope="module")
def official(session: onnxruntime.InferenceSession, images: list[_Image]) -> list[_Outputs]:
    """What the network says to each sample after the official preprocessing."""
    return [_infer(session, official_pixels(image)) for image in images]


def _score(mini: MadeEdition, outputs: Iterable[Arrays]) -> float:
    entries: list[Entry] = []
    for index, one in enumerate(outputs):
        entries += responses_of(one, np.array([index]))
    return RETINANET.scorer.score(entries, mini.dataset, mini.edition).metrics["mAP"]


def test_the_network_reaches_the_target_of_the_round_with_room(
    mini: MadeEdition, official: list[_Outputs]
) -> None:
    assert _score(mini, official) >= TARGET + 15


def test_the_int8_network_on_int8_samples_does_too(mini: MadeEdition, tmp_path: Path) -> None:
    folders: dict[Subset, Path] = {}
    subsets: Sequence[Subset] = ("calibration", "validation")
    for subset in subsets:
        folders[subset] = tmp_path / subset
        folders[subset].mkdir()
        RETINANET.data.preprocess(
            Preprocessing(
                mini.dataset,
                folders[subset],
                edition=mini.edition,
                subset=subset,
                precision="int8",
                workers=2,
            )
        )
    network = tmp_path / "int8.onnx"
    quantize(
        retinanet_files.NETWORK,
        network,
        benchmark=RETINANET,
        precision="int8",
        calibration=RETINANET.data.open(folders["calibration"]),
    )
    (image,) = onnx.load(network).graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.INT8
    samples = RETINANET.data.open(folders["validation"])
    assert isinstance(samples, StackedSamples)
    session = CpuSession(network, int8_inputs(RETINANET))
    outputs = [session.infer(samples.rows(np.array([index]))) for index in range(SAMPLES)]
    assert _score(mini, outputs) >= TARGET + 12


def _letterboxed(image: _Image) -> _Floats:
    height, width = image.shape[:2]
    side = max(height, width)
    return official_pixels(np.pad(image, ((0, side - height), (0, side - width), (0, 0))))


def _cropped(image: _Image) -> _Floats:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return official_pixels(np.ascontiguousarray(image[top : top + side, left : left + side]))


def _normalised(image: _Image) -> _Floats:
    means, deviations = (
        np.array(values, np.float32)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (official_pixels(image) - means) / deviations


WRONG_PIXELS: dict[str, Callable[[_Image], _Floats]] = {
    "swapped channels": lambda image: official_pixels(image[..., ::-1]),
    "0 to 255": lambda image: official_pixels(image) * 255,
    "aspect ratio kept": _letterboxed,
    "centre crop": _cropped,
    "int8 steps for real values": lambda image: to_int8(official_pixels(image)).astype(np.float32),
}


MILD_PIXELS: dict[str, Callable[[_Image], _Floats]] = {
    "-1 to 1": lambda image: official_pixels(image) * 2 - 1,
    "normalised twice": _normalised,
}
"""Colours keep their order, so that much is still found; the target may be reached."""


@pytest.mark.parametrize("mistake", list(MILD_PIXELS))
def test_wrongly_scaled_values_show_in_the_score(
    mini: MadeEdition,
    session: onnxruntime.InferenceSession,
    images: list[_Image],
    official: list[_Outputs],
    mistake: str,
) -> None:
    outputs = [_infer(session, MILD_PIXELS[mistake](image)) for image in images[:BROKEN_SAMPLES]]
    assert _score(mini, outputs) < _score(mini, official[:BROKEN_SAMPLES]) - 4


@pytest.mark.parametrize("mistake", list(WRONG_PIXELS))
def test_wrong_preprocessing_fails_the_target(
    mini: MadeEdition, session: onnxruntime.InferenceSession, images: list[_Image], mistake: str
) -> None:
    outputs = [_infer(session, WRONG_PIXELS[mistake](image)) for image in images[:BROKEN_SAMPLES]]
    assert _score(mini, outputs) < TARGET - 5


def _half_a_cell_further(side: int) -> _Floats:
    return _ANCHORS(side) + np.float32(400 // side)


def _tall_for_wide(side: int) -> _Floats:
    return np.ascontiguousarray(_ANCHORS(side).reshape(-1, 3, 3, 4)[:, ::-1]).reshape(-1, 4)


def _by_column(side: int) -> _Floats:
    return np.ascontiguousarray(_ANCHORS(side).reshape(side, side, 9, 4).swapaxes(0, 1)).reshape(-1, 4)


def _across_for_down(offsets: _Floats, places: _Floats) -> _Floats:
    return _DECODE(offsets[:, [1, 0, 3, 2]], places)


def _without_growth(offsets: _Floats, places: _Floats) -> _Floats:
    return _DECODE(offsets * np.array([1, 1, 0, 0], np.float32), places)


_ANCHORS, _DECODE = anchors, retinanet_boxes.decode
WRONG_DECODING = {
    "anchors in the middle of cells": ("anchors", _half_a_cell_further),
    "ratios upside down": ("anchors", _tall_for_wide),
    "columns before rows": ("anchors", _by_column),
    "dy before dx": ("decode", _across_for_down),
    "sizes of anchors": ("decode", _without_growth),
    "the best box of each class only": ("OVERLAP", -1.0),
    "no suppression": ("OVERLAP", 1.1),
}


@pytest.mark.parametrize("mistake", list(WRONG_DECODING))
def test_wrong_decoding_shows_in_the_score(
    mini: MadeEdition, official: list[_Outputs], monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    right = _score(mini, official)
    name, wrong = WRONG_DECODING[mistake]
    monkeypatch.setattr(retinanet_boxes, name, wrong)
    assert _score(mini, official) < right - 8


def test_classes_before_anchors_in_a_head_show_too(mini: MadeEdition, official: list[_Outputs]) -> None:
    right = _score(mini, official)
    mixed = []
    for outputs in official:
        swapped = dict(outputs)
        for name, values in outputs.items():
            if name.startswith("classification"):
                count, channels, side, _ = values.shape
                parts = values.reshape(count, 9, channels // 9, side, side).swapaxes(1, 2)
                swapped[name] = np.ascontiguousarray(parts).reshape(values.shape)
        mixed.append(swapped)
    assert _score(mini, mixed) < right - 30


def test_the_answer_does_not_depend_on_the_batch(
    session: onnxruntime.InferenceSession, images: list[_Image]
) -> None:
    pixels = np.stack([official_pixels(image) for image in images[:3]])
    names = [value.name for value in session.get_outputs()]
    together = dict(zip(names, session.run(None, {"images": pixels}), strict=True))
    batched = ANSWER.respond(detected(together), Nothing(), np.arange(3))
    for index in range(3):
        alone = ANSWER.respond(detected(_infer(session, pixels[index])), Nothing(), np.array([index]))
        first, last = batched.offsets[index : index + 2]
        assert last > first
        mine = batched.data[first:last].view(np.float32)
        assert np.allclose(mine, alone.data.view(np.float32), atol=1e-3)


def test_the_committed_network_belongs_to_the_code(mini: MadeEdition) -> None:
    assert mini.listing.files["retinanet.onnx"][1] == retinanet_files.NETWORK_SHA256
    assert (mini.files / "retinanet.onnx").read_bytes() == retinanet_files.NETWORK.read_bytes()


def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retinanet_files, "NETWORK", tmp_path / "retinanet.onnx")
    (tmp_path / "retinanet.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SourceError, match="not the one that belongs to this code"):
        RETINANET.data.make_mini(tmp_path, 1, ignore_progress)


def test_the_network_has_the_official_names_and_is_small() -> None:
    assert retinanet_files.NETWORK.stat().st_size <= 2_000_000
    graph = onnx.load(retinanet_files.NETWORK).graph
    assert [value.name for value in graph.input] == ["images"]
    wanted = {spec.name for spec in RETINANET.network.source_outputs}
    assert {value.name for value in graph.output} < wanted
    assert len(graph.output) == 6


def test_pictures_differ_in_size_and_hold_objects_of_every_class_at_many_scales(mini: MadeEdition) -> None:
    images, boxes = mini.truth["images"], mini.truth["annotations"]
    assert len({(one["height"], one["width"]) for one in images}) > 30
    assert any(one["height"] > one["width"] for one in images)
    assert {one["category_id"] for one in boxes} == set(range(6))
    sizes = {one["id"]: one for one in images}
    shares = [
        (one["area"] / sizes[one["image_id"]]["height"] / sizes[one["image_id"]]["width"]) ** 0.5
        for one in boxes
    ]
    assert min(shares) < 0.1 < 0.3 < max(shares)
    assert len(boxes) > 3 * len(images)


def test_boxes_are_tight(mini: MadeEdition) -> None:
    """Each box that nothing else touches has its colour at all four sides, and not beyond."""
    for index in (0, 1, 5):
        rows = truth_rows(mini.truth, index)
        image = _read(mini.jpegs[index]).astype(int)
        height, width = image.shape[:2]
        for top, left, bottom, right in rows[:, 1:5] * np.array([height, width] * 2):
            y0, x0, y1, x1 = round(top), round(left), round(bottom), round(right)
            inner = image[y0:y1, x0:x1]
            strong = np.abs(inner[..., 0] - inner[..., 2]) > 60
            assert strong[:3].any()
            assert strong[-3:].any()
            assert strong[:, :3].any()
            assert strong[:, -3:].any()


def test_a_sample_is_the_same_alone_and_in_an_edition(mini: MadeEdition) -> None:
    for index in (SAMPLES - 1, 0, 17):
        picture = shapes.render("validation", index)
        assert picture.jpeg == mini.jpegs[index].read_bytes()
    assert shapes.render("calibration", 0).jpeg != shapes.render("validation", 0).jpeg


def test_the_same_count_gives_the_same_bytes_and_a_smaller_one_the_first_samples(
    tmp_path: Path, mini: MadeEdition
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    once, again = make_edition(first, 5), make_edition(second, 5)
    assert once.listing == again.listing
    for name, (size, sha256) in once.listing.files.items():
        content = (once.files / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    assert once.listing.files["calibration.tar"] == mini.listing.files["calibration.tar"]
    assert once.jpegs[4].read_bytes() == mini.jpegs[4].read_bytes()
    assert once.truth["images"] == mini.truth["images"][:5]
    count = len(once.truth["annotations"])
    assert once.truth["annotations"] == mini.truth["annotations"][:count]
    with tarfile.open(once.files / "validation.tar") as archive:
        assert {(entry.mtime, entry.uid, entry.uname) for entry in archive} == {(0, 0, "")}


def test_the_data_set_has_the_official_layout(mini: MadeEdition) -> None:
    assert json.loads((mini.dataset / "annotations" / "openimages-mlperf.json").read_text())
    assert mini.jpegs[1].relative_to(mini.dataset).as_posix() == f"validation/data/{1:016x}.jpg"
    figures = RETINANET.data.verify(mini.dataset, mini.edition, ignore_progress)
    assert (figures["validation_images"], figures["calibration_images"]) == (
        SAMPLES,
        retinanet_files.CALIBRATION_COUNT,
    )


@pytest.mark.parametrize("count", [0, -3, 24_782])
def test_an_impossible_count_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(SettingError, match=f"cannot have {count} samples"):
        RETINANET.data.make_mini(tmp_path, count, ignore_progress)
    assert not list(tmp_path.iterdir())
