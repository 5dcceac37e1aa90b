"""Small CT-like volumes with kidneys and tumours, for 3d-unet's mini edition: deterministic, any number.

Lengths are in millimetres and axes in the order z, y, x, as KiTS19 stores them. What makes a voxel kidney is
its grey value together with the size and the direction of its body; what makes it tumour is its grey value
together with a kidney beside it. So resampling, axis order and normalisation all count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["training", "validation", "calibration"]
Triple = tuple[float, float, float]
_SPLITS: Mapping[Split, int] = {"training": 0, "validation": 1, "calibration": 2}
SEED = 20190719
KIDNEY, TUMOUR = 1, 2
TARGET_SPACING = (1.6, 1.2, 1.2)
"""The spacing that volumes are resampled to, mm; only chooses sizes here."""

AIR, FAT, MUSCLE, BONE, METAL = -1000.0, -90.0, 40.0, 700.0, 2600.0
KIDNEY_HU, TUMOUR_HU, VESSEL_HU = 190.0, 105.0, 260.0
"""Hounsfield units after contrast medium, roughly."""
_NOISE_HU = 14.0
_EDGE = 0.12
"""Half the width of a body's blurred edge, as a share of its radius."""
_SIZES = ((128, 128, 128),) * 6 + ((192, 128, 128),) * 2 + ((128, 192, 128), (128, 128, 192), (192, 192, 128))
"""Shapes after preprocessing: 1, 2 or 4 windows."""
_MARGIN = 30.0
"""From the volume's border to the centre of a kidney at least, beside its own half length, mm."""


@dataclass(frozen=True)
class Volume:
    """One case.

    Attributes:
        image: int16 Hounsfield units, z × y × x.
        label: uint8, 0 background, 1 kidney, 2 tumour; same shape.
        spacing: of the voxels, mm.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    spacing: Triple


@dataclass(frozen=True)
class _Body:
    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    value: float
    label: int = 0
    lumps: float = 0.06
    texture: float = 0.0


def render(split: Split, index: int) -> Volume:
    """Return one case of a split; it depends on nothing but these two."""
    random = np.random.Generator(np.random.SFC64([SEED, _SPLITS[split], index]))
    spacing, shape = _grid(random)
    size = np.array(shape) * spacing
    canvas = _Canvas(random, shape, spacing)
    kidneys = _kidneys(random, size)
    tumours = _tumours(random, kidneys)
    for body in [*_scenery(random, size, [*kidneys, *tumours]), *kidneys, *tumours]:
        canvas.add(body)
    for body in _stones(random, kidneys):
        canvas.add(body)
    return Volume(canvas.finished(), canvas.label, (spacing[0], spacing[1], spacing[2]))


def _grid(random: np.random.Generator) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Choose spacing and shape so that the resampled volume is padded or cropped on each axis."""
    if random.random() < 0.1:
        spacing = np.array(TARGET_SPACING)
    else:
        in_plane = round(random.uniform(1.0, 1.9), 3)
        spacing = np.array([round(random.uniform(1.25, 3.0), 2), in_plane, in_plane])
    wanted = np.array(_SIZES[random.integers(len(_SIZES))])
    low = np.where(wanted == 128, -24, -30)
    after = wanted + random.integers(low, 31)
    counts = np.rint(after * np.array(TARGET_SPACING) / spacing).astype(int)
    return spacing, (int(counts[0]), int(counts[1]), int(counts[2]))


def _kidneys(random: np.random.Generator, size: NDArray[np.float64]) -> list[_Body]:
    """Two long bodies beside each other, their long axis along z."""
    middle = np.array([random.uniform(_MARGIN + 28, one - _MARGIN - 28) for one in size])
    middle[2] = random.uniform(_MARGIN + 38, max(size[2] - _MARGIN - 38, _MARGIN + 39))
    bodies = []
    for side in (-1, 1):
        radii = np.array([random.uniform(26, 31), random.uniform(14, 16.5), random.uniform(14, 16.5)])
        aside = np.array([random.uniform(-12, 12), random.uniform(-6, 6), side * random.uniform(27, 34)])
        value = KIDNEY_HU + random.uniform(-8, 8)
        bodies.append(_Body(middle + aside, radii, value, KIDNEY, lumps=0.08, texture=10.0))
    return bodies


def _tumours(random: np.random.Generator, kidneys: list[_Body]) -> list[_Body]:
    """A round body at the surface of one kidney, in one case of three at the other's as well."""
    chosen = random.permutation(2)[: 2 if random.random() < 0.35 else 1]
    bodies = []
    for kidney in (kidneys[one] for one in chosen):
        direction = random.normal(size=3) * [0.7, 1, 1]
        direction /= np.linalg.norm(direction)
        centre = kidney.centre + direction * kidney.radii * random.uniform(0.75, 1.0)
        radius = random.uniform(11.5, 17)
        radii = radius * random.uniform(0.9, 1.1, 3)
        value = TUMOUR_HU + random.uniform(-8, 8)
        bodies.append(_Body(centre, radii, value, TUMOUR, lumps=0.1, texture=14.0))
    return bodies


