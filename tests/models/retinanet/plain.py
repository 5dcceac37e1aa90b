"""retinanet's detections with NumPy, from the heads: the oracle of what the network computes itself.

The order of the steps is that of the reference network (MLCommons training, retired benchmark `retinanet`,
model/retinanet.py and boxes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.retinanet.anchors import (
    ANCHORS,
    CANDIDATES,
    DETECTIONS,
    LARGEST_LOG_SIZE,
    OVERLAP,
    SCORE_THRESHOLD,
    anchors,
)
from models.retinanet.facts import SIDE

_THRESHOLD_LOGIT = np.float32(np.log(SCORE_THRESHOLD / (1 - SCORE_THRESHOLD)) - 1e-4)
"""A little below the threshold, so that the scores themselves decide."""


_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """What was found in one image, the best first.

    Attributes:
        boxes: float32, n × 4: left, top, right, bottom in pixels of the network's input.
        scores: float32, n, 0 to 1.
        labels: int64, n, classes from 0.
    """

    boxes: _Floats
    scores: _Floats
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Head:
    """What the network says about one feature map of one image.

    Attributes:
        logits: float32, (anchors · classes) × side × side; the classes of an anchor lie side by side.
        offsets: float32, (anchors · 4) × side × side: dx, dy, dw, dh relative to the anchor.
    """

    logits: _Floats
    offsets: _Floats


def detect(heads: Mapping[int, Head]) -> Detections:
    """Return the detections of one image.

    Args:
        heads: by the side of the map, from the finest to the coarsest.
    """
    found = [_candidates(side, head) for side, head in heads.items()]
    scores = np.concatenate([one.scores for one in found])
    order = np.argsort(-scores, kind="stable")
    boxes = np.concatenate([one.boxes for one in found])[order]
    labels = np.concatenate([one.labels for one in found])[order]
    scores = scores[order]
    kept = suppress(boxes, labels)
    return Detections(boxes[kept], scores[kept], labels[kept])


def decode(offsets: _Floats, places: _Floats) -> _Floats:
    """Return boxes, n × 4 (left, top, right, bottom), clipped to the input.

    Args:
        offsets: n × 4: shift of the centre in widths and heights of the anchor, logarithms of the growth.
        places: n × 4: the anchors.
    """
    sizes = places[:, 2:] - places[:, :2]
    centres = places[:, :2] + np.float32(0.5) * sizes + offsets[:, :2] * sizes
    halves = np.float32(0.5) * np.exp(np.minimum(offsets[:, 2:], np.float32(LARGEST_LOG_SIZE))) * sizes
    boxes: _Floats = np.clip(np.concatenate([centres - halves, centres + halves], 1), 0, SIDE)
    return boxes


def suppress(boxes: _Floats, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the boxes that no better one of their class overlaps; at most 300.

    Args:
        boxes: n × 4, the best first.
        labels: n.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    rivals = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    alive = np.ones(len(boxes), np.bool_)
    kept: list[int] = []
    for index, label in enumerate(labels.tolist()):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == DETECTIONS:
            break
        others = rivals[label]
        others = rivals[label] = others[alive[others] & (others > index)]
        if len(others):
            ends = np.minimum(boxes[index, 2:], boxes[others, 2:])
            shared = np.maximum(ends - np.maximum(boxes[index, :2], boxes[others, :2]), 0).prod(1)
            # a box without area overlaps nothing: 0 / 0 is no number, and compares as false
            with np.errstate(invalid="ignore"):
                alive[others[shared / (areas[index] + areas[others] - shared) > OVERLAP]] = False
    return np.array(kept, np.int64)


def _candidates(side: int, head: Head) -> Detections:
    """Return the best pairs of anchor and class of one map, at most 1000, the best first."""
    classes = len(head.logits) // ANCHORS
    flat = head.logits.reshape(-1)
    place = np.flatnonzero(flat > _THRESHOLD_LOGIT)
    channel, cell = np.divmod(place, side * side)
    scores = np.float32(1) / (np.float32(1) + np.exp(-flat[place]))
    anchor, label = np.divmod(channel, classes)
    row = cell * ANCHORS + anchor
    passed = np.flatnonzero(scores > np.float32(SCORE_THRESHOLD))
    # the place breaks ties, so that the answer does not depend on the order of memory
    best = passed[np.lexsort((label[passed], row[passed], -scores[passed]))[:CANDIDATES]]
    row, cell, anchor = row[best], cell[best], anchor[best]
    offsets = head.offsets.reshape(ANCHORS, 4, side * side)[anchor, :, cell]
    return Detections(decode(offsets, anchors(side)[row]), scores[best], label[best].astype(np.int64))
