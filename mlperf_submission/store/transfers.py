"""How boto3's transfer manager moves a whole object: in what parts, and into what."""

from __future__ import annotations

import hashlib
import os
from io import BufferedRandom
from pathlib import Path
from typing import TYPE_CHECKING

from mlperf_submission.deadline import Limits

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig

MULTIPART_BYTES = 64 << 20
PART_BYTES = 32 << 20
READ_BYTES = 8 << 20
"""Parts that are only read wait in memory for their turn."""
WHOLE_BYTES = 8 << 20
"""Files of at most this size are held in memory and take one request; boto3's transfer manager takes two to
read one, and starts threads for each."""
_MOST_PARTS = 9_000
_THREADS_PER_FILE = 4


def part_bytes(size: int) -> int:
    """Return how large the parts are that a file of this size is sent in; 0 for one that goes whole."""
    return max(PART_BYTES, -(-size // _MOST_PARTS)) if size >= MULTIPART_BYTES else 0


def transfers(part_bytes: int) -> TransferConfig:
    """Return boto3's settings for parts of this size; 0 for an object that goes whole."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=MULTIPART_BYTES,
        multipart_chunksize=part_bytes or PART_BYTES,
        max_concurrency=_THREADS_PER_FILE,
        preferred_transfer_client="classic",
    )


class TooLongError(Exception):
    """An object goes on behind its size."""


class Sink:
    """Takes an object's bytes, and no more than there should be: into a file, or only into a hash.

    A file has `seek`, so that boto3 writes the parts where they belong; a hash gets them in their order.
    """

    def __init__(self, path: Path | None, size: int, limits: Limits) -> None:
        self._path, self._size, self._limits = path, size, limits
        self._state = hashlib.sha256()
        self._at = 0
        self._stream: BufferedRandom | None = None

    def __enter__(self) -> Sink:
        """Make the file; it may not be there yet."""
        if self._path is not None:
            self._stream = self._path.open("x+b")
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def seekable(self) -> bool:
        """Whether parts may come in any order."""
        return self._stream is not None

    def seek(self, offset: int, _whence: int = 0) -> int:
        """Go to where the next bytes belong."""
        self._at = offset
        return offset

    def tell(self) -> int:
        """Return where the next bytes go."""
        return self._at

    def write(self, block: bytes) -> int:
        """Take the next bytes."""
        self._limits.check()
        if self._at + len(block) > self._size:
            raise TooLongError
        if self._stream is None:
            self._state.update(block)
        else:
            self._stream.seek(self._at)
            self._stream.write(block)
        self._at += len(block)
        return len(block)

    def sha256(self) -> str:
        """Make the file durable and return the SHA-256 of what arrived."""
        if self._stream is None:
            return self._state.hexdigest()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.seek(0)
        return hashlib.file_digest(self._stream, "sha256").hexdigest()
