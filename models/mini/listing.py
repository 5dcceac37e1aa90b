"""What the mini editions share: checks before anything is made, archives without times, the listing."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.errors import SettingError, SourceError
from mlperf_submission.files import sha256_of


def check_count(benchmark: str, sample_count: int, most: int) -> None:
    """Raise SettingError unless a mini edition can have so many samples."""
    if not 1 <= sample_count <= most:
        raise SettingError(
            f"the mini edition of {benchmark} cannot have {sample_count} samples",
            remedy=f"ask for 1 to {most}",
        )


def copy_committed(kept: Path, sha256: str, to: Path) -> None:
    """Copy a committed file, a network for instance.

    Raises:
        SourceError: it is not the one that belongs to this code.
    """
    if sha256_of(kept) != sha256:
        raise SourceError(
            f"{kept.name} of the mini edition is not the one that belongs to this code",
            where=kept,
            remedy="check the file out anew; after a new training write its SHA-256 into the module that "
            "makes the mini edition",
            code="mini-changed",
        )
    shutil.copyfile(kept, to)


class Archive:
    """A tar archive whose bytes depend on nothing but its files."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add(self, name: str, content: bytes) -> None:
        """Append a file, without time and owner."""
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self._archive.addfile(entry, io.BytesIO(content))


@contextmanager
def written_archive(path: Path) -> Iterator[Archive]:
    """Write an archive for the length of the block."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        yield Archive(archive)


def listing_of(folder: Path, names: Sequence[str], sample_count: int) -> MiniListing:
    """Return the listing of files that were made in a folder."""
    files = {name: ((folder / name).stat().st_size, sha256_of(folder / name)) for name in names}
    return MiniListing(files, sample_count)
