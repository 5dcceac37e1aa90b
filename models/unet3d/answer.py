"""3d-unet-99's answers: a uint8 mask of the preprocessed shape for each volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.benchmark import LoopAnswer, LoopStep, Responses, Samples, Session
from models.unet3d.samples import VolumeSamples
from models.unet3d.tensors import EMIT, FRESH, INPUT, LABELS, PARTS, QUARTERS, SIDE, WRITE
from models.unet3d.volumes import WINDOW
from models.unet3d.windows import origins


class Unet3dAnswer(LoopAnswer):
    """Volumes have unequally many windows: each has a row of the batch until its last window is through."""

    response_dtype = "uint8"

    def open(self, session: Session, samples: Samples) -> VolumeLoop:
        """Return a loop with a place for a volume in each row of the session's state."""
        return VolumeLoop(session, cast(VolumeSamples, samples))


class VolumePlan:
    """What the network has to be told about each window of a volume, made once when the volume enters.

    Args:
        volume: as `prepare_image` makes it, float32 or int8.

    Attributes:
        volume: the same.
        quarters, write, fresh: of every window, see `models.unet3d.tensors`.
        blocks: of each of the four tensors: how many blocks the volume has there.
    """

    def __init__(self, volume: NDArray[np.generic]) -> None:
        self.volume = volume
        self.origins = origins(volume.shape)
        self._counts = np.array([size // SIDE for size in volume.shape], np.int64)
        begin = np.array(self.origins, np.int64) // SIDE
        odd = np.array([(part // 2, part % 2) for part in range(PARTS)])
        ahead = (odd[None] - begin[:, None, :2]) % 2
        self.quarters: NDArray[np.int64] = 2 * ahead[..., 0] + ahead[..., 1]
        rows = (begin[:, None, :2] + ahead) // 2
        across = (self._counts[1] + 1 - odd[:, 1]) // 2
        self.write: NDArray[np.int64] = (rows[..., 0] * across + rows[..., 1]) * self._counts[2] + begin[
            :, 2:
        ]
        self.blocks = (self._counts[0] + 1 - odd[:, 0]) // 2 * across * self._counts[2]
        self.fresh = np.ones((len(begin), PARTS, 2), bool)
        for part in range(PARTS):
            places = (self.write[:, part, None] + np.arange(2)).reshape(-1)
            first = np.zeros(len(places), bool)
            first[np.unique(places, return_index=True)[1]] = True
            self.fresh[:, part] = first.reshape(-1, 2)

    def window(self, number: int) -> NDArray[np.generic]:
        """Return a window, 128 x 128 x 128."""
        z, y, x = self.origins[number]
        return self.volume[z : z + WINDOW, y : y + WINDOW, x : x + WINDOW]

    def wanted(self, count: int) -> NDArray[np.int64]:
        """Return for each of the four tensors all of its blocks, filled up to `count` with the last."""
        wanted: NDArray[np.int64] = np.minimum(np.arange(count), self.blocks[:, None] - 1)
        return wanted

    def labels(self, blocks: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the label of every voxel out of those of the wanted blocks, 4 x count x 262,144."""
        z, y, x = self._counts.tolist()
        whole = np.empty((z, SIDE, y, SIDE, x, SIDE), np.uint8)
        for part, rows in enumerate(blocks):
            down, across = (whole[part // 2 :: 2, :, part % 2 :: 2].shape[axis] for axis in (0, 2))
            parts = rows[: self.blocks[part]].reshape(down, across, x, SIDE, SIDE, SIDE)
            whole[part // 2 :: 2, :, part % 2 :: 2] = parts.transpose(0, 3, 1, 4, 2, 5)
        return whole.reshape(z * SIDE, y * SIDE, x * SIDE)


class VolumeLoop:
    """A volume enters a row of the batch when another has left it; every call has a window of each."""

    def __init__(self, session: Session, samples: VolumeSamples) -> None:
        self._session = session
        self._samples = samples
        rows = session.batch_size
        self._plans: list[VolumePlan | None] = [None] * rows
        self._ids = [0] * rows
        self._next = [0] * rows
        self._windows: NDArray[np.generic] = np.empty(0)
        self._quarters = np.tile(np.arange(PARTS), (rows, 1))
        self._write = np.zeros((rows, PARTS), np.int64)
        self._fresh = np.ones((rows, PARTS, 2), bool)

    @property
    def room(self) -> int:
        """How many rows are free."""
        return self._plans.count(None)

    @property
    def is_idle(self) -> bool:
        """Whether all of them are."""
        return self.room == len(self._plans)

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Give each volume the lowest free row."""
        for id_, index in zip(ids, indices.tolist(), strict=True):
            row = self._plans.index(None)
            plan = VolumePlan(self._samples.volume(index))
            self._plans[row], self._ids[row], self._next[row] = plan, id_, 0
            if self._windows.dtype != plan.volume.dtype or not self._windows.size:
                sides = (WINDOW, WINDOW, WINDOW)
                self._windows = np.zeros((len(self._plans), 1, *sides), plan.volume.dtype)

    def step(self) -> LoopStep:
        """Run the next window of every volume; those whose last it was are answered."""
        running = [(row, plan) for row, plan in enumerate(self._plans) if plan is not None]
        count = running[-1][0] + 1
        ending = [(row, plan) for row, plan in running if self._next[row] + 1 == len(plan.origins)]
        emit = np.zeros((count, PARTS, max([1, *(int(plan.blocks.max()) for _, plan in ending)])), np.int64)
        for row, plan in ending:
            emit[row] = plan.wanted(emit.shape[2])
        for row, plan in running:
            number = self._next[row]
            self._windows[row, 0] = plan.window(number)
            self._quarters[row], self._write[row] = plan.quarters[number], plan.write[number]
            self._fresh[row] = plan.fresh[number]
            self._next[row] += 1
        inputs = {
            INPUT: self._windows[:count],
            QUARTERS: self._quarters[:count],
            WRITE: self._write[:count],
            FRESH: self._fresh[:count],
            EMIT: emit,
        }
        found = self._session.infer(inputs)[LABELS]
        masks = [plan.labels(found[row]) for row, plan in ending]
        for row, _ in ending:
            self._plans[row] = None
        return LoopStep([self._ids[row] for row, _ in ending], _responses(masks))


def _responses(masks: Sequence[NDArray[np.uint8]]) -> Responses:
    offsets = np.concatenate(([0], np.cumsum([mask.size for mask in masks], dtype=np.int64)))
    flat = [mask.reshape(-1) for mask in masks]
    return Responses(flat[0] if len(flat) == 1 else np.concatenate([np.empty(0, np.uint8), *flat]), offsets)


ANSWER = Unet3dAnswer()
