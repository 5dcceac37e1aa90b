"""The windows of a volume: where they begin, and how much each of their voxels counts.

Source: MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19/inference_utils.py and base_SUT.py.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from models.unet3d.volumes import STRIDE, WINDOW

SIGMA = 0.125 * WINDOW


def origins(shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return where the windows of a volume begin: z, y, x, the last running fastest."""
    z, y, x = (range(0, size - WINDOW + 1, STRIDE) for size in shape)
    return list(product(z, y, x))


def window_count(shape: tuple[int, ...]) -> int:
    """Return how many windows a volume has."""
    return int(np.prod([(size - WINDOW) // STRIDE + 1 for size in shape]))


@cache
def patch() -> NDArray[np.float32]:
    """Return the weight of each voxel of a window, float32, largest 1.

    The reference takes the cube root of the product of three Gaussians (sigma 16 voxels, centre 63.5).
    """
    squares = (np.arange(WINDOW) - (WINDOW - 1) / 2) ** 2
    sum_of_squares = squares[:, None, None] + squares[None, :, None] + squares[None, None, :]
    weights = np.exp(-sum_of_squares / (6 * SIGMA**2))
    weights /= weights.max()
    rounded: NDArray[np.float32] = weights.astype(np.float32)
    rounded.setflags(write=False)
    return rounded
