"""The unfinished file of a download: locked against other processes, and knowing what it is a part of."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from common.deadline import Limits
from common.files import sync_folder, write_atomic

_LOCK_POLL_SECONDS = 0.1


class PartIdentity(BaseModel):
    """What the bytes of a part belong to: the whole file's digest, URL, validator and size."""

    model_config = ConfigDict(frozen=True)
    digest: str
    url: str
    validator: str
    total: int | None


@dataclass(frozen=True)
class Part:
    """`<name>.part` with its identity beside it in `<name>.part.json`."""

    path: Path
    _stream: IO[bytes]

    @property
    def size(self) -> int:
        """Bytes that are there."""
        self._stream.flush()
        return os.fstat(self._stream.fileno()).st_size

    def identity(self) -> PartIdentity | None:
        """Return whose bytes these are; None if there are none, or nobody knows."""
        try:
            return PartIdentity.model_validate_json(self._identity_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def keep(self, size: int, identity: PartIdentity) -> None:
        """Keep the first `size` bytes, note whose they are, and go on writing behind them."""
        self._stream.seek(size)
        self._stream.truncate()
        write_atomic(self._identity_file, identity.model_dump_json())

    def write(self, block: bytes) -> None:
        """Append bytes."""
        self._stream.write(block)

    def flush(self) -> None:
        """Hand what was written to the operating system, so that it can be read by name."""
        self._stream.flush()

    def clear(self) -> None:
        """Forget all bytes; an empty part is removed when it is closed."""
        self._stream.seek(0)
        self._stream.truncate()
        self._identity_file.unlink(missing_ok=True)

    def move_to(self, target: Path) -> None:
        """Put the finished file into place."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            temporary = target.with_name(f".{target.name}.copying")
            shutil.copyfile(self.path, temporary)
            temporary.replace(target)
            self.path.unlink()
        self._identity_file.unlink(missing_ok=True)
        sync_folder(target.parent)

    @property
    def _identity_file(self) -> Path:
        return self.path.with_name(self.path.name + ".json")


@contextmanager
def open_part(whole: Path, limits: Limits) -> Iterator[Part]:
    """Open and lock the part of the file `whole`, which lies beside it; wait while another process has it.

    Raises:
        StepTimeoutError: the limits passed while it waited.
    """
    path = whole.with_name(whole.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, limits) as stream:
        part = Part(path, stream)
        try:
            yield part
        finally:
            if part.size == 0 and _is_at(path, stream):
                path.unlink()


@contextmanager
def _locked(path: Path, limits: Limits) -> Iterator[IO[bytes]]:
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                limits.check()
                time.sleep(_LOCK_POLL_SECONDS)
                continue
            # Its last holder may have renamed or removed the file between our open and our lock.
            if _is_at(path, stream):
                yield stream
                return


def _is_at(path: Path, stream: IO[bytes]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False
