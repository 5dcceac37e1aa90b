"""Anchors, decoding and suppression against the same steps done one by one, as the reference does them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.retinanet.anchors import BASE_SIZES, anchors
from models.retinanet.facts import SIDE
from tests.models.retinanet.plain import Head, decode, detect, suppress

HALF_SIZES = {
    100: [(23, 11), (28, 14), (35, 18), (16, 16), (20, 20), (25, 25), (11, 23), (14, 28), (18, 35)],
    50: [(45, 23), (57, 28), (71, 36), (32, 32), (40, 40), (50, 50), (23, 45), (28, 57), (36, 71)],
    25: [(91, 45), (114, 57), (144, 72), (64, 64), (80, 80), (102, 102), (45, 91), (57, 114), (72, 144)],
    13: [
        (181, 91),
        (228, 114),
        (287, 144),
        (128, 128),
        (161, 161),
        (203, 203),
        (91, 181),
        (114, 228),
        (144, 287),
    ],
    7: [
        (362, 181),
        (456, 228),
        (574, 287),
        (256, 256),
        (322, 322),
        (406, 406),
        (181, 362),
        (228, 456),
        (287, 574),
    ],
}
"""Half width and half height, from the table of the reference network's anchors."""
STRIDES = {100: 8, 50: 16, 25: 32, 13: 61, 7: 114}

_Box = Sequence[float]
_Found = tuple[float, int, _Box]
"""Score, class and box."""


@pytest.mark.parametrize("side", list(BASE_SIZES))
def test_anchors_are_those_of_the_official_network(side: int) -> None:
    found = anchors(side)
    assert found.shape == (side * side * 9, 4)
    assert found.dtype == np.float32
    for x, y in ((0, 0), (3, 1), (side - 1, side - 1)):
        centre_x, centre_y = x * STRIDES[side], y * STRIDES[side]
        wanted = [(centre_x - w, centre_y - h, centre_x + w, centre_y + h) for w, h in HALF_SIZES[side]]
        first = (y * side + x) * 9
        assert found[first : first + 9].tolist() == [list(map(float, one)) for one in wanted]


def test_there_are_120_087_anchors() -> None:
    assert sum(len(anchors(side)) for side in BASE_SIZES) == 120_087


def test_a_box_is_shifted_by_sizes_of_its_anchor_and_grows_by_logarithms_up_to_a_limit() -> None:
    place = np.array([[100, 200, 140, 280]], np.float32)
    assert decode(np.zeros((1, 4), np.float32), place).tolist() == place.tolist()
    shifted = decode(np.array([[0.5, -0.25, math.log(2), 0]], np.float32), place)
    assert shifted[0] == pytest.approx([100, 180, 180, 260], abs=1e-3)
    far = decode(np.array([[0, 0, 50, 50]], np.float32), np.array([[400, 400, 401, 401]], np.float32))
    assert far[0] == pytest.approx([400.5 - 31.25, 400.5 - 31.25, 400.5 + 31.25, 400.5 + 31.25], abs=1e-3)
    outside = decode(np.array([[-9, 9, 0, 0]], np.float32), place)
    assert outside[0].tolist() == [0, SIDE, 0, SIDE]


def _overlap(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared) if sum(areas) > shared else 0.0


def _step_by_step(heads: Mapping[int, Head], classes: int) -> list[_Found]:
    """The reference's steps with plain loops: score, threshold, 1000 per map, decode, clip, suppress, 300."""
    candidates: list[_Found] = []
    for side, head in heads.items():
        places = anchors(side).tolist()
        found: list[_Found] = []
        for channel, y, x in np.argwhere(head.logits > -4).tolist():
            score = 1 / (1 + math.exp(-float(head.logits[channel, y, x])))
            if score > 0.05:
                anchor, label = divmod(channel, classes)
                row = (y * side + x) * 9 + anchor
                dx, dy, dw, dh = head.offsets[4 * anchor : 4 * anchor + 4, y, x].tolist()
                left, top, right, bottom = places[row]
                width, height = right - left, bottom - top
                centre = left + width / 2 + dx * width, top + height / 2 + dy * height
                half = (
                    width * math.exp(min(dw, math.log(62.5))) / 2,
                    height * math.exp(min(dh, math.log(62.5))) / 2,
                )
                box: _Box = (
                    centre[0] - half[0],
                    centre[1] - half[1],
                    centre[0] + half[0],
                    centre[1] + half[1],
                )
                found.append((score, label, tuple(min(max(value, 0), 800) for value in box)))
        candidates += sorted(found, key=lambda one: -one[0])[:1000]
    kept: list[_Found] = []
    for score, label, box in sorted(candidates, key=lambda one: -one[0]):
        if all(label != other or _overlap(box, place) <= 0.5 for _, other, place in kept):
            kept.append((score, label, box))
    return kept[:300]


def _heads(seed: int, sides: Iterable[int], classes: int, spread: float) -> dict[int, Head]:
    rng = np.random.default_rng(seed)
    return {
        side: Head(
            rng.normal(-6, spread, (9 * classes, side, side)).astype(np.float32),
            rng.normal(0, 0.3, (36, side, side)).astype(np.float32),
        )
        for side in sides
    }


@pytest.mark.parametrize(
    ("seed", "sides", "classes", "spread"),
    [(0, (25, 13, 7), 6, 1.2), (1, (13, 7), 264, 1.0), (2, (50,), 2, 2.0), (3, tuple(BASE_SIZES), 3, 0.9)],
)
def test_detections_are_those_of_the_steps_done_one_by_one(
    seed: int, sides: tuple[int, ...], classes: int, spread: float
) -> None:
    heads = _heads(seed, sides, classes, spread)
    wanted = _step_by_step(heads, classes)
    found = detect(heads)
    assert len(found.scores) == len(wanted) > 50
    assert found.labels.tolist() == [label for _, label, _ in wanted]
    assert np.allclose(found.scores, [score for score, _, _ in wanted], atol=1e-6)
    assert np.allclose(found.boxes, [box for _, _, box in wanted], atol=2e-2)


def test_no_more_than_300_are_kept_and_they_are_the_best() -> None:
    found = detect(_heads(4, (50, 25), 40, 2.5))
    assert len(found.scores) == 300
    assert (np.diff(found.scores) <= 0).all()
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= SIDE


def test_nothing_is_found_in_heads_that_say_no() -> None:
    heads = {25: Head(np.full((54, 25, 25), -9, np.float32), np.zeros((36, 25, 25), np.float32))}
    found = detect(heads)
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.labels.shape == (0,)


def test_the_threshold_itself_is_no_detection() -> None:
    logits = np.full((9, 7, 7), -9, np.float32)
    logits[0, 3, 3] = np.log(0.05 / 0.95) - 1e-3
    logits[0, 5, 5] = np.log(0.05 / 0.95) + 1e-3
    found = detect({7: Head(logits, np.zeros((36, 7, 7), np.float32))})
    assert found.scores == pytest.approx([0.05], abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(1, 4))
def test_what_is_kept_does_not_overlap_within_a_class_and_what_went_did(
    seed: int, count: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 40, (count, 2))], 1).astype(np.float32)
    labels = rng.integers(0, classes, count)
    kept = suppress(boxes, labels)
    assert kept.tolist() == sorted(kept.tolist())

    def beaten(index: int) -> bool:
        better = [other for other in kept.tolist() if other < index and labels[other] == labels[index]]
        return any(_overlap(boxes[index].tolist(), boxes[other].tolist()) > 0.5 for other in better)

    assert [index for index in range(count) if not beaten(index)] == kept.tolist()
