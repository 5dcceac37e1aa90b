"""3d-unet-99's answers: a uint8 mask of the preprocessed shape for each volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import LoopAnswer, LoopStep, Responses, Samples, Session
from models.unet3d.samples import VolumeSamples
from models.unet3d.tensors import FRESH, INPUT, LABELS, PARTS, QUARTERS, SIDE, WRITE
from models.unet3d.volumes import WINDOW
from models.unet3d.windows import origins


class Unet3dAnswer(LoopAnswer):
    """Volumes have unequally many windows: each has a row of the batch until its last window is through."""

    response_dtype = "uint8"

    def open(self, session: Session, samples: Samples) -> VolumeLoop:
        """Return a loop with a place for a volume in each row of the session's state."""
        return VolumeLoop(session, cast(VolumeSamples, samples))


class VolumePlan:
    """A volume on its way through the network: what that has to be told about each window, and what it said.

    Args:
        volume: as `prepare_image` makes it, float32 or int8.

    Attributes:
        labels: of every voxel, uint8; complete behind the last window.
        quarters, write, fresh: of every window, see `models.unet3d.tensors`.
        last: of every window, for each of the four tensors: which of its two blocks no later window touches.
    """

    def __init__(self, volume: NDArray[np.generic]) -> None:
        counts = np.array([size // SIDE for size in volume.shape], np.int64)
        self._volume = volume
        self._origins = origins(volume.shape)
        z, y, x = counts.tolist()
        self._blocks = np.empty((z, SIDE, y, SIDE, x, SIDE), np.uint8)
        self.labels = self._blocks.reshape(volume.shape)
        begin = np.array(self._origins, np.int64) // SIDE
        odd = np.array([(part // 2, part % 2) for part in range(PARTS)])
        ahead = (odd[None] - begin[:, None, :2]) % 2
        self.quarters: NDArray[np.int64] = 2 * ahead[..., 0] + ahead[..., 1]
        self._rows = begin[:, None, :2] + ahead
        across = (counts[1] + 1 - odd[:, 1]) // 2
        lines = self._rows[..., 0] // 2 * across + self._rows[..., 1] // 2
        self.write: NDArray[np.int64] = lines * counts[2] + begin[:, 2:]
        places = self.write[..., None] + np.arange(2)
        self.fresh = np.stack([_first(places[:, part]) for part in range(PARTS)], 1)
        self.last = np.stack([_first(places[::-1, part])[::-1] for part in range(PARTS)], 1)

    @property
    def windows(self) -> int:
        """How many windows the volume has."""
        return len(self._origins)

    def window(self, number: int) -> NDArray[np.generic]:
        """Return a window, 128 x 128 x 128."""
        z, y, x = self._origins[number]
        return self._volume[z : z + WINDOW, y : y + WINDOW, x : x + WINDOW]

    def take(self, number: int, blocks: NDArray[np.generic]) -> None:
        """Keep what is final of the labels of a window's blocks, 4 x 2 x 262,144."""
        first = self._origins[number][2] // SIDE
        for part, place in np.argwhere(self.last[number]).tolist():
            z, y = self._rows[number, part].tolist()
            self._blocks[z, :, y, :, first + place] = blocks[part, place].reshape(SIDE, SIDE, SIDE)


def _first(places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each place (windows x 2) is there for the first time."""
    found = np.zeros(places.size, np.bool_)
    found[np.unique(places, return_index=True)[1]] = True
    return found.reshape(places.shape)


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
            dtype = plan.window(0).dtype
            if self._windows.dtype != dtype or not self._windows.size:
                self._windows = np.zeros((len(self._plans), 1, WINDOW, WINDOW, WINDOW), dtype)

    def step(self) -> LoopStep:
        """Run the next window of every volume; those whose last it was are answered."""
        running = [(row, plan) for row, plan in enumerate(self._plans) if plan is not None]
        count = running[-1][0] + 1
        for row, plan in running:
            number = self._next[row]
            self._windows[row, 0] = plan.window(number)
            self._quarters[row], self._write[row] = plan.quarters[number], plan.write[number]
            self._fresh[row] = plan.fresh[number]
        inputs = {
            INPUT: self._windows[:count],
            QUARTERS: self._quarters[:count],
            WRITE: self._write[:count],
            FRESH: self._fresh[:count],
        }
        found = self._session.infer(inputs)[LABELS]
        ended: list[int] = []
        for row, plan in running:
            plan.take(self._next[row], found[row])
            self._next[row] += 1
            if self._next[row] == plan.windows:
                ended.append(row)
        masks = [plan.labels for row, plan in running if row in ended]
        for row in ended:
            self._plans[row] = None
        return LoopStep([self._ids[row] for row in ended], _responses(masks))


def _responses(masks: Sequence[NDArray[np.uint8]]) -> Responses:
    offsets = np.concatenate(([0], np.cumsum([mask.size for mask in masks], dtype=np.int64)))
    flat = [mask.reshape(-1) for mask in masks]
    return Responses(flat[0] if len(flat) == 1 else np.concatenate([np.empty(0, np.uint8), *flat]), offsets)


ANSWER = Unet3dAnswer()
