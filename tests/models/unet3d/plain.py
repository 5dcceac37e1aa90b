"""3d-unet's sums with NumPy: the oracle of what the network computes itself.

Source: MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19/inference_utils.py and base_SUT.py.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Session
from models.unet3d import windows
from models.unet3d.tensors import INPUT, OUTPUT
from models.unet3d.volumes import CLASSES, STRIDE, WINDOW
from models.unet3d.windows import origins


class VolumeSums:
    """One volume on its way through the network: gives its windows in order, takes their scores in order.

    The reference divides the sum by the sum of the weights before the arg-max. That is one positive number
    for all three classes of a voxel, so the arg-max is the same without it. Of the sums only the slices that
    a window still to come touches are kept.

    Args:
        volume: as `prepare_image` makes it, float32 or int8.
    """

    def __init__(self, volume: NDArray[np.generic]) -> None:
        depth, height, width = volume.shape
        self.labels = np.empty((depth, height, width), np.uint8)
        self._volume = volume
        self._origins = origins(volume.shape)
        self._given = self._taken = self._at = 0
        self._sums = np.zeros((CLASSES, WINDOW, height, width), np.float32)
        self._weighted = np.empty((WINDOW, WINDOW, WINDOW), np.float32)

    @property
    def left(self) -> int:
        """How many windows have not been given yet."""
        return len(self._origins) - self._given

    def give(self, row: NDArray[np.generic]) -> None:
        """Copy the next window into a row of a batch, 1 × 128 × 128 × 128."""
        z, y, x = self._origins[self._given]
        self._given += 1
        row[0] = self._volume[z : z + WINDOW, y : y + WINDOW, x : x + WINDOW]

    def take(self, scores: NDArray[np.generic]) -> bool:
        """Add the scores of the next window, 3 × 128 × 128 × 128; return whether `labels` are complete."""
        z, y, x = self._origins[self._taken]
        self._taken += 1
        sums = self._sums
        if z > self._at:
            _arg_max(sums[:, :STRIDE], self.labels[self._at : z])
            sums[:, : WINDOW - STRIDE] = sums[:, STRIDE:]
            sums[:, WINDOW - STRIDE :] = 0
            self._at = z
        weights = windows.patch()
        for one, score in zip(sums, scores, strict=True):
            np.multiply(score, weights, out=self._weighted)
            one[:, y : y + WINDOW, x : x + WINDOW] += self._weighted
        if self._taken < len(self._origins):
            return False
        _arg_max(sums, self.labels[self._at :])
        return True


class WindowBatches:
    """Volumes that share the network's batches: the last windows of one go with the first of the next.

    Args:
        session: the network: `input` N × 1 × 128 × 128 × 128, `output` float N × 3 × 128 × 128 × 128.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: deque[tuple[int, VolumeSums]] = deque()
        self._batch: NDArray[np.generic] = np.empty(0)

    @property
    def left(self) -> int:
        """How many windows wait for a batch."""
        return sum(sums.left for _, sums in self._waiting)

    def enter(self, number: int, volume: NDArray[np.generic]) -> None:
        """Put a volume's windows behind those that wait; `number` is the caller's name for it."""
        self._waiting.append((number, VolumeSums(volume)))
        if self._batch.dtype != volume.dtype or not self._batch.size:
            self._batch = np.empty((self._session.batch_size, 1, WINDOW, WINDOW, WINDOW), volume.dtype)

    def step(self) -> list[tuple[int, NDArray[np.uint8]]]:
        """Run one batch; return the volumes that are complete, with the label of every voxel."""
        senders: list[tuple[int, VolumeSums]] = []
        while self._waiting and len(senders) < len(self._batch):
            number, sums = self._waiting[0]
            sums.give(self._batch[len(senders)])
            senders.append((number, sums))
            if not sums.left:
                self._waiting.popleft()
        scores = self._session.infer({INPUT: self._batch[: len(senders)]})[OUTPUT]
        return [
            (number, sums.labels)
            for (number, sums), score in zip(senders, scores, strict=True)
            if sums.take(score)
        ]


def segment(session: Session, volume: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return the label of every voxel: uint8, of the volume's shape; see `WindowBatches`."""
    batches = WindowBatches(session)
    batches.enter(0, volume)
    while batches.left:
        done = batches.step()
    return done[0][1]


def _arg_max(sums: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    """Write the first largest class of each voxel; three comparisons are faster than np.argmax."""
    background, kidney, tumour = sums
    np.greater(kidney, background, out=labels.view(np.bool_))
    labels[tumour > np.maximum(kidney, background)] = 2
