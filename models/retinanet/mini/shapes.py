"""Pictures with several objects of several classes at different scales; every sample can be rendered alone.

What makes a picture a test of the official preprocessing and decoding of retinanet:

* A class is a shape in a colour. Swapped channels turn each class into another one.
* Green objects stand between the others and are no class. A picture whose values are scaled or shifted
  wrongly shows other colours.
* Pictures have all aspect ratios from 3:5 to 5:3, so that boxes are wrong unless width and height are treated
  apart, in the resize and in the response.
* Boxes are tight, and the metric asks for an overlap of up to 95 %: a shift by half a cell shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Split = Literal["training", "validation", "calibration"]
CLASSES = ("red disk", "red triangle", "red cross", "blue disk", "blue triangle", "blue cross")
SEED = 20_240_829

_SPLITS: tuple[Split, ...] = ("training", "validation", "calibration")
_SHAPES = 3
_COLOURS = (((165, 20, 10), (250, 85, 75)), ((10, 20, 165), (75, 85, 250)), ((15, 150, 15), (80, 240, 80)))
"""Lower and upper limits of red, green and blue: of red, blue and (no class) green objects."""
_OBJECTS = (2, 8)
_GREEN = (0, 3)
_WIDTH = (360, 640)
_ASPECT = (0.6, 1.0 / 0.6)
_SMALLEST, _LARGEST = 0.075, 0.42
"""Side of an object as a share of the picture's."""
_STRETCH = 1.6
"""Most that an object's two shares differ."""
_OVERLAP = 0.12
"""Most that a box may share with another, of the smaller one."""
_TRIES = 25
_TILE = 1200

_Image = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """One rendered sample.

    Attributes:
        jpeg: the bytes of the file.
        height: pixels.
        width: pixels.
        boxes: float64, objects × 4: x, y, width, height in pixels, as COCO's annotations have them.
        labels: int64, one class per object, an index into CLASSES.
    """

    jpeg: bytes
    height: int
    width: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


def render(split: Split, index: int) -> Picture:
    """Render one sample; the same arguments give the same bytes, in any order and in any thread.

    Args:
        split: the splits share no picture.
        index: number of the sample, from 0.
    """
    rng = np.random.default_rng([SEED, _SPLITS.index(split), index])
    width = int(rng.integers(*_WIDTH))
    height = int(np.clip(round(width / np.exp(rng.uniform(*np.log(_ASPECT)))), 300, 680))
    image = _backdrop(rng, height, width)
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    wanted = int(rng.integers(*_OBJECTS))
    for number in range(wanted + int(rng.integers(*_GREEN))):
        box = _free_place(rng, height, width, boxes)
        if box is None:
            continue
        boxes.append(box)
        shape, colour = int(rng.integers(_SHAPES)), int(rng.integers(2)) if number < wanted else 2
        labels.append(colour * _SHAPES + shape)
        _draw(image, box, shape, rng.uniform(*_COLOURS[colour]))
    image = _grain(rng, image, rng.uniform(0.02, 0.1))
    quality = int(rng.integers(75, 96))
    done, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise RuntimeError(f"OpenCV could not encode sample {index}")
    counted = np.array(labels, np.int64) < len(CLASSES)
    return Picture(
        jpeg.tobytes(),
        height,
        width,
        np.array(boxes, np.float64).reshape(-1, 4)[counted],
        np.array(labels, np.int64)[counted],
    )


@lru_cache(maxsize=1)
def _noise() -> _Image:
    """Coarse grain around 128, 1200×1200×3."""
    rng = np.random.default_rng(SEED)
    small = rng.integers(0, 256, (_TILE // 2, _TILE // 2, 3), dtype=np.uint8)
    large: _Image = cv2.resize(small, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
    return large


def _grain(rng: np.random.Generator, image: _Image, strength: float) -> _Image:
    height, width = image.shape[:2]
    top, left = rng.integers(_TILE - height), rng.integers(_TILE - width)
    tile = _noise()[top : top + height, left : left + width]
    mixed: _Image = cv2.addWeighted(image, 1.0, tile, strength, -128 * strength)
    return mixed


def _backdrop(rng: np.random.Generator, height: int, width: int) -> _Image:
    """Soft patches of any brightness, tinted a little."""
    level = rng.uniform(40, 215) + rng.normal(0, 28, (5, 5, 1))
    patches = np.clip(level + rng.normal(0, 10, (5, 5, 3)), 5, 250).astype(np.uint8)
    image: _Image = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return image


def _free_place(
    rng: np.random.Generator, height: int, width: int, taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """Return x, y, width, height of a place that hardly touches others, or None if none was found."""
    for _ in range(_TRIES):
        share = np.exp(rng.uniform(*np.log((_SMALLEST, _LARGEST))))
        stretch = np.exp(rng.uniform(-1, 1) * np.log(_STRETCH) / 2)
        wide = round(width * min(share * stretch, 0.6))
        high = round(height * min(share / stretch, 0.6))
        x, y = int(rng.integers(2, width - wide - 2)), int(rng.integers(2, height - high - 2))
        if all(_shared((x, y, wide, high), other) <= _OVERLAP for other in taken):
            return x, y, wide, high
    return None


def _shared(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Return the area that two boxes share, of the smaller one's."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(across, 0) * max(down, 0) / min(one[2] * one[3], other[2] * other[3])


def _draw(image: _Image, box: tuple[int, int, int, int], shape: int, colour: NDArray[np.float64]) -> None:
    """Fill a shape that touches all four sides of its box."""
    x, y, width, height = box
    right, bottom = x + width - 1, y + height - 1
    fill = tuple(float(value) for value in colour)
    if shape == 0:
        part = 16  # cv2 takes fractions of a pixel as integers
        centre = (x + right) * part // 2, (y + bottom) * part // 2
        axes = (width - 1) * part // 2, (height - 1) * part // 2
        cv2.ellipse(image, centre, axes, 0, 0, 360, fill, cv2.FILLED, cv2.LINE_AA, 4)
    elif shape == 1:
        corners = np.array([[(x + right) // 2, y], [right, bottom], [x, bottom]], np.int32)
        cv2.fillPoly(image, [corners], fill, cv2.LINE_AA)
    else:
        third, down = max(width // 3, 2), max(height // 3, 2)
        cv2.rectangle(image, (x + third, y), (right - third, bottom), fill, cv2.FILLED)
        cv2.rectangle(image, (x, y + down), (right, bottom - down), fill, cv2.FILLED)
