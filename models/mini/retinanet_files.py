"""The files of retinanet's mini edition: rendered shapes in OpenImages' layout, and the committed network."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from common.errors import SettingError, SourceError
from common.files import disk_full_named, require_free_space, sha256_of
from models.benchmark import MiniListing, OnProgress, Progress
from models.imagenet import in_parallel
from models.mini import shapes
from models.openimages import ANNOTATIONS, CALIBRATION_LIST, IMAGES_FOLDER

NETWORK = Path(__file__).with_name("retinanet.onnx")
NETWORK_SHA256 = "1a76b2f24a6a7ba69e236d06a0b012d9beb33bbfa997f423f96c41107ad0dc50"
"""Part of the code, so that another network is another version of the step that copies it."""
CALIBRATION_COUNT = 24
"""A calibration sample has 7.7 MB."""
MOST_SAMPLES = 24_781
VALIDATION, CALIBRATION, ANNOTATED = "validation.tar", "calibration.tar", "annotations.tar"
_BYTES_PER_IMAGE = 40_000
"""Mean size of a picture is 31 kB."""


def make(folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
    """Write three archives and `retinanet.onnx`; the same count gives the same bytes.

    The first n samples of a larger edition are the samples of an edition of n.

    Args:
        folder: an existing, empty folder.
        sample_count: validation samples, 1 to 24,781.
        on_progress: called from this thread.

    Raises:
        SettingError: the count is out of range.
        SourceError: the committed network is not the one that belongs to this code.
        DiskFullError: there is not enough space.
    """
    if not 1 <= sample_count <= MOST_SAMPLES:
        raise SettingError(
            f"the mini edition of retinanet cannot have {sample_count} samples",
            remedy=f"ask for 1 to {MOST_SAMPLES}",
        )
    if sha256_of(NETWORK) != NETWORK_SHA256:
        raise SourceError(
            "the network of the mini edition is not the one that belongs to this code",
            where=NETWORK,
            remedy="check the file out anew; after a new training write its SHA-256 into retinanet_files.py",
        )
    require_free_space(folder, sample_count * _BYTES_PER_IMAGE, f"a mini edition of {sample_count} samples")
    total = sample_count + CALIBRATION_COUNT
    with disk_full_named(folder):
        shutil.copyfile(NETWORK, folder / NETWORK.name)
        _write_calibration(folder / CALIBRATION, total, on_progress)
        pictures = _write_validation(folder / VALIDATION, sample_count, total, on_progress)
        with tarfile.open(folder / ANNOTATED, "w", format=tarfile.USTAR_FORMAT) as archive:
            _add(archive, ANNOTATIONS, json.dumps(coco_annotations(pictures)).encode())
    names = (NETWORK.name, CALIBRATION, VALIDATION, ANNOTATED)
    files = {name: ((folder / name).stat().st_size, sha256_of(folder / name)) for name in names}
    return MiniListing(files, sample_count)


def image_name(index: int) -> str:
    """Return the file name of a sample: 16 hexadecimal digits as OpenImages', in the order of the samples."""
    return f"{index:016x}.jpg"


def coco_annotations(pictures: list[shapes.Picture]) -> dict[str, object]:
    """Return the annotations of pictures in the official format; `jpeg` is not looked at."""
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for number, picture in enumerate(pictures):
        size = {"height": picture.height, "width": picture.width}
        entry: dict[str, object] = {
            "id": number + 1,
            "file_name": image_name(number),
            **size,
            "license": None,
            "coco_url": None,
        }
        images.append(entry)
        for box, label in zip(picture.boxes.tolist(), picture.labels.tolist(), strict=True):
            flags = dict.fromkeys(("IsOccluded", "IsInside", "IsDepiction", "IsTruncated", "IsGroupOf"), 0)
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": number + 1,
                    "category_id": label,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    **flags,
                }
            )
    categories = [
        {"id": label, "name": name, "supercategory": None} for label, name in enumerate(shapes.CLASSES)
    ]
    info = {"dataset": "rendered shapes, not OpenImages", "version": "mini"}
    return {
        "info": info,
        "licenses": [],
        "categories": categories,
        "images": images,
        "annotations": boxes,
    }


def _write_calibration(path: Path, total: int, on_progress: OnProgress) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        names = []
        for index, picture in enumerate(_pictures("calibration", CALIBRATION_COUNT)):
            names.append(image_name(index))
            _add(archive, f"{IMAGES_FOLDER}/{names[-1]}", picture.jpeg)
        _add(archive, CALIBRATION_LIST, "".join(f"{name}\n" for name in names).encode())
    on_progress(Progress(CALIBRATION_COUNT, total))


def _write_validation(path: Path, count: int, total: int, on_progress: OnProgress) -> list[shapes.Picture]:
    """Write the images in order, without times and owners; return what is in them, without their bytes."""
    kept = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index, picture in enumerate(_pictures("validation", count)):
            _add(archive, f"{IMAGES_FOLDER}/{image_name(index)}", picture.jpeg)
            kept.append(shapes.Picture(b"", picture.height, picture.width, picture.boxes, picture.labels))
            if (index + 1) % 64 == 0 or index + 1 == count:
                on_progress(Progress(CALIBRATION_COUNT + index + 1, total))
    return kept


def _pictures(split: shapes.Split, count: int) -> Iterator[shapes.Picture]:
    chunk = 16
    for pictures in in_parallel(
        lambda first: [shapes.render(split, index) for index in range(first, min(first + chunk, count))],
        range(0, count, chunk),
        os.cpu_count() or 1,
    ):
        yield from pictures


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
