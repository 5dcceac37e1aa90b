"""The unfinished file of a download: locked against other processes, and put into place when whole."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from mlperf_submission.deadline import Limits
from mlperf_submission.files import copy_durably, sync_folder

_LOCK_POLL_SECONDS = 0.1


@contextmanager
def locked_part(whole: Path, limits: Limits) -> Iterator[BufferedRandom]:
    """Open and lock `<name>.part` of a file; wait while another process has it. An empty one is removed.

    Whose bytes it holds is not noted: if they are not the source's, the digest of the whole shows it.
    """
    path = whole.with_name(whole.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with open(path, "r+b", opener=lambda name, _: os.open(name, flags, 0o666)) as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                limits.check()
                time.sleep(_LOCK_POLL_SECONDS)
                continue
            # Its last holder may have renamed or removed the file between our open and our lock.
            if not _is_at(path, part):
                continue
            try:
                yield part
            finally:
                part.flush()
                if os.fstat(part.fileno()).st_size == 0 and _is_at(path, part):
                    path.unlink()
            return


def _is_at(path: Path, part: BufferedRandom) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(part.fileno()))
    except FileNotFoundError:
        return False


def move_part(part: BufferedRandom, target: Path) -> None:
    """Put the finished file into place, over the border of a file system if need be."""
    os.fsync(part.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    path = path_of(part)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = target.with_name(f".{secrets.token_hex(8)}.fetching")
        copy_durably(path, temporary).replace(target)
        path.unlink()
    sync_folder(target.parent)


def path_of(part: BufferedRandom) -> Path:
    """Return where a part lies."""
    return Path(str(part.name))
