"""The timed part of 3d-unet: windows of a volume through the network, weighted, summed up, arg-max.

Source: MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19/inference_utils.py and base_SUT.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from models.benchmark import Session
from models.unet3d_volumes import CLASSES, STRIDE, WINDOW

INPUT, OUTPUT = "input", "output"
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


def segment(session: Session, volume: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return the label of every voxel: the network over all windows, several at once as the session takes.

    The reference divides the sum by the sum of the weights before the arg-max. That is one positive number
    for all three classes of a voxel, so the arg-max is the same without it. Of the sums only the slices that
    a window still to come touches are kept.

    Args:
        session: the network: `input` N × 1 × 128 × 128 × 128, `output` float N × 3 × 128 × 128 × 128.
        volume: as `prepare_image` makes it, float32 or int8.

    Returns:
        uint8, of the volume's shape.
    """
    depth, height, width = volume.shape
    sums = np.zeros((CLASSES, WINDOW, height, width), np.float32)
    labels = np.empty((depth, height, width), np.uint8)
    weighted = np.empty((WINDOW, WINDOW, WINDOW), np.float32)
    weights = patch()
    at = 0
    for (z, y, x), scores in _scores(session, volume):
        if z > at:
            _arg_max(sums[:, :STRIDE], labels[at:z])
            sums[:, : WINDOW - STRIDE] = sums[:, STRIDE:]
            sums[:, WINDOW - STRIDE :] = 0
            at = z
        for one, score in zip(sums, scores, strict=True):
            np.multiply(score, weights, out=weighted)
            one[:, y : y + WINDOW, x : x + WINDOW] += weighted
    _arg_max(sums, labels[at:])
    return labels


def _scores(
    session: Session, volume: NDArray[np.generic]
) -> Iterator[tuple[tuple[int, int, int], NDArray[np.generic]]]:
    """Yield each window's origin and scores (3 × 128 × 128 × 128), in order."""
    todo = origins(volume.shape)
    most = min(session.batch_size, len(todo))
    batch = np.empty((most, 1, WINDOW, WINDOW, WINDOW), volume.dtype)
    for start in range(0, len(todo), most):
        chosen = todo[start : start + most]
        for row, (z, y, x) in enumerate(chosen):
            batch[row, 0] = volume[z : z + WINDOW, y : y + WINDOW, x : x + WINDOW]
        yield from zip(chosen, session.infer({INPUT: batch[: len(chosen)]})[OUTPUT], strict=True)


def _arg_max(sums: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    """Write the first largest class of each voxel; three comparisons are faster than np.argmax."""
    background, kidney, tumour = sums
    np.greater(kidney, background, out=labels.view(np.bool_))
    labels[tumour > np.maximum(kidney, background)] = 2
