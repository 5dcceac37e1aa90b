"""Preprocessed volumes on disk, one `.npy` file per case: written by threads, opened memory-mapped.

Validation volumes keep their different shapes and are answered one by one. Calibration samples are windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from mlperf_submission.benchmark.answer import Samples, StackedSamples
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.errors import SourceError
from mlperf_submission.files import disk_full_named, inside, require_free_space, write_atomic
from models.parallel import in_parallel
from models.unet3d.cases import case_folder
from models.unet3d.facts import IMAGE
from models.unet3d.tensors import INPUT
from models.unet3d.volumes import STRIDE, WINDOW, prepare_image, read_image, to_int8
from models.unet3d.windows import origins, window_count

LISTING = "cases.json"
CALIBRATION_WINDOWS = 8
"""Windows of a calibration case at most, evenly spread over its volume: 160 of the official 20 cases."""
_REMEDY = "remove the folder and start the same command again; the step is then repeated"


class _Array(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    case: str
    shape: tuple[int, ...]

    @property
    def file(self) -> str:
        return f"{self.case}.npy"


class _Listing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["volumes", "windows"]
    dtype: Literal["float32", "int8"]
    arrays: tuple[_Array, ...]


def write_samples(
    dataset: Path,
    cases: Sequence[str],
    output: Path,
    *,
    kind: Literal["volumes", "windows"],
    dtype: Literal["float32", "int8"],
    workers: int,
    on_progress: OnProgress,
) -> dict[str, object]:
    """Preprocess cases in parallel; memory is bounded by the volumes being worked on.

    Returns:
        Figures: count (volumes or windows), voxels, dtype, bytes.

    Raises:
        SourceError: the first case that is missing or damaged.
        DiskFullError: there is not enough space.
    """

    def work(case: str) -> _Array:
        volume = prepare_image(read_image(case_folder(dataset, case) / IMAGE))
        values: NDArray[np.generic] = to_int8(volume) if dtype == "int8" else volume
        if kind == "windows":
            values = _spread_windows(values)
        require_free_space(output, values.nbytes, f"the preprocessed {case}")
        with disk_full_named(output):
            np.save(output / f"{case}.npy", np.ascontiguousarray(values))
        return _Array(case=case, shape=values.shape)

    arrays: list[_Array] = []
    on_progress(Progress(0, len(cases), "cases"))
    for array in in_parallel(lambda number: work(cases[number]), range(len(cases)), workers):
        arrays.append(array)
        on_progress(Progress(len(arrays), len(cases), "cases"))
    listing = _Listing(kind=kind, dtype=dtype, arrays=tuple(arrays))
    write_atomic(output / LISTING, listing.model_dump_json(indent=1))
    voxels = sum(int(np.prod(array.shape)) for array in arrays)
    count = len(arrays) if kind == "volumes" else sum(array.shape[0] for array in arrays)
    size = sum((output / array.file).stat().st_size for array in arrays)
    return {"count": count, "voxels": voxels, "dtype": dtype, "bytes": size}


def open_samples(folder: Path) -> VolumeSamples | WindowSamples:
    """Open what `write_samples` wrote.

    Raises:
        SourceError: the listing or an array is missing or is not what the listing says.
    """
    try:
        listing = _Listing.model_validate_json((folder / LISTING).read_bytes())
        arrays = [_open(inside(folder, one.file), one.shape, listing.dtype) for one in listing.arrays]
    except (OSError, ValueError, EOFError, ValidationError) as error:
        raise SourceError(
            f"the preprocessed samples cannot be opened: {error}",
            where=folder,
            remedy=_REMEDY,
            code="samples-damaged",
        ) from error
    return VolumeSamples(arrays) if listing.kind == "volumes" else WindowSamples(arrays)


class VolumeSamples(Samples):
    """The volumes of a subset, memory-mapped."""

    def __init__(self, volumes: Sequence[NDArray[np.generic]]) -> None:
        self._volumes = volumes
        self._costs = np.array([window_count(one.shape) for one in volumes], np.int64)

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self._volumes)

    def volume(self, index: int) -> NDArray[np.generic]:
        """Return a volume: float32 or int8, z × y × x, every axis a multiple of 64."""
        return self._volumes[index]

    @property
    def costs(self) -> NDArray[np.int64]:
        """Windows of each volume."""
        return self._costs


class WindowSamples(StackedSamples):
    """Windows of volumes, memory-mapped: for calibration."""

    def __init__(self, parts: Sequence[NDArray[np.generic]]) -> None:
        self._windows = [window for part in parts for window in part]

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return windows, stacked: N × 1 × 128 × 128 × 128."""
        return {INPUT: np.stack([self._windows[index] for index in indices.tolist()])}


def _spread_windows(volume: NDArray[np.generic]) -> NDArray[np.generic]:
    places = origins(volume.shape)
    chosen = np.linspace(0, len(places) - 1, min(len(places), CALIBRATION_WINDOWS)).astype(int)
    windows = [
        volume[z : z + WINDOW, y : y + WINDOW, x : x + WINDOW] for z, y, x in (places[one] for one in chosen)
    ]
    return np.stack(windows)[:, None]


def _open(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    sides = shape[-3:]
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{path.name} is {array.dtype} {array.shape}, not {dtype} {shape}")
    if len(sides) != 3 or any(side < WINDOW or side % STRIDE for side in sides):
        raise ValueError(f"{path.name} has the shape {shape}, whose axes are no multiples of {STRIDE}")
    return array
