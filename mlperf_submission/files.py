"""Files that appear whole or not at all, paths that cannot leave their folder, content hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mlperf_submission.errors import DiskFullError, SettingError, SourceError

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_A_FOLDER = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
_LONGEST_FOLDER = 480
"""Bytes of the path of a folder of ours. SQLite opens no path above 504, and a database lies in it."""
_SHOWN_BYTES = 100
"""As much of a file's name stands in the name of its temporary file, which may not be longer than 255."""
_OWN_STREAM = re.compile(r"/dev/(?:(stdout)|(stderr)|fd/(\d{1,9}))")
_FULL_BYTES = 1 << 20
"""Whatever fails on a disk with less than this free is taken to have failed for want of space."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes | memoryview | str) -> None:
    """Write a file of ours by `written_whole`; for a path that a person names there is `write_output`."""
    with written_whole(path) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes its place when the block ends: temporary name beside it, fsync, rename, fsync.

    After a crash at any moment the path holds the old content or the new one, never a part. What stood there
    is replaced, a link too. If the block raises, nothing is changed. Who may read it is for the umask to say.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = os.fsdecode(os.fsencode(path.name)[:_SHOWN_BYTES])
    temporary = path.with_name(f".{shown}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_output(path: Path, text: str) -> None:
    """Write to a path that a person names, as a shell's `>` does: a device, pipe or link stays what it is.

    Args:
        path: a file, which keeps its permissions, owner and links, or is made by the umask; a device; a pipe,
            `/dev/stdout` and a shell's `>(…)` among them. Folders that are missing are made.
        text: written as UTF-8; what UTF-8 cannot hold (half of a surrogate pair) is written as its escape.

    Raises:
        SettingError: nothing can be written there.
        DiskFullError: there is no space left on it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(path) as stream:
            stream.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        kind = DiskFullError if error.errno in _NO_SPACE else SettingError
        raise kind(
            f"the output cannot be written: {error.strerror}",
            where=path,
            remedy="name another file or device, or a pipe that is read to its end",
        ) from error


def _opened(path: Path) -> BinaryIO:
    """Open a person's path; a stream of this process as it is, which opening it by name would cut to zero."""
    own = _OWN_STREAM.fullmatch(str(path))
    if own is None:
        return path.open("wb")
    number = 1 if own[1] else 2 if own[2] else int(own[3])
    return os.fdopen(os.dup(number), "wb")


def followed(path: Path) -> Path:
    """Return the whole path with its links followed; links that lead in a circle stay, to fail in use."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError there up to Python 3.12


def own_folder(path: Path) -> Path:
    """Return the whole path of a folder that a person names for what is ours.

    Raises:
        SettingError: its path is no text, so no record, address or message could hold it, or too long for
            what will lie in it.
    """
    try:
        whole = followed(path.expanduser())
    except RuntimeError as error:
        raise SettingError(
            "the folder lies in the home of nobody", where=path, remedy="name another folder"
        ) from error
    try:
        size = len(str(whole).encode())
    except UnicodeEncodeError:
        raise SettingError(
            "the folder's name is not UTF-8", where=whole, remedy="rename it, or name another folder"
        ) from None
    if size > _LONGEST_FOLDER:
        raise SettingError(
            f"the folder's path has {size} bytes; {_LONGEST_FOLDER} are the most",
            where=whole,
            remedy="name a folder with a shorter path",
        )
    return whole


def make_folder(folder: Path) -> None:
    """Make a folder below one that a person names, where it is not there.

    Raises:
        SettingError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise
        raise refusal_named(error) or SettingError(
            f"the folder cannot be made: {error.strerror}",
            where=folder,
            remedy="name another folder, which can be made and written",
            code="file-refused",
        ) from error


def copy_durably(source: Path, target: Path) -> Path:
    """Copy a file's content and make it durable; return the target."""
    shutil.copyfile(source, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    return target


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def inside(folder: Path, name: str) -> Path:
    """Join a name from an archive, a manifest or an S3 key to a folder that it cannot leave.

    Args:
        folder: the folder that the result lies in.
        name: a relative path with forward slashes.

    Raises:
        SourceError: the name is empty, absolute, or has `..`, a backslash or a NUL in it.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise SourceError(
            f"the name {name!r} would leave its folder",
            where=folder,
            remedy="the archive or manifest that holds this name is damaged or hostile; fetch it anew",
        )
    return folder.joinpath(*parts)


def require_free_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise DiskFullError unless the file system of `folder` has `needed` bytes free."""
    free = shutil.disk_usage(existing(folder)).free
    if free < needed:
        raise DiskFullError(
            f"the disk is too full: {purpose} needs {_size(needed)}, but only {_size(free)} are free",
            where=folder,
            remedy="free some space, or choose another folder with --work",
        )


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below a folder, sorted by path; symbolic links are not followed."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path


def refusal_named(error: Exception) -> SettingError | None:
    """Return the project's error where the operating system refuses a file or folder; else None."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    if error.errno in _NOT_ALLOWED:
        remedy = f"make it writable for the user {os.geteuid()}, or name another folder"
    elif error.errno in _NOT_A_FOLDER:
        remedy = "something else stands where a folder should be: move it, or name another folder"
    elif error.errno in _NO_PATH:
        remedy = "name another path: shorter, and without links that lead round in a circle"
    else:
        return None
    what = f"the operating system refuses a file or folder: {error.strerror}"
    return SettingError(what, where=error.filename, remedy=remedy, code="file-refused")


@contextmanager
def disk_full_named(where: Path) -> Iterator[None]:
    """Turn a failure for want of space into the project's DiskFullError.

    That is the operating system's "no space left", and any failure while hardly a byte is free: native
    libraries and servers tell of a write that failed in words of their own.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        named = isinstance(error, OSError) and error.errno in _NO_SPACE
        disk = shutil.disk_usage(existing(where))
        if not named and (disk.free > _FULL_BYTES or disk.total == 0):  # /proc and its like have no size
            raise
        said = (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0]
        raise DiskFullError(
            f"the disk is full ({said or type(error).__name__})",
            where=where,
            remedy="free some space and start the same command again; finished steps are kept",
        ) from error
