"""JPEG files: whether one is whole as far as its ends tell, and decoding as the reference does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import SourceError

JPEG_TAIL = 4096
"""Bytes at the end of a file in which the end marker must stand (some cameras write a little after it)."""


def jpeg_problem(head: bytes, tail: bytes, size: int) -> str | None:
    """Return what is wrong with a JPEG file as seen from its ends, or None.

    Compressed data has 0x00 after a byte 0xFF, so the end marker FF D9 cannot occur there by chance.
    """
    if size == 0:
        return "is empty"
    if head != b"\xff\xd8":
        return "is not a JPEG file (no start marker)"
    if b"\xff\xd9" not in tail:
        return "is truncated (no end marker)"
    return None


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
            f"the image cannot be read: {error.strerror}",
            where=path,
            remedy="complete the data set",
            code="data-set",
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
    raise SourceError(
        f"the image {problem}", where=where, remedy="the file is damaged; fetch it anew", code="data-set"
    )
