"""mAP on OpenImages, by pycocotools, in the format of the official accuracy script.

Source: MLPerf Inference v4.1, vision/classification_and_detection/tools/accuracy-openimages.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import AccuracyEntry, Score, Scorer
from models.retinanet.openimages import Image, annotations_file, validation_images
from models.scoring import bad_log

METRIC = "mAP"
FIELDS = 7
"""Values per detection: sample index, top, left, bottom, right, score, category."""


def score(entries: Iterable[AccuracyEntry], annotations: Path, images: Sequence[Image]) -> Score:
    """Compute mAP over overlaps of 0.50 to 0.95, 100 detections per image, of the images that were answered.

    The first entry of an index counts. A response of less than seven values is an image without detections.

    Args:
        entries: responses of `FIELDS` float32 per detection.
        annotations: the ground truth in COCO's format.
        images: of the annotations, in the order of the QSL.

    Raises:
        LogError: no entry, an index outside the data set, a response that is no whole number of detections,
            is of another sample, or is not finite.
    """
    found: dict[int, NDArray[np.float32]] = {}
    for entry in entries:
        if not 0 <= entry.qsl_idx < len(images):
            raise bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(images)} samples")
        if entry.qsl_idx not in found:
            found[entry.qsl_idx] = _detections(entry, images[entry.qsl_idx])
    if not found:
        raise bad_log("the log holds no response")
    table = np.concatenate(list(found.values()))
    lines, precision = _evaluate(annotations, table, [images[index].id for index in found])
    printed = f"{100.0 * precision:.3f}"  # the checker reads these digits, so they are the metric
    return Score({METRIC: float(printed)}, (*lines, f"{METRIC}={printed}%"), len(found))


def _detections(entry: AccuracyEntry, image: Image) -> NDArray[np.float32]:
    """Return a row per detection: image id, x, y, width, height in pixels, score, category; as float64.

    The arithmetic is float32 as in the official script, so that the last digit is the same.
    """
    if len(entry.data) % 4 or (len(entry.data) >= 4 * FIELDS and len(entry.data) % (4 * FIELDS)):
        raise bad_log(
            f"the response of sample {entry.qsl_idx} has {len(entry.data)} bytes, "
            f"which is no multiple of {4 * FIELDS}"
        )
    values = np.frombuffer(entry.data, "<f4")
    values = values.reshape(-1, FIELDS) if len(values) >= FIELDS else np.empty((0, FIELDS), np.float32)
    if not np.isfinite(values).all():
        raise bad_log(f"the response of sample {entry.qsl_idx} holds values that are no finite numbers")
    if (values[:, 0].astype(np.int64) != entry.qsl_idx).any():
        raise bad_log(f"the response of sample {entry.qsl_idx} says it is of sample {values[0, 0]:.0f}")
    top, bottom = values[:, 1] * np.float32(image.height), values[:, 3] * np.float32(image.height)
    left, right = values[:, 2] * np.float32(image.width), values[:, 4] * np.float32(image.width)
    columns = (np.full(len(values), image.id), left, top, right - left, bottom - top, values[:, 5])
    return np.stack([*(column.astype(np.float64) for column in columns), np.trunc(values[:, 6])], 1)


def _evaluate(annotations: Path, table: NDArray[np.float32], image_ids: list[int]) -> tuple[list[str], float]:
    """Return the lines that pycocotools prints, and the mean average precision (0 to 1)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        if not len(table):  # loadRes takes no empty list; a picture without objects would be found nothing in
            return [], 0.0
        evaluation = COCOeval(truth, truth.loadRes(table), iouType="bbox")
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        evaluation.summarize()
    return said.getvalue().splitlines(), float(evaluation.stats[0])


class MeanAveragePrecision:
    """mAP of the detections, in percent."""

    metric = METRIC

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute mAP as tools/accuracy-openimages.py does; see `score`."""
        return score(entries, annotations_file(dataset), validation_images(dataset, edition))


SCORER: Scorer = MeanAveragePrecision()
