"""Unpacking of archives that are not trusted: files and folders only, inside their folder, limited."""

from __future__ import annotations

import errno
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import IO

from mlperf_submission.errors import DiskFullError, SourceError
from mlperf_submission.files import disk_full_named, inside, sync_folder

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
    LookupError,
    struct.error,
)
"""What Python's readers raise on archives that are damaged, in places that they do not check."""
_OF_THE_ARCHIVE = (None, errno.EINVAL, errno.ENAMETOOLONG)
"""Errors that are no disk's: of the readers themselves, of a place before the file's start, of a name."""
_BLOCK = 1 << 20
_MOST_MEMBERS = 5_000_000
_KEPT_FREE = 0.05
"""Share of the free disk space that no archive may take."""


def unpack_archive(archive: Path, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a folder that does not exist yet.

    It is unpacked under a temporary name beside the folder and renamed when it is complete. Modes, owners and
    times of the archive are not taken over.

    Args:
        archive: the file; its content decides what kind it is.
        folder: where its members go.
        check: called after each block; whatever it raises ends the unpacking.

    Raises:
        SourceError: the archive is damaged, is none, or has a member that is a link, a device, encrypted, a
            second one of its name, or would leave the folder; or the folder is already there.
        DiskFullError: the members would take more than 95 % of the free disk space.
    """
    if folder.exists():
        raise SourceError(
            "there is already something where the archive is to be unpacked",
            where=folder,
            remedy="give each source its own folder to unpack into",
        )
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    limit = int(shutil.disk_usage(temporary).free * (1 - _KEPT_FREE))
    try:
        with disk_full_named(folder), _damage_named(archive):
            _write_members(archive, temporary, limit, check)
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    content: IO[bytes] | None
    """None for what is neither a regular file nor a folder."""


def _write_members(archive: Path, folder: Path, limit: int, check: Callable[[], None]) -> None:
    written = 0
    for number, member in enumerate(_members(archive)):
        if number >= _MOST_MEMBERS:
            raise _refused(archive, f"it has more than {_MOST_MEMBERS} members")
        if member.is_folder and not member.name.strip("./"):
            continue
        path = _path(archive, folder, member.name)
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        if member.content is None:
            raise _refused(archive, f"its member {member.name!r} is a link, a device or encrypted")
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.content as source, path.open("xb") as target:
            while block := source.read(_BLOCK):
                check()
                written += len(block)
                if written > limit:
                    raise DiskFullError(
                        f"the archive unpacks to more than the {limit / 1e9:.1f} GB that may be used",
                        where=archive,
                        remedy="free some space, or choose another folder with --work",
                    )
                target.write(block)


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as stream:
        is_zip = stream.read(4) in _ZIP_STARTS
    if is_zip:
        with zipfile.ZipFile(archive) as members:
            for entry in members.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                plain = kind in (0, stat.S_IFREG) and not entry.flag_bits & 1
                folder = entry.is_dir() and kind in (0, stat.S_IFDIR)
                content = members.open(entry) if plain and not folder else None
                yield _Member(entry.filename, folder, content)
    else:
        with tarfile.open(archive, "r|*") as tar:
            for item in tar:
                plain = item.isreg() and not item.issparse()
                yield _Member(item.name, item.isdir(), tar.extractfile(item) if plain else None)


def _path(archive: Path, folder: Path, name: str) -> Path:
    try:
        name.encode()
        return inside(folder, name)
    except (SourceError, UnicodeEncodeError):
        raise _refused(archive, f"the name of its member {name!r} would leave its folder") from None


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _refused(archive, f"it is damaged or no archive ({error})") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _refused(archive, f"it has two members with the name {Path(error.filename).name!r}") from error
    except OSError as error:
        if error.errno not in _OF_THE_ARCHIVE:
            raise
        raise _refused(archive, f"it is damaged or no archive ({error.strerror or error})") from error


def _refused(archive: Path, why: str) -> SourceError:
    return SourceError(
        f"the archive is refused: {why}", where=archive, remedy="fetch it anew from a source that you trust"
    )
