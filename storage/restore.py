"""A run out of the store: every file verified, nothing of the person's overwritten."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import SettingError, SourceError, StoreError
from common.files import disk_full_named, inside, require_free_space, sync_folder
from storage.bucket import Bucket
from storage.hashing import Differences, FileEntry, differences
from storage.manifest import Manifest, ManifestFile, RunAddress, StoredRun, object_key
from storage.parallel import ByteCounter, in_parallel
from storage.transfer import Limits

_TEMPORARY = ".fetching"
_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class Restored:
    """A run that was fetched, or would be.

    Attributes:
        address: where the run lies in the store.
        manifest: of the run.
        folder: where its files are.
        fetched: paths that were (in a dry run: would be) downloaded.
        kept: paths that were there already, whole.
        size: bytes of the fetched files.
        dry_run: whether nothing was done.
    """

    address: RunAddress
    manifest: Manifest
    folder: Path
    fetched: tuple[str, ...]
    kept: tuple[str, ...]
    size: int
    dry_run: bool


def restore_run(
    bucket: Bucket,
    stored: StoredRun,
    to: Path,
    *,
    only: Sequence[str] | None,
    dry_run: bool,
    workers: int,
    limits: Limits,
    on_progress: Callable[[int, int], None],
) -> Restored:
    """Bring the files of a run into a folder, each under its own name only when its hash is right.

    Files that are there already with the right content are kept, so a call that broke off is simply made
    again. A file that is there with another content is not overwritten but named.

    Args:
        bucket: where the objects are.
        stored: the run.
        to: made if it is missing.
        only: paths (files or folders) of the run; None for all.
        dry_run: only say what would be fetched.
        workers: downloads at once.
        limits: when to end.
        on_progress: called with bytes done and bytes of all, from several threads.

    Raises:
        SettingError: `only` names a path that the run does not have, or another fetch uses the folder.
        StoreError: objects are missing or tampered with, or the folder holds extra or changed files: all are
            named in one error, after everything else was fetched.
        SourceError: a path leads out of the folder through a link.
        DiskFullError: there is too little space.
    """
    manifest = stored.manifest
    wanted = _selected(manifest, only)
    before = compare_folder(manifest, to, only)
    absent = set(before.missing)
    fetched = [file for file in wanted if file.path in absent]
    kept = tuple(file.path for file in wanted if file.path not in absent | set(before.changed))
    size = sum(file.size for file in fetched)
    arriving = tuple(file.path for file in fetched)
    result = Restored(stored.address, manifest, to, arriving, kept, size, dry_run)
    if dry_run:
        return result
    require_free_space(to, size, f"run {manifest.run}")
    problems = [f"{path}: changed in {to} (not overwritten)" for path in before.changed]
    problems += [f"{path}: extra, not of this run" for path in before.extra]
    counter = ByteCounter(size, on_progress)

    with _temporary_folder(to) as temporary, disk_full_named(to):

        def fetch(numbered: tuple[int, ManifestFile]) -> str | None:
            number, file = numbered
            limits.check()
            target = _target(to, file.path)
            found = bucket.download(object_key(file.sha256), temporary / str(number), limits, counter)
            if found is None:
                return f"{file.path}: missing in the store"
            if found != file.sha256:
                return f"{file.path}: tampered with in the store (expected {file.sha256}, found {found})"
            target.parent.mkdir(parents=True, exist_ok=True)
            (temporary / str(number)).rename(target)
            return None

        for file in fetched:
            _target(to, file.path)
        found = in_parallel(fetch, enumerate(fetched), workers=workers, limits=limits)
        problems += [problem for problem in found if problem]
    sync_folder(to)
    if problems:
        more = len(problems) - _NAMED_AT_MOST
        listing = "".join(f"\n  - {problem}" for problem in sorted(problems)[:_NAMED_AT_MOST])
        raise StoreError(
            f"run {manifest.run} could not be restored whole; {len(problems)} files are wrong:{listing}"
            + (f"\n  and {more} more" if more > 0 else ""),
            where=bucket.address(str(stored.address)),
            remedy="fetch into an empty folder; what is missing or tampered with in the store has to be "
            "uploaded again, under another run name, by the machine that made it",
        )
    return result


def compare_folder(manifest: Manifest, folder: Path, only: Sequence[str] | None = None) -> Differences:
    """Compare a folder with a run's manifest; with `only`, other files of the run may be there or not."""
    wanted = {file.path for file in _selected(manifest, only)}
    entries = [
        FileEntry(path=file.path, size=file.size, sha256=file.sha256)
        for file in manifest.files
        if file.path in wanted
    ]
    found = differences(folder, entries)
    others = {file.path for file in manifest.files} - wanted
    extra = tuple(
        path for path in found.extra if path not in others and not path.startswith(f"{_TEMPORARY}/")
    )
    return Differences(found.missing, found.changed, extra)


def _selected(manifest: Manifest, only: Sequence[str] | None) -> list[ManifestFile]:
    if only is None:
        return list(manifest.files)
    paths = [path.strip("/") for path in only]
    for path in paths:
        if not any(_is_at(file.path, path) for file in manifest.files):
            tops = sorted({file.path.partition("/")[0] for file in manifest.files})
            raise SettingError(
                f"run {manifest.run} has no file or folder {path!r}",
                where=f"{manifest.system}/{manifest.run}",
                remedy=f"it has: {', '.join(tops[:_NAMED_AT_MOST])}",
            )
    return [file for file in manifest.files if any(_is_at(file.path, path) for path in paths)]


def _is_at(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _target(to: Path, path: str) -> Path:
    """The file's own place, which no link in the folder may lead astray."""
    target = inside(to, path)
    if not target.resolve().is_relative_to(to.resolve()):
        raise SourceError(
            f"{path} would leave the folder through a link", where=to, remedy="fetch into an empty folder"
        )
    return target


@contextmanager
def _temporary_folder(to: Path) -> Iterator[Path]:
    """A folder for unfinished downloads; the lock on it ends with this process."""
    to.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(to, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(
                "another fetch into this folder is running", where=to, remedy="wait for it, or name another"
            ) from None
        temporary = to / _TEMPORARY
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        os.close(descriptor)
