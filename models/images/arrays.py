"""JPEG files in the order of a list in, one memory-mapped array of samples out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.benchmark.parts import Preprocessing, Progress, TensorSpec
from mlperf_submission.errors import SourceError
from mlperf_submission.files import disk_full_named, inside, require_free_space
from models.images.folder import LabelledImage
from models.images.jpeg import decode
from models.parallel import in_parallel

SAMPLES_FILE = "samples.npy"

_PROGRESS_EVERY = 64


@dataclass(frozen=True)
class Steps:
    """What makes an image a sample.

    Attributes:
        pixels: from a decoded image (uint8, height × width × 3, blue green red) to float32 of `shape`.
        to_int8: from these to int8.
        shape: of one sample.
    """

    pixels: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    to_int8: Callable[[NDArray[np.float32]], NDArray[np.int8]]
    shape: tuple[int, int, int]


def preprocess_images(
    asked: Preprocessing,
    images: Sequence[LabelledImage],
    folder: Path,
    steps: Steps,
    inputs: Sequence[TensorSpec],
) -> dict[str, object]:
    """Preprocess images in parallel threads (OpenCV works outside the interpreter lock) into `samples.npy`.

    OpenCV's own threads are turned off meanwhile: beside as many workers they only take processor time.
    Memory is bounded by the images being decoded; results go straight into the file's pages. Calibration
    samples are float32 in every precision: the network that is calibrated takes float32.

    Args:
        asked: where the array is written, and how.
        images: in the order of the QSL.
        folder: the folder that holds them.
        steps: from an image to a sample.
        inputs: the network's one input, float32 or int8.

    Returns:
        Figures: count, shape (samples × the shape of one), dtype, bytes.

    Raises:
        SourceError: the first image that is missing or damaged; no array is left.
        DiskFullError: there is not enough space.
    """
    import cv2

    dtype = "float32" if asked.subset == "calibration" else inputs[0].dtype
    path, on_progress = asked.output / SAMPLES_FILE, asked.on_progress
    size = len(images) * int(np.prod(steps.shape)) * np.dtype(dtype).itemsize
    require_free_space(asked.output, size, f"the preprocessed array of {len(images)} samples")
    array = _allocate(path, (len(images), *steps.shape), dtype)

    def work(first: int) -> int:
        rows = range(first, min(first + 8, len(images)))
        for row in rows:
            pixels = steps.pixels(decode(inside(folder, images[row].name)))
            array[row] = steps.to_int8(pixels) if dtype == "int8" else pixels
        return len(rows)

    own_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        done = said = 0
        on_progress(Progress(0, len(images)))
        for count in in_parallel(work, range(0, len(images), 8), asked.workers):
            done += count
            if done - said >= _PROGRESS_EVERY or done == len(images):
                on_progress(Progress(done, len(images)))
                said = done
        with disk_full_named(asked.output):
            array.flush()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        cv2.setNumThreads(own_threads)
    return {"count": len(images), "shape": [*array.shape], "dtype": dtype, "bytes": path.stat().st_size}


def _allocate(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap[Any, Any]:
    """Create a .npy file whose blocks are all reserved: a full disk shows now, not as a SIGBUS later."""
    with disk_full_named(path.parent):
        try:
            array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            with path.open("rb+") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return array


class ArraySamples(StackedSamples):
    """Preprocessed samples of one input in one `.npy` file, memory-mapped read-only.

    Attributes:
        input_name: the network's input that they feed.
        array: samples × the input's shape.
    """

    def __init__(self, folder: Path, input_name: str, shape: tuple[int, int, int]) -> None:
        path = folder / SAMPLES_FILE
        try:
            array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SourceError(
                f"the preprocessed samples cannot be opened: {error}",
                where=path,
                remedy="remove the folder and start the same command again; the step is then repeated",
                code="samples-damaged",
            ) from error
        if array.shape[1:] != shape or array.dtype.name not in ("float32", "int8"):
            wanted = "×".join(map(str, ("N", *shape)))
            raise SourceError(
                f"the samples are {array.dtype} of shape {array.shape}, not float32 or int8 of {wanted}",
                where=path,
                remedy="remove the folder and start the same command again; the step is then repeated",
                code="samples-damaged",
            )
        self.input_name = input_name
        self.array = array

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.array)

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return these samples as one contiguous batch (a copy)."""
        return {self.input_name: np.asarray(self.array[indices])}
