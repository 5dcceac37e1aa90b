"""OpenImages on disk: annotation files that are read, annotation files that are refused, the pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlperf_submission.errors import SourceError
from models.retinanet.openimages import annotations_file, official_pixels, read_annotations, to_int8


def _annotations(**changes: Any) -> dict[str, Any]:
    truth: dict[str, Any] = {
        "images": [
            {"id": 1, "file_name": "0a.jpg", "height": 30, "width": 40, "license": None},
            {"id": 2, "file_name": "0b.jpg", "height": 50, "width": 20, "license": None},
        ],
        "annotations": [
            {"id": 1, "image_id": 2, "category_id": 7, "bbox": [1, 2, 3.5, 4], "area": 14.0, "iscrowd": 1}
        ],
        "categories": [{"id": 7, "name": "Balloon", "supercategory": None}],
    }
    return truth | changes


def test_images_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "openimages-mlperf.json"
    path.write_text(json.dumps(_annotations()))
    found = read_annotations(path)
    assert [image.file_name for image in found.images] == ["0a.jpg", "0b.jpg"]
    assert found.annotations[0].bbox == (1, 2, 3.5, 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (json.dumps(_annotations(images=[])), "images: .*at least 1"),
        (
            json.dumps(_annotations(images=[{"id": 1, "file_name": "0a.jpg", "height": 0, "width": 4}])),
            "height",
        ),
        (json.dumps(_annotations(images=_annotations()["images"] * 2)), "listed twice"),
        (json.dumps(_annotations(images=_annotations()["images"][:1])), "annotation 1 is of image 2"),
        (json.dumps(_annotations(categories=[{"id": 0, "name": "Bee"}])), "annotation 1 is of category 7"),
        (json.dumps(_annotations(annotations=[{"id": 1, "image_id": 2}])), "category_id"),
    ],
)
def test_annotations_that_are_no_annotations_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "openimages-mlperf.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=said) as caught:
        read_annotations(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy


def test_the_only_annotation_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    folder.mkdir()
    with pytest.raises(SourceError, match="0 annotation files"):
        annotations_file(tmp_path)
    (folder / "v21.json").write_text("{}")
    assert annotations_file(tmp_path).name == "v21.json"
    (folder / "v30.json").write_text("{}")
    with pytest.raises(SourceError, match="2 annotation files"):
        annotations_file(tmp_path)
    (folder / "openimages-mlperf.json").write_text("{}")
    assert annotations_file(tmp_path).name == "openimages-mlperf.json"


def test_pixels_are_red_green_blue_from_0_to_1_and_the_picture_is_squeezed() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 50:] = (255, 51, 0)  # OpenCV's order: blue, green, red
    pixels = official_pixels(image)
    assert pixels.shape == (3, 800, 800)
    assert pixels.dtype == np.float32
    assert pixels[:, 400, 100].tolist() == [0, 0, 0]
    assert pixels[:, 400, 700].tolist() == pytest.approx([0, 0.2, 1])
    assert pixels[2, :, 390].max() < 0.5 < pixels[2, :, 410].min()


def test_the_resize_interpolates_the_float_image_between_pixel_centres() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 500, 3), np.uint8)
    pixels = official_pixels(image)
    for row, column in ((0, 0), (411, 77), (799, 799), (13, 640)):
        y = np.clip((row + 0.5) * 300 / 800 - 0.5, 0, 299)
        x = np.clip((column + 0.5) * 500 / 800 - 0.5, 0, 499)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 299), min(left + 1, 499)
        part = image[[top, top, bottom, bottom], [left, right, left, right]].astype(float)
        weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left]).reshape(-1)
        wanted = (part * weights[:, None]).sum(0)[::-1] / 255
        assert pixels[:, row, column].tolist() == pytest.approx(wanted.tolist(), abs=2e-3)


def test_int8_samples_are_normalised_pixels_in_fine_steps() -> None:
    pixels = np.array([0, 0.485, 1.0], np.float32)[None, None, :].repeat(3, 0)
    assert to_int8(pixels)[:, 0].tolist() == [[-102, 0, 108], [-98, 6, 117], [-87, 17, 127]]
