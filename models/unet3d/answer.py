"""3d-unet-99's answers: a uint8 mask of the preprocessed shape for each volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.benchmark import LoopAnswer, LoopStep, Responses, Samples, Session
from models.unet3d.samples import VolumeSamples
from models.unet3d.windows import WindowBatches


class Unet3dAnswer(LoopAnswer):
    """Volumes have unequally many windows; they share batches, so that all but the very last are full."""

    response_dtype = "uint8"

    def open(self, session: Session, samples: Samples) -> VolumeLoop:
        """Return a loop in which volumes share the session's batches."""
        return VolumeLoop(session, cast(VolumeSamples, samples))


class VolumeLoop:
    """Batches of windows filled across volumes: one enters when those that wait no longer fill a batch."""

    def __init__(self, session: Session, samples: VolumeSamples) -> None:
        self._samples = samples
        self._batches = WindowBatches(session)
        self._most = session.batch_size

    @property
    def room(self) -> int:
        """One, if the next batch would not be full; an open volume takes much memory."""
        return int(self._batches.left < self._most)

    @property
    def is_idle(self) -> bool:
        """Whether no window waits; then every volume is complete."""
        return self._batches.left == 0

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Put the volumes' windows behind those that wait."""
        for id_, index in zip(ids, indices.tolist(), strict=True):
            self._batches.enter(id_, self._samples.volume(index))

    def step(self) -> LoopStep:
        """Run one batch of windows."""
        done = self._batches.step()
        return LoopStep([id_ for id_, _ in done], _responses([labels for _, labels in done]))


def _responses(masks: Sequence[NDArray[np.uint8]]) -> Responses:
    offsets = np.concatenate(([0], np.cumsum([mask.size for mask in masks], dtype=np.int64)))
    flat = [mask.reshape(-1) for mask in masks]
    return Responses(flat[0] if len(flat) == 1 else np.concatenate([np.empty(0, np.uint8), *flat]), offsets)


ANSWER = Unet3dAnswer()
