"""Preprocessed windows on the disk: padded arrays with the lengths beside them, and batches out of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.errors import SourceError
from mlperf_submission.files import disk_full_named, require_free_space
from models.bert.facts import MAX_SEQUENCE
from models.bert.features import Feature
from models.bert.tensors import IDS, MASK, SEGMENTS

_FILES = {"ids": "input_ids.npy", "lengths": "lengths.npy", "first": "first_segments.npy"}
_EVERY = 256


def write_samples(
    features: Sequence[Feature], output: Path, count: int, on_progress: OnProgress
) -> dict[str, object]:
    """Write the first `count` features; return figures.

    `input_ids.npy` is int32, count x 384, padded with 0; `lengths.npy` is int32, the pieces of each sequence;
    `first_segments.npy` is int32, how many of them belong to the question with its [CLS] and [SEP].

    Raises:
        DiskFullError: there is not enough space.
    """
    require_free_space(output, count * (MAX_SEQUENCE + 2) * 4, f"{count} preprocessed samples")
    ids = np.zeros((count, MAX_SEQUENCE), np.int32)
    lengths, first = np.empty(count, np.int32), np.empty(count, np.int32)
    for row, feature in enumerate(features[:count]):
        ids[row, : len(feature.ids)] = feature.ids
        lengths[row], first[row] = len(feature.ids), feature.window
        if (row + 1) % _EVERY == 0 or row + 1 == count:
            on_progress(Progress(row + 1, count))
    with disk_full_named(output):
        for name, values in (("ids", ids), ("lengths", lengths), ("first", first)):
            np.save(output / _FILES[name], values, allow_pickle=False)
    return {
        "count": count,
        "shape": [count, MAX_SEQUENCE],
        "dtype": "int32",
        "mean_length": round(float(lengths.mean()), 1),
        "longest": int(lengths.max()),
    }


class SquadSamples(Samples):
    """The windows of a data set, 1.5 kB each, read into memory as a whole."""

    def __init__(self, folder: Path) -> None:
        try:
            self._ids, self._lengths, self._first = (
                np.load(folder / name, allow_pickle=False) for name in _FILES.values()
            )
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(str(error), folder) from error
        count = len(self._ids)
        whole = (
            self._ids.shape == (count, MAX_SEQUENCE)
            and self._lengths.shape == self._first.shape == (count,)
            and {one.dtype.name for one in (self._ids, self._lengths, self._first)} == {"int32"}
            and bool(np.all((self._first >= 2) & (self._first < self._lengths)))
            and bool(np.all(self._lengths <= MAX_SEQUENCE))
        )
        if not whole:
            raise _damaged("the arrays do not belong together", folder)
        self._costs: NDArray[np.int64] = self._lengths.astype(np.int64)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._ids)

    @property
    def costs(self) -> NDArray[np.int64]:
        """Pieces of each sample: those of like length are batched together."""
        return self._costs

    def batch(self, indices: NDArray[np.int64], length: int | None = None) -> dict[str, NDArray[np.generic]]:
        """Return the network's inputs, int64 batch x length; padded to the longest of them by default."""
        lengths = self._lengths[indices]
        length = length or int(lengths.max())
        positions = np.arange(length, dtype=np.int32)
        mask = positions < lengths[:, None]
        second = mask & (positions >= self._first[indices][:, None])
        return {
            IDS: self._ids[indices, :length].astype(np.int64),
            MASK: mask.astype(np.int64),
            SEGMENTS: second.astype(np.int64),
        }


def _damaged(what: str, folder: Path) -> SourceError:
    return SourceError(
        f"the preprocessed samples cannot be opened: {what}",
        where=folder,
        remedy="remove the folder and start the same command again; the step is then repeated",
        code="samples-damaged",
    )
