"""What several test files of retinanet share: a mini edition as a download step leaves it, log entries."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays
from mlperf_submission.benchmark.facts import Edition, MiniListing, Source
from mlperf_submission.benchmark.parts import ignore_progress
from models.registry import get_benchmark
from models.retinanet.anchors import BASE_SIZES
from models.retinanet.answer import ANSWER
from models.retinanet.heads import head_names
from models.retinanet.mini import files as retinanet_files
from models.retinanet.mini import shapes
from tests.models.retinanet import plain
from tests.models.samples import Nothing

RETINANET = get_benchmark("retinanet")


@dataclass(frozen=True)
class Entry:
    qsl_idx: int
    data: bytes


@dataclass(frozen=True)
class MadeEdition:
    """A mini edition of retinanet: its archives and its data set."""

    files: Path
    listing: MiniListing
    edition: Edition
    dataset: Path

    @property
    def jpegs(self) -> list[Path]:
        return sorted((self.dataset / "validation" / "data").glob("*.jpg"))

    @cached_property
    def truth(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(
            (self.dataset / "annotations" / "openimages-mlperf.json").read_text()
        )
        return loaded


def make_edition(folder: Path, sample_count: int) -> MadeEdition:
    """Make and unpack a mini edition in an empty folder."""
    files, dataset = folder / "files", folder / "data"
    files.mkdir()
    listing = RETINANET.data.make_mini(files, sample_count, ignore_progress)
    edition = RETINANET.data.mini_edition(listing)
    for source in edition.data:
        assert source.unpack
        with tarfile.open(files / source.name) as archive:
            archive.extractall(dataset / source.unpack, filter="data")
    return MadeEdition(files, listing, edition, dataset)


def make_dataset(folder: Path, sample_count: int) -> tuple[Path, Edition]:
    """Write the data set of a mini edition without archives and network."""
    pictures = [shapes.render("validation", index) for index in range(sample_count)]
    images = folder / "validation" / "data"
    images.mkdir(parents=True)
    (folder / "annotations").mkdir()
    for index, picture in enumerate(pictures):
        (images / retinanet_files.image_name(index)).write_bytes(picture.jpeg)
    text = json.dumps(retinanet_files.coco_annotations(pictures))
    (folder / "annotations" / "openimages-mlperf.json").write_text(text)
    calibration = folder / "calibration" / "data"
    calibration.mkdir(parents=True)
    (calibration / "aa.jpg").write_bytes(shapes.render("calibration", 0).jpeg)
    (folder / "calibration" / "openimages_cal_images_list.txt").write_text("aa.jpg\n")
    edition = Edition("mini", Source("retinanet.onnx", (), "sha256:" + "0" * 64, None), (), sample_count)
    return folder, edition


def truth_rows(truth: dict[str, Any], index: int) -> NDArray[np.float32]:
    """Return the response that finds the objects of a sample exactly: seven values each."""
    image = truth["images"][index]
    rows = []
    for one in truth["annotations"]:
        if one["image_id"] == image["id"]:
            x, y, width, height = one["bbox"]
            box = (y, x, y + height, x + width)
            sides = (image["height"], image["width"]) * 2
            places = [value / side for value, side in zip(box, sides, strict=True)]
            rows.append([index, *places, 0.9, one["category_id"]])
    return np.array(rows, np.float32).reshape(-1, 7)


def detected(heads: Arrays) -> Arrays:
    """Return the network's output for these heads, by the oracle."""
    sides = [side for side in BASE_SIZES if head_names(side)[0] in heads]
    count = len(heads[head_names(sides[0])[0]])
    found = np.zeros((count, 300, 6), np.float32)
    for image in range(count):
        best = plain.detect(
            {
                side: plain.Head(*(np.asarray(heads[name][image], np.float32) for name in head_names(side)))
                for side in sides
            }
        )
        rows = found[image, : len(best.scores)]
        rows[:, :4] = best.boxes[:, [1, 0, 3, 2]] / np.float32(800)
        rows[:, 4], rows[:, 5] = best.scores, best.labels
    return {"detections": found}


def responses_of(outputs: Arrays, indices: NDArray[np.int64]) -> list[Entry]:
    """Return what the harness would log for these outputs of the network, or of its heads."""
    found = outputs if "detections" in outputs else detected(outputs)
    responses = ANSWER.respond(found, Nothing(), indices)
    return [
        Entry(int(index), responses.data[first:last].tobytes())
        for index, first, last in zip(indices, responses.offsets[:-1], responses.offsets[1:], strict=True)
    ]
