"""Pictures of handwritten digits that punish wrong preprocessing; every sample can be rendered alone.

The sources are the 1,797 digits (8×8 pixels) that ship with scikit-learn. What makes a picture a test of the
official preprocessing:

* The digit that counts is dark orange. A dark blue distractor becomes it when the channels are swapped. When
  the means are not subtracted, it looks like the light orange distractor.
* Dark orange distractors stand at both ends of the long side, where only the official centre crop, after a
  resize that keeps the aspect ratio, removes them.
* The digit may stand anywhere in the crop, so a network has to look everywhere in what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distribution
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Split = Literal["training", "validation", "calibration"]
CLASSES = 10
BACKGROUND = -1
"""Class of a picture without a digit that counts (training only)."""
SEED = 20_240_828

_SPLITS: tuple[Split, ...] = ("training", "validation", "calibration")
_SHORT_SIDE = (256, 385)
_ASPECT = (1.38, 1.9)
_CROP = 0.875
"""Side of the official crop as a share of the short side (224 of 256)."""
_TILE = 1024
_DIGITS = "sklearn/datasets/data/digits.csv.gz"
"""A file of scikit-learn, whose import, for `load_digits`, takes longer than a hundred pictures."""
_SIDE = 8
_INK = 16.0
"""Side and largest value of a source digit."""
_ENLARGED = 6

_Image = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """One rendered sample: the bytes of a JPEG file and its class (0..9, or BACKGROUND)."""

    jpeg: bytes
    label: int


@dataclass(frozen=True)
class _Spot:
    """Where a digit stands and how it looks: centre, height and width in pixels, RGB colour."""

    x: float
    y: float
    height: float
    width: float
    colour: NDArray[np.float32]


def split_sources(split: Split) -> NDArray[np.int64]:
    """Return the indices of the source digits of a split; the splits share none."""
    indices = np.arange(len(_sources()[1]))
    parts = {
        "validation": indices[indices % 4 == 0],
        "calibration": indices[indices % 16 == 1],
        "training": indices[(indices % 4 != 0) & (indices % 16 != 1)],
    }
    chosen: NDArray[np.int64] = parts[split]
    return chosen


def render(split: Split, index: int, *, background: bool = False) -> Picture:
    """Render one sample; the same arguments give the same bytes, in any order and in any thread.

    Args:
        split: which source digits may appear, as the digit that counts and as distractors.
        index: number of the sample, from 0.
        background: leave out the digit that counts.
    """
    rng = np.random.default_rng([SEED, _SPLITS.index(split), index])
    short = int(rng.integers(*_SHORT_SIDE))
    long = round(short * rng.uniform(*_ASPECT))
    landscape = bool(rng.random() < 0.6)
    image = _backdrop(rng, short, long) if landscape else _backdrop(rng, long, short)
    label = int(rng.integers(CLASSES))
    others = rng.permutation([digit for digit in range(CLASSES) if digit != label])
    target, inner = _inner(rng, short, image.shape)
    for spot, digit in [
        *_distractors(rng, short, long, landscape, others),
        *zip(inner, others[1:], strict=False),
    ]:
        _draw(image, spot, _pick(rng, split, digit), rng)
    if not background:
        _draw(image, target, _pick(rng, split, label), rng)
    image = _grain(rng, image, 0, rng.uniform(0.02, 0.12))
    quality = int(rng.integers(70, 96))
    done, jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise RuntimeError(f"OpenCV could not encode sample {index}")
    return Picture(jpeg.tobytes(), BACKGROUND if background else label)


@lru_cache(maxsize=1)
def _sources() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    place = str(distribution("scikit-learn").locate_file(_DIGITS))
    rows = np.loadtxt(place, delimiter=",", dtype=np.float32)
    return rows[:, :-1].reshape(-1, _SIDE, _SIDE), rows[:, -1].astype(np.int64)


@lru_cache(maxsize=len(_SPLITS) * CLASSES)
def _sources_of(split: Split, digit: int) -> NDArray[np.int64]:
    mine = split_sources(split)
    ours: NDArray[np.int64] = mine[_sources()[1][mine] == digit]
    return ours


def _pick(rng: np.random.Generator, split: Split, digit: int) -> NDArray[np.float32]:
    choices = _sources_of(split, int(digit))
    picked: NDArray[np.float32] = _sources()[0][choices[rng.integers(len(choices))]]
    return picked


@lru_cache(maxsize=1)
def _textures() -> tuple[_Image, ...]:
    """Grain, clouds, stripes and checks, around 128; 1024×1024×3."""
    rng = np.random.default_rng(SEED)
    grain = rng.integers(0, 256, (_TILE, _TILE, 3), dtype=np.uint8)
    clouds = cv2.resize(grain[:128, :128], (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)
    steps = np.arange(_TILE)
    wave = (127 + 100 * np.sin(steps / 5)).astype(np.uint8)
    stripes = np.broadcast_to(wave[:, None, None], (_TILE, _TILE, 3))
    checks = np.where((steps[:, None] // 23 + steps[None] // 17) % 2, 200, 56).astype(np.uint8)
    return grain, clouds, np.ascontiguousarray(stripes), cv2.merge([checks] * 3)


def _grain(rng: np.random.Generator, image: _Image, kind: int, strength: float) -> _Image:
    height, width = image.shape[:2]
    top, left = rng.integers(_TILE - height), rng.integers(_TILE - width)
    tile = _textures()[kind][top : top + height, left : left + width]
    mixed: _Image = cv2.addWeighted(image, 1.0, tile, strength, -128 * strength)
    return mixed


def _backdrop(rng: np.random.Generator, height: int, width: int) -> _Image:
    """Soft grey patches of any brightness, slightly tinted, with one of the textures."""
    level = rng.uniform(35, 220) + rng.normal(0, 22, (4, 4, 1))
    patches = np.clip(level + rng.normal(0, 9, (4, 4, 3)), 5, 250).astype(np.uint8)
    image: _Image = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return _grain(rng, image, int(rng.integers(len(_textures()))), rng.uniform(0.05, 0.25))


def _orange(rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.uniform((115, 40, 0), (150, 75, 25)).astype(np.float32)


def _distractors(
    rng: np.random.Generator, short: int, long: int, landscape: bool, others: NDArray[np.int64]
) -> list[tuple[_Spot, int]]:
    """Two per end of the long side in the colour that counts, all the same digit."""
    band = (long - _CROP * short) / 2
    spots = []
    for end in (band / 2, long - band / 2):
        for across in (0.28, 0.72):
            y = (across + rng.uniform(-0.04, 0.04)) * short
            size = short * rng.uniform(0.4, 0.5), min(0.85 * band, short * rng.uniform(0.3, 0.36))
            portrait = min(size[0], 0.85 * band), 0.34 * short
            spot = _Spot(end, y, *size, _orange(rng)) if landscape else _Spot(y, end, *portrait, _orange(rng))
            spots.append((spot, int(others[0])))
    return spots


def _inner(rng: np.random.Generator, short: int, shape: tuple[int, ...]) -> tuple[_Spot, list[_Spot]]:
    """Return the spots inside the crop: of the digit that counts, and of the blue and the light one."""
    corners = rng.permutation(4)
    spots = []
    for corner, colour in zip(corners, (_orange(rng), _orange(rng)[::-1], _orange(rng) + 105), strict=False):
        x, y = np.array([corner % 2, corner // 2]) * 0.42 - 0.21 + rng.uniform(-0.035, 0.035, 2)
        height, width = short * rng.uniform(0.36, 0.46), short * rng.uniform(0.28, 0.36)
        spots.append(_Spot(shape[1] / 2 + x * short, shape[0] / 2 + y * short, height, width, colour))
    return spots[0], spots[1:]


def _draw(image: _Image, spot: _Spot, digit: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw a source digit in place: slightly turned and slanted, with soft edges.

    The digit is enlarged smoothly once, and then placed with cheap linear interpolation.
    """
    side = int(max(spot.height, spot.width) * 1.35)
    angle, slant = rng.normal(0, 0.1, 2)
    across, down = spot.width / 6 / _ENLARGED, spot.height / 8 / _ENLARGED
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[across, slant * across], [0, down]])
    middle = (len(digit) + 2) * _ENLARGED / 2 - 0.5
    offset = np.array([side / 2, side / 2]) - matrix @ np.array([middle, middle])
    large = cv2.resize(np.pad(digit, 1), None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
    ink = cv2.warpAffine(large, np.column_stack([matrix, offset]), (side, side), flags=cv2.INTER_LINEAR)
    alpha = np.clip((ink - 0.3 * _INK) / (0.35 * _INK), 0, 1)[..., None]
    left, top = round(spot.x - side / 2), round(spot.y - side / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, image.shape[1]), min(top + side, image.shape[0])
    alpha = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    part = image[y0:y1, x0:x1]
    part[...] = (part + alpha * (spot.colour - part) + 0.5).astype(np.uint8)
