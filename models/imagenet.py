"""The official preprocessing of ImageNet: JPEG files in the order of a list in, one memory-mapped array out.

Source of the steps: MLPerf Inference v4.1, vision/classification_and_detection/python/dataset.py (profile
`imagenet`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import SourceError
from common.files import disk_full_named, inside, require_free_space
from models.benchmark import OnProgress, Progress, ignore_progress
from models.imagenet_folder import JPEG_TAIL, LabelledImage, jpeg_problem
from models.parallel import in_parallel

SIDE = 224
"""Side of the network's input, pixels."""
SHORT_SIDE = int(100 * SIDE / 87.5)
"""Short side after the resize: the crop is 87.5 % of it."""
MEANS = (123.68, 116.78, 103.94)
"""Subtracted from red, green and blue."""
INT8_SCALE = 1.0
"""Real value of one step of an INT8 sample: the preprocessed values, rounded, are the integers themselves."""
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


def decode(path: Path) -> NDArray[np.uint8]:
    """Decode an image as the reference does; greyscale and CMYK files come out with three channels.

    Returns:
        uint8, height × width × 3, in OpenCV's order blue, green, red.

    Raises:
        SourceError: the file is missing, empty, truncated or cannot be decoded.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"the image cannot be read: {error.strerror}", where=path, remedy="complete the data set"
        ) from error
    return decode_bytes(content, where=path)


def decode_bytes(content: bytes, *, where: object = "") -> NDArray[np.uint8]:
    """Decode the bytes of a JPEG file; see `decode`."""
    import cv2

    problem = jpeg_problem(content[:2], content[-JPEG_TAIL:], len(content))
    if problem is None:
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            image = None
        if image is not None:
            decoded: NDArray[np.uint8] = np.asarray(image, np.uint8)
            return decoded
        problem = "cannot be decoded"
    raise SourceError(f"the image {problem}", where=where, remedy="the file is damaged; fetch it anew")


def official_pixels(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Apply the official steps to a decoded image (uint8, height × width × 3, blue green red).

    Returns:
        float32, 3 × 224 × 224, red green blue, means subtracted.
    """
    import cv2

    height, width = image.shape[:2]
    if height > width:
        new_width, new_height = SHORT_SIDE, int(SHORT_SIDE * height / width)
    else:
        new_width, new_height = int(SHORT_SIDE * width / height), SHORT_SIDE
    # The reference swaps the colours first. Resizing treats each by itself, so that can wait for the crop.
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    left, top = int((new_width - SIDE) / 2), int((new_height - SIDE) / 2)
    colours = cv2.split(resized[top : top + SIDE, left : left + SIDE])
    pixels = np.empty((3, SIDE, SIDE), np.float32)
    for out, colour, mean in zip(pixels, reversed(colours), MEANS, strict=True):
        np.subtract(colour, np.float32(mean), out=out)
    return pixels


def to_int8(pixels: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round to the nearest integer and clip to [-128, 127]; one step is INT8_SCALE."""
    rounded: NDArray[np.int8] = np.clip(np.rint(pixels / np.float32(INT8_SCALE)), -128, 127).astype(np.int8)
    return rounded


OFFICIAL_STEPS = Steps(official_pixels, to_int8, (3, SIDE, SIDE))


def preprocess_images(
    images: Sequence[LabelledImage],
    folder: Path,
    output: Path,
    *,
    dtype: str,
    workers: int,
    on_progress: OnProgress = ignore_progress,
    steps: Steps = OFFICIAL_STEPS,
) -> Path:
    """Preprocess images in parallel threads (OpenCV works outside the interpreter lock).

    OpenCV's own threads are turned off meanwhile: beside as many workers they only take processor time.
    Memory is bounded by the images being decoded; results go straight into the file's pages.

    Args:
        images: in the order of the QSL.
        folder: the folder that holds them.
        output: an existing folder; `samples.npy` is written into it.
        dtype: `float32` or `int8`.
        workers: threads.
        on_progress: called from this thread.
        steps: those of ImageNet, or another data set's.

    Returns:
        The path of the array: dtype, samples × the shape of one (3 × 224 × 224).

    Raises:
        SourceError: the first image that is missing or damaged; no array is left.
        DiskFullError: there is not enough space.
    """
    import cv2

    path = output / SAMPLES_FILE
    size = len(images) * int(np.prod(steps.shape)) * np.dtype(dtype).itemsize
    require_free_space(output, size, f"the preprocessed array of {len(images)} samples")
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
        for count in in_parallel(work, range(0, len(images), 8), workers):
            done += count
            if done - said >= _PROGRESS_EVERY or done == len(images):
                on_progress(Progress(done, len(images)))
                said = done
        with disk_full_named(output):
            array.flush()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        cv2.setNumThreads(own_threads)
    return path


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


class ArraySamples:
    """Preprocessed samples of one input in one `.npy` file, memory-mapped read-only.

    Attributes:
        input_name: the network's input that they feed.
        array: samples × the input's shape.
    """

    def __init__(
        self, folder: Path, input_name: str, shape: tuple[int, int, int] = OFFICIAL_STEPS.shape
    ) -> None:
        path = folder / SAMPLES_FILE
        try:
            array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SourceError(
                f"the preprocessed samples cannot be opened: {error}",
                where=path,
                remedy="remove the folder and start the same command again; the step is then repeated",
            ) from error
        if array.shape[1:] != shape or array.dtype.name not in ("float32", "int8"):
            wanted = "×".join(map(str, ("N", *shape)))
            raise SourceError(
                f"the samples are {array.dtype} of shape {array.shape}, not float32 or int8 of {wanted}",
                where=path,
                remedy="remove the folder and start the same command again; the step is then repeated",
            )
        self.input_name = input_name
        self.array = array

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.array)

    def gather(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return these samples as one contiguous batch (a copy)."""
        return {self.input_name: np.asarray(self.array[indices])}
