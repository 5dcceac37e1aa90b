"""A run out of the store: every file verified, nothing of the person's overwritten."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.deadline import Limits, in_parallel
from common.errors import SettingError, SourceError, StoreError
from common.files import copy_durably, disk_full_named, inside, require_free_space, sync_folder
from storage.steps.hashing import Differences, FileEntry, differences
from storage.store.bucket import Bucket
from storage.store.manifest import Manifest, ManifestFile, RunAddress, StoredRun, object_key
from storage.store.parallel import ByteCounter
from storage.store.selection import select_files

_UNFINISHED = ".fetching"
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

    Files that are there already with the right content are kept, and a file that broke off goes on where it
    ended: a call that failed is simply made again. A file that is there with another content is not
    overwritten but named. Content that several files share is fetched once.

    Args:
        bucket: where the objects are.
        stored: the run.
        to: made if it is missing.
        only: what part of the run, as in `storage.store.selection.select_files`; None for all.
        dry_run: only say what would be fetched.
        workers: downloads at once.
        limits: when to end.
        on_progress: called with bytes done and bytes of all, from several threads.

    Raises:
        SettingError: `only` names something that the run does not have, or another fetch uses the folder.
        StoreError: objects are missing or tampered with, or the folder holds extra or changed files: all are
            named in one error, after everything else was fetched.
        SourceError: a path leads out of the folder through a link.
        DiskFullError: there is too little space.
    """
    manifest = stored.manifest
    wanted = select_files(manifest, only)
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
    objects: dict[str, list[ManifestFile]] = {}
    for file in fetched:
        _target(to, file.path)
        objects.setdefault(file.sha256, []).append(file)
    counter = ByteCounter(sum(files[0].size for files in objects.values()), on_progress)

    with _unfinished_folder(to, objects.keys()) as unfinished, disk_full_named(to):

        def fetch(files: list[ManifestFile]) -> list[str]:
            part = unfinished / files[0].sha256
            problem = _fetch_object(bucket, files[0], part, limits, counter)
            if problem:
                return [f"{file.path}: {problem}" for file in files]
            for file in files:
                target = _target(to, file.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                if file is not files[-1]:
                    copy_durably(part, part.with_suffix(".copy")).rename(target)
            part.rename(_target(to, files[-1].path))
            return []

        found = in_parallel(fetch, objects.values(), workers=workers, limits=limits)
        problems += [problem for several in found for problem in several]
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
    wanted = {file.path for file in select_files(manifest, only)}
    entries = [
        FileEntry(path=file.path, size=file.size, sha256=file.sha256)
        for file in manifest.files
        if file.path in wanted
    ]
    found = differences(folder, entries)
    others = {file.path for file in manifest.files} - wanted
    extra = tuple(
        path for path in found.extra if path not in others and not path.startswith(f"{_UNFINISHED}/")
    )
    return Differences(found.missing, found.changed, extra)


def _fetch_object(
    bucket: Bucket, file: ManifestFile, part: Path, limits: Limits, counter: Callable[[int], None]
) -> str | None:
    """Fetch an object into its part; return what is wrong with it. A wrong hash is looked at twice."""
    found: str | None = None
    for _ in range(2):
        limits.check()
        found = bucket.download(object_key(file.sha256), part, file.size, limits, counter)
        if found is None:
            return "missing in the store"
        if found == file.sha256:
            return None
        part.unlink()
    return f"tampered with in the store (expected {file.sha256}, found {found})"


def _target(to: Path, path: str) -> Path:
    """The file's own place, which no link in the folder may lead astray."""
    target = inside(to, path)
    if not target.resolve().is_relative_to(to.resolve()):
        raise SourceError(
            f"{path} would leave the folder through a link", where=to, remedy="fetch into an empty folder"
        )
    return target


@contextmanager
def _unfinished_folder(to: Path, wanted: Collection[str]) -> Iterator[Path]:
    """A folder for the parts of this fetch; kept if it breaks off. The lock on it ends with this process."""
    to.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(to, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(
                "another fetch into this folder is running", where=to, remedy="wait for it, or name another"
            ) from None
        unfinished = to / _UNFINISHED
        unfinished.mkdir(exist_ok=True)
        for path in unfinished.iterdir():
            if path.name not in wanted:
                path.unlink()
        yield unfinished
        shutil.rmtree(unfinished)
    finally:
        os.close(descriptor)
