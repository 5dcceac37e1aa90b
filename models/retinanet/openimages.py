"""The MLPerf subset of OpenImages: its layout and annotation file on disk, and the official preprocessing.

Source: MLPerf Inference v4.1, vision/classification_and_detection/python/dataset.py (openimages, retinanet)
and openimages.py, tools/openimages.py (layout and annotation file), tools/accuracy-openimages.py (the order
of `images` is that of the QSL).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlperf_submission.benchmark.facts import Edition, Subset
from mlperf_submission.benchmark.parts import OnProgress
from mlperf_submission.errors import SourceError
from models.images.arrays import Steps
from models.images.folder import LabelledImage, read_list, verify_images
from models.retinanet.facts import CALIBRATION_LIST, SIDE
from models.retinanet.tensors import INT8_SCALE, MEANS, STANDARD_DEVIATIONS

ANNOTATIONS = "openimages-mlperf.json"
IMAGES_FOLDER = "data"
_REMEDY = "fetch the annotation file of v2.1 anew (see the benchmark's sources) and see that it is not edited"


class Image(BaseModel):
    """One of `images` in the annotation file."""

    model_config = ConfigDict(frozen=True)
    id: int
    file_name: str = Field(min_length=5)
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Box(BaseModel):
    """One of `annotations`: `bbox` is x, y, width, height in pixels of the original image."""

    model_config = ConfigDict(frozen=True)
    id: int
    image_id: int
    category_id: int = Field(ge=0)
    bbox: tuple[float, float, float, float]


class Category(BaseModel):
    """One of `categories`."""

    model_config = ConfigDict(frozen=True)
    id: int = Field(ge=0)
    name: str


class Annotations(BaseModel):
    """An annotation file in COCO's format; the place in `images` is the QSL index."""

    model_config = ConfigDict(frozen=True)
    images: tuple[Image, ...] = Field(min_length=1)
    annotations: tuple[Box, ...]
    categories: tuple[Category, ...] = Field(min_length=1)


def official_pixels(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Apply the official steps to a decoded image (uint8, height × width × 3, blue green red).

    Returns:
        float32, 3 × 800 × 800, red green blue, 0 to 1. Means and deviations are the network's own.
    """
    import cv2

    rgb = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_BGR2RGB)
    rgb = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    pixels: NDArray[np.float32] = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)
    pixels /= np.float32(255)
    return pixels


def to_int8(pixels: NDArray[np.float32]) -> NDArray[np.int8]:
    """Normalise, since the INT8 network begins behind that, and round to the nearest step of INT8_SCALE."""
    means, deviations = (np.array(one, np.float32)[:, None, None] for one in (MEANS, STANDARD_DEVIATIONS))
    steps = np.rint((pixels - means) / deviations / np.float32(INT8_SCALE))
    rounded: NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
    return rounded


OFFICIAL_STEPS = Steps(official_pixels, to_int8, (3, SIDE, SIDE))


def annotations_file(dataset: Path) -> Path:
    """Return the annotation file: `annotations/openimages-mlperf.json`, or the only JSON file in there.

    Raises:
        SourceError: there is none, or there are several and none of this name.
    """
    folder = dataset / "annotations"
    official = folder / ANNOTATIONS
    if official.is_file():
        return official
    found = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if len(found) != 1:
        raise SourceError(
            f"there are {len(found)} annotation files, none of them {ANNOTATIONS}",
            where=folder,
            remedy=_REMEDY,
            code="data-set",
        )
    return found[0]


def read_annotations(path: Path) -> Annotations:
    """Read an annotation file and check that its parts belong together.

    Raises:
        SourceError: no JSON file of this format, an image twice, a box without its image or category.
    """
    try:
        found = Annotations.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"the annotations cannot be read: {_first_problem(error)}",
            where=path,
            remedy=_REMEDY,
            code="data-set",
        ) from error
    images, categories = {one.id for one in found.images}, {one.id for one in found.categories}
    names = {one.file_name for one in found.images}
    if len(images) != len(found.images) or len(names) != len(found.images):
        raise SourceError("an image is listed twice", where=path, remedy=_REMEDY, code="data-set")
    for box in found.annotations:
        if box.image_id not in images or box.category_id not in categories:
            missing = "image" if box.image_id not in images else "category"
            which = box.image_id if missing == "image" else box.category_id
            raise SourceError(
                f"annotation {box.id} is of {missing} {which}, which is not in the file",
                where=path,
                remedy=_REMEDY,
                code="data-set",
            )
    return found


def validation_images(dataset: Path, edition: Edition) -> tuple[Image, ...]:
    """Return the images in the order of the QSL.

    Raises:
        SourceError: the annotations cannot be read, or are of another number of images.
    """
    path = annotations_file(dataset)
    images = read_annotations(path).images
    if len(images) != edition.sample_count:
        raise SourceError(
            f"the annotations are of {len(images)} images, expected {edition.sample_count}",
            where=path,
            remedy=_REMEDY,
            code="data-set",
        )
    return images


def images_folder(dataset: Path, edition: Edition, subset: Subset) -> Path:
    """Return the folder with a subset's JPEG files: `<root>/<subset>/data`.

    The root is `<dataset>/<key>`, a link to the person's own folder, if the edition has such data.
    """
    root = dataset / edition.licensed.key if edition.licensed else dataset
    return root / subset / IMAGES_FOLDER


def images_of(dataset: Path, edition: Edition, subset: Subset) -> list[LabelledImage]:
    """Return the names of a subset's images: as annotated, or as listed for the calibration.

    Raises:
        SourceError: the annotations or the list cannot be read.
    """
    if subset == "validation":
        return [LabelledImage(image.file_name, None) for image in validation_images(dataset, edition)]
    beside = dataset if edition.licensed else dataset / subset
    return read_list(beside / CALIBRATION_LIST, classes=0, count=None, labels=False)


def verify_subsets(dataset: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
    """Check that both folders hold exactly the images of their lists, each whole as far as its ends tell.

    Raises:
        SourceError: images are missing, empty, truncated, misnamed or too many (counts and first names).
    """
    subsets: Sequence[Subset] = ("calibration", "validation")
    figures: dict[str, object] = {}
    for subset in subsets:
        names = [image.name for image in images_of(dataset, edition, subset)]
        found = verify_images(images_folder(dataset, edition, subset), names, on_progress)
        figures |= {f"{subset}_{name}": value for name, value in found.items()}
    return figures


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']} ({error.error_count()} problems)"
    return str(error)[:200] or type(error).__name__
