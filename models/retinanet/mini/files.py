"""The files of retinanet's mini edition: rendered shapes in OpenImages' layout, and the committed network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.files import disk_full_named, require_free_space
from models.mini.listing import check_count, copy_committed, listing_of, written_archive
from models.parallel import in_parallel
from models.retinanet.facts import CALIBRATION_LIST
from models.retinanet.mini import shapes
from models.retinanet.openimages import ANNOTATIONS, IMAGES_FOLDER

NETWORK = Path(__file__).with_name("retinanet.onnx")
NETWORK_SHA256 = "22924794fb8004399525137d5428b91f880f957a8b7e70534f69b5853f5ebe84"
"""Part of the code, so that another network is another version of the step that copies it."""
CALIBRATION_COUNT = 12
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
    check_count("retinanet", sample_count, MOST_SAMPLES)
    require_free_space(folder, sample_count * _BYTES_PER_IMAGE, f"a mini edition of {sample_count} samples")
    total = sample_count + CALIBRATION_COUNT
    with disk_full_named(folder):
        copy_committed(NETWORK, NETWORK_SHA256, folder / NETWORK.name)
        _write_calibration(folder / CALIBRATION, total, on_progress)
        pictures = _write_validation(folder / VALIDATION, sample_count, total, on_progress)
        with written_archive(folder / ANNOTATED) as archive:
            archive.add(ANNOTATIONS, json.dumps(coco_annotations(pictures)).encode())
    return listing_of(folder, (NETWORK.name, CALIBRATION, VALIDATION, ANNOTATED), sample_count)


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
    with written_archive(path) as archive:
        names = []
        for index, picture in enumerate(_rendered("calibration", CALIBRATION_COUNT)):
            names.append(image_name(index))
            archive.add(f"{IMAGES_FOLDER}/{names[-1]}", picture.jpeg)
        archive.add(CALIBRATION_LIST, "".join(f"{name}\n" for name in names).encode())
    on_progress(Progress(CALIBRATION_COUNT, total))


def _write_validation(path: Path, count: int, total: int, on_progress: OnProgress) -> list[shapes.Picture]:
    """Write the images in order, without times and owners; return what is in them, without their bytes."""
    kept = []
    with written_archive(path) as archive:
        for index, picture in enumerate(_rendered("validation", count)):
            archive.add(f"{IMAGES_FOLDER}/{image_name(index)}", picture.jpeg)
            kept.append(shapes.Picture(b"", picture.height, picture.width, picture.boxes, picture.labels))
            if (index + 1) % 64 == 0 or index + 1 == count:
                on_progress(Progress(CALIBRATION_COUNT + index + 1, total))
    return kept


def _rendered(split: shapes.Split, count: int) -> Iterator[shapes.Picture]:
    return in_parallel(lambda index: shapes.render(split, index), range(count), os.cpu_count() or 1)
