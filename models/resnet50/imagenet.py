"""ImageNet on disk, its calibration list, and the official preprocessing.

Source: MLPerf Inference v4.1, vision/classification_and_detection/python/dataset.py (profile `imagenet`) and
imagenet.py, tools/accuracy-imagenet.py (line number = QSL index), calibration/ImageNet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.facts import Edition, EditionName, Subset
from mlperf_submission.benchmark.parts import OnProgress
from mlperf_submission.errors import SourceError
from models.images.arrays import Steps
from models.images.folder import LabelledImage, read_list, verify_images
from models.resnet50.facts import SIDE
from models.resnet50.tensors import INT8_SCALE

SHORT_SIDE = int(100 * SIDE / 87.5)
"""Short side after the resize: the crop is 87.5 % of it."""
MEANS = (123.68, 116.78, 103.94)
"""Subtracted from red, green and blue."""
LABELS = "val_map.txt"
CALIBRATION_LIST = "cal_map.txt"
LABEL_LIST_MD5 = "8fd2cb625ed0251294edfb2be0781192"
"""Of the official `val_map.txt`, tab separated: 50,000 lines in the order of the images' numbers."""
CALIBRATION_LIST_MD5 = "f09719174af3553119e2c621157773a6"
"""Of the official `cal_image_list_option_1.txt`."""
_CAFFE_LABELS = "labels/val.txt"
"""The same list in caffe_ilsvrc12.tar.gz, blank separated."""
_CALIBRATION_NUMBERS = Path(__file__).with_name("calibration.txt")
CLASSES: Mapping[EditionName, int] = {"full": 1000, "mini": 10}
"""Classes of an edition; its network has one output more, the background, which comes first."""


def official_pixels(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Apply the official steps to a decoded image (uint8, height × width × 3, blue green red).

    Returns:
        float32, 3 × 224 × 224, red green blue, means subtracted.
    """
    import cv2

    height, width = image.shape[:2]
    if height > width:
        new_width, new_height = SHORT_SIDE, int(SHORT_SIDE * height / width)
    else:
        new_width, new_height = int(SHORT_SIDE * width / height), SHORT_SIDE
    # The reference swaps the colours first. Resizing treats each by itself, so that can wait for the crop.
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    left, top = int((new_width - SIDE) / 2), int((new_height - SIDE) / 2)
    colours = cv2.split(resized[top : top + SIDE, left : left + SIDE])
    pixels = np.empty((3, SIDE, SIDE), np.float32)
    for out, colour, mean in zip(pixels, reversed(colours), MEANS, strict=True):
        np.subtract(colour, np.float32(mean), out=out)
    return pixels


def to_int8(pixels: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round to the nearest integer and clip to [-128, 127]; one step is INT8_SCALE."""
    rounded: NDArray[np.int8] = np.clip(np.rint(pixels / np.float32(INT8_SCALE)), -128, 127).astype(np.int8)
    return rounded


OFFICIAL_STEPS = Steps(official_pixels, to_int8, (3, SIDE, SIDE))


def images_of(dataset: Path, edition: Edition, subset: Subset) -> list[LabelledImage]:
    """Return the images of a subset with their classes, in the order of the QSL indices."""
    classes = CLASSES[edition.name]
    if subset == "calibration":
        return calibration_images(dataset, edition, classes=classes)
    path = labels_file(dataset, edition)
    return read_list(path, classes=classes, count=edition.sample_count)


def imagenet_name(number: int) -> str:
    """Return the official file name of a validation image, 1 to 50,000."""
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def official_calibration_list() -> str:
    """Return calibration list option 1 as published: 500 names, one per line.

    Raises:
        SourceError: the numbers in this project are not those of the published list.
    """
    numbers = _CALIBRATION_NUMBERS.read_text().split()
    text = "".join(f"{imagenet_name(int(number))}\n" for number in numbers)
    if _md5(text) != CALIBRATION_LIST_MD5:
        raise SourceError(
            "these are not the numbers of the official calibration list",
            where=_CALIBRATION_NUMBERS,
            remedy="check the file out anew",
            code="data-set",
        )
    return text


def images_folder(dataset: Path, edition: Edition, subset: Subset) -> Path:
    """Return the folder that holds a subset's JPEG files.

    An edition with licensed data has its images in `<dataset>/<key>` (a link to the person's folder), or in
    `dataset` itself; its calibration images are validation images. Other editions have a folder per subset.
    """
    if edition.licensed:
        linked = dataset / edition.licensed.key
        return linked if linked.is_dir() else dataset
    return dataset / subset


def labels_file(dataset: Path, edition: Edition) -> Path:
    """Return the list with the classes: `val_map.txt` beside the images, else the one that was downloaded."""
    beside = images_folder(dataset, edition, "validation") / LABELS
    if edition.licensed and not beside.exists():
        return dataset / _CAFFE_LABELS
    return beside


def calibration_images(dataset: Path, edition: Edition, *, classes: int) -> list[LabelledImage]:
    """Return the calibration images: the official list, or the one that comes with the edition."""
    if edition.licensed:
        return [LabelledImage(name, None) for name in official_calibration_list().split()]
    path = images_folder(dataset, edition, "calibration") / CALIBRATION_LIST
    return read_list(path, classes=classes, count=None, labels=False)


def verify_imagenet(folder: Path, count: int, on_progress: OnProgress) -> dict[str, object]:
    """Check a person's own ImageNet folder against the official list, image by image.

    Args:
        folder: the JPEG files, directly in it; `val_map.txt` may lie there too.
        count: number of validation images, 50,000.
        on_progress: called from this thread.

    Raises:
        SourceError: images are missing, empty, truncated, misnamed or too many (counts and first names), or
            `val_map.txt` is not the official one.
    """
    figures = verify_images(folder, [imagenet_name(number) for number in range(1, count + 1)], on_progress)
    labels = folder / LABELS
    if labels.exists():
        check_label_list(labels, count)
    return {**figures, "labels": "official" if labels.exists() else "from caffe_ilsvrc12.tar.gz"}


def check_label_list(path: Path, count: int) -> None:
    """Raise SourceError unless a label list, however its columns are separated, is the official one."""
    images = read_list(path, classes=CLASSES["full"], count=count)
    text = "".join(f"{image.name}\t{image.label}\n" for image in images)
    digest = _md5(text)
    if digest != LABEL_LIST_MD5:
        raise SourceError(
            f"these are not the official labels: md5 {digest}, expected {LABEL_LIST_MD5}",
            where=path,
            remedy="remove the file; the official list is then taken from caffe_ilsvrc12.tar.gz",
            code="data-set",
        )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