def _scenery(random: np.random.Generator, size: NDArray[np.float64], organs: list[_Body]) -> list[_Body]:
    """What is not to be marked: bodies of a kidney's or tumour's grey value, not of its shape or place."""
    large = float(np.prod(size) / np.prod([205.0, 154.0, 154.0]))
    few = max(1, round(3 * large))
    wanted: list[tuple[int, float, Triple, Triple]] = [
        (few, KIDNEY_HU, (13, 12, 26), (16, 15, 32)),  # lies across
        (2 * few, KIDNEY_HU, (6, 6, 6), (9, 9, 9)),
        (few, TUMOUR_HU, (10, 10, 10), (17, 17, 17)),
        (few, VESSEL_HU, (40, 4, 4), (60, 6, 6)),
        (few, BONE, (10, 8, 8), (20, 14, 14)),
        (few, AIR, (8, 8, 8), (14, 14, 14)),
    ]
    bodies = [
        _Body(random.uniform(0, 1, 3) * size, random.uniform(0.3, 0.5, 3) * size, MUSCLE, lumps=0.2)
        for _ in range(3)
    ]
    for count, value, least, most in wanted:
        for _ in range(count):
            radii = random.uniform(least, most)
            for _ in range(20):
                centre = random.uniform(0, 1, 3) * size
                gaps = [np.abs(centre - one.centre) - one.radii - radii for one in organs]
                if all(gap.max() > 3 for gap in gaps):
                    bodies.append(_Body(centre, radii, value + random.uniform(-8, 8), texture=10.0))
                    break
    return bodies


def _stones(random: np.random.Generator, kidneys: list[_Body]) -> list[_Body]:
    """Metal and gas in a kidney: no matter to who clips the grey values."""
    bodies = []
    for kidney in kidneys:
        for value in (METAL, AIR):
            centre = kidney.centre + random.uniform(-0.5, 0.5, 3) * kidney.radii
            bodies.append(_Body(centre, random.uniform(2.0, 3.5, 3), value, KIDNEY, lumps=0.0))
    return bodies


class _Canvas:
    """A volume that bodies are drawn into, one over the other."""

    def __init__(
        self, random: np.random.Generator, shape: tuple[int, int, int], spacing: NDArray[np.float64]
    ) -> None:
        self._random = random
        self._spacing = spacing
        self._image = np.full(shape, FAT, np.float32)
        self.label: NDArray[np.uint8] = np.zeros(shape, np.uint8)

    def add(self, body: _Body) -> None:
        reach = body.radii * (1 + body.lumps * 2 + _EDGE)
        low = np.maximum(np.floor((body.centre - reach) / self._spacing), 0).astype(int)
        high = np.minimum(np.ceil((body.centre + reach) / self._spacing) + 1, self.label.shape).astype(int)
        phases = self._random.uniform(0, 2 * np.pi, (2, 2, 3))
        if (high <= low).any():
            return
        axes = [
            ((np.arange(low[axis], high[axis]) * self._spacing[axis] - body.centre[axis]) / body.radii[axis])
            .astype(np.float32)
            .reshape([-1 if axis == one else 1 for one in range(3)])
            for axis in range(3)
        ]
        distance = np.sqrt(axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2)
        if body.lumps:
            distance += np.float32(body.lumps) * _waves(axes, 3.5, phases[0])
        part = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        value = np.float32(body.value) + np.float32(body.texture) * _waves(axes, 7.0, phases[1])
        share = np.clip((1 - distance) / np.float32(2 * _EDGE) + np.float32(0.5), 0, 1)
        self._image[part] += share * (value - self._image[part])
        self.label[part][distance < 1] = body.label

    def finished(self) -> NDArray[np.int16]:
        """Return the image with its noise, in whole Hounsfield units."""
        self._image += np.float32(_NOISE_HU) * self._random.standard_normal(self._image.shape, np.float32)
        return np.clip(np.rint(self._image), -1024, 3071).astype(np.int16)


def _waves(
    axes: list[NDArray[np.float32]], frequency: float, phases: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return a smooth field between -1 and 1, different in every direction."""
    first = [np.sin(frequency * one + np.float32(two)) for one, two in zip(axes, phases[0], strict=True)]
    second = [
        np.sin(0.6 * frequency * one + np.float32(two)) for one, two in zip(axes, phases[1], strict=True)
    ]
    field: NDArray[np.float32] = 0.5 * (first[0] * first[1] * first[2] + second[0] * second[1] * second[2])
    return field.astype(np.float32)
