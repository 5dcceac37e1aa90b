"""The anchors of retinanet's feature maps, and the constants by which heads become detections.

The constants are those of the reference network (MLCommons training, retired benchmark `retinanet`,
model/retinanet.py, anchor_utils.py and boxes.py; the weights of MLPerf Inference v4.1 were trained with
them).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.retinanet.facts import SIDE

BASE_SIZES: Mapping[int, int] = MappingProxyType({100: 32, 50: 64, 25: 128, 13: 256, 7: 512})
"""Side of a feature map to the smallest size of its anchors, pixels. An edition may lack some of the maps."""
SCALES = (1.0, 2.0 ** (1 / 3), 2.0 ** (2 / 3))
"""Sizes of a map's anchors, as multiples of the smallest; the products lose their fraction."""
RATIOS = (0.5, 1.0, 2.0)
"""Height by width."""
ANCHORS = len(SCALES) * len(RATIOS)
"""Anchors per cell."""
SCORE_THRESHOLD = 0.05
"""A detection's score is greater."""
CANDIDATES = 1000
"""Most pairs of anchor and class that a map sends into the suppression."""
OVERLAP = 0.5
"""A box is suppressed if its intersection over union with a better one of its class is greater."""
DETECTIONS = 300
"""Most detections of an image."""
LARGEST_LOG_SIZE = float(np.log(1000 / 16))
"""Limit of the logarithm by which a box is larger than its anchor."""
_Floats = NDArray[np.float32]


@lru_cache(maxsize=16)
def anchors(side: int) -> _Floats:
    """Return the anchors of a map: float32, (side² · 9) × 4; row by row, in each cell ratios before scales.

    They stand at whole multiples of the stride, which is 800 // side: neither a power of two everywhere nor
    shifted by half a cell.

    Args:
        side: of the map, one of BASE_SIZES.
    """
    sizes = np.array([int(BASE_SIZES[side] * scale) for scale in SCALES], np.float32)
    tall = np.sqrt(np.array(RATIOS, np.float32))
    heights = (tall[:, None] * sizes).reshape(-1)
    widths = (np.float32(1) / tall[:, None] * sizes).reshape(-1)
    base = np.rint(np.stack([-widths, -heights, widths, heights], 1) / np.float32(2))
    steps = np.arange(side, dtype=np.float32) * np.float32(SIDE // side)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    corners = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    placed: _Floats = (corners + base).reshape(-1, 4)
    placed.setflags(write=False)
    return placed
