"""A run out of the store: every file verified, nothing of the person's overwritten."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.deadline import Limits, in_parallel
from mlperf_submission.errors import SettingError, StoreError
from mlperf_submission.files import (
    copy_durably,
    disk_full_named,
    followed,
    inside,
    require_free_space,
    sync_folder,
)
from mlperf_submission.steps.hashing import Differences, FileEntry, differences
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.bundles import read_bundled
from mlperf_submission.store.manifest import Manifest, ManifestFile, RunAddress, StoredRun, object_key
from mlperf_submission.store.parallel import ByteCounter
from mlperf_submission.store.selection import select_files

_UNFINISHED = ".fetching-"
_LEFTOVER = re.compile(r"\.fetching(-[a-z0-9_]{8})?")
_PART = re.compile(r"[0-9a-f]{64}(\.(\d+|copy))?")
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

    Files that are there already with the right content are kept: a call that failed is simply made again. A
    file that is there with another content is not overwritten but named, also one that appears meanwhile.
    Content that several files share is fetched once.

    Args:
        bucket: where the objects are.
        stored: the run.
        to: made if it is missing.
        only: what part of the run, as in `mlperf_submission.store.selection.select_files`; None for all.
        dry_run: only say what would be fetched.
        workers: downloads at once.
        limits: when to end.
        on_progress: called with bytes done and bytes of all, from several threads.

    Raises:
        SettingError: `only` names something that the run does not have, another fetch uses the folder, or
            a link in it leads out of it.
        StoreError: objects are missing or tampered with, or the folder holds extra or changed files: all are
            named in one error, after everything else was fetched.
        DiskFullError: there is too little space.
    """
    if dry_run:
        return _planned(stored, to, only, dry_run=True)[0]
    with _unfinished_folder(to) as unfinished, disk_full_named(to):
        result, before = _planned(stored, to, only, dry_run=False)
        require_free_space(to, result.size, f"run {stored.manifest.run}")
        problems = [f"{path}: changed in {to} (not overwritten)" for path in before.changed]
        problems += [f"{path}: extra, not of this run" for path in before.extra]
        arriving = set(result.fetched)
        objects: dict[str, list[ManifestFile]] = {}
        for file in stored.manifest.files:
            if file.path in arriving:
                _target(to, file.path)
                objects.setdefault(file.sha256, []).append(file)
        counter = ByteCounter(sum(files[0].size for files in objects.values()), on_progress)

        def fetch(together: Sequence[ManifestFile]) -> list[str]:
            bundle = together[0].bundle
            bundled = read_bundled(bucket, bundle, together) if bundle else None

            def keep(file: ManifestFile) -> list[str]:
                part, files = unfinished / file.sha256, objects[file.sha256]
                if bundled and file.sha256 in bundled:
                    _write_part(part, bundled[file.sha256], limits, counter)
                elif problem := _fetch_object(bucket, file, part, limits, counter, bundled is not None):
                    return [f"{other.path}: {problem}" for other in files]
                return _placed(part, files, to)

            # Several at once, because each waits for the disk.
            kept = in_parallel(keep, together, workers=workers, limits=limits)
            return [problem for several in kept for problem in several]

        jobs: dict[str, list[ManifestFile]] = {}
        for file, *_ in objects.values():
            jobs.setdefault(file.bundle or file.sha256, []).append(file)
        found = in_parallel(fetch, jobs.values(), workers=workers, limits=limits)
        problems += [problem for several in found for problem in several]
    sync_folder(to)
    if problems:
        more = len(problems) - _NAMED_AT_MOST
        listing = "".join(f"\n  - {problem}" for problem in sorted(problems)[:_NAMED_AT_MOST])
        name = stored.manifest.run
        raise StoreError(
            f"run {name} could not be restored whole; {len(problems)} files are wrong:{listing}"
            + (f"\n  and {more} more" if more > 0 else ""),
            where=bucket.address(str(stored.address)),
            remedy="fetch into an empty folder; the machine that made the run mends what is missing or "
            "tampered with in the store, by uploading it again",
            code="store-damaged",
        )
    return result


def _planned(
    stored: StoredRun, to: Path, only: Sequence[str] | None, *, dry_run: bool
) -> tuple[Restored, Differences]:
    """Compare the folder with what is wanted of the run."""
    wanted = select_files(stored.manifest, only)
    before = compare_folder(stored.manifest, to, only)
    absent = set(before.missing)
    fetched = [file for file in wanted if file.path in absent]
    kept = tuple(file.path for file in wanted if file.path not in absent | set(before.changed))
    paths, size = tuple(file.path for file in fetched), sum(file.size for file in fetched)
    return Restored(stored.address, stored.manifest, to, paths, kept, size, dry_run), before


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
    extra = tuple(path for path in found.extra if path not in others)
    return Differences(found.missing, found.changed, extra)


def _write_part(part: Path, content: bytes, limits: Limits, counter: Callable[[int], None]) -> None:
    """Write a content that is right into its part, to stay."""
    limits.check()
    with part.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    counter(len(content))


def _fetch_object(
    bucket: Bucket,
    file: ManifestFile,
    part: Path,
    limits: Limits,
    counter: Callable[[int], None],
    is_bundled: bool,
) -> str | None:
    """Fetch an object into its part; return what is wrong with it. A wrong hash is looked at twice.

    What a bundle does not hold as it should, an upload may have mended as an object of its own; `is_bundled`
    says that there is the bundle.
    """
    found: str | None = None
    for _ in range(2):
        limits.check()
        part.unlink(missing_ok=True)
        found = bucket.download(object_key(file.sha256), part, file.size, limits, counter)
        if found is None:
            return "tampered with in the store, in its bundle" if is_bundled else "missing in the store"
        if found == file.sha256:
            return None
    return f"tampered with in the store (expected {file.sha256}, found {found})"


def _placed(part: Path, files: Sequence[ManifestFile], to: Path) -> list[str]:
    """Give a whole part the names of its files; return which of them somebody else has by now."""
    copies = [copy_durably(part, part.with_suffix(f".{number}")) for number in range(1, len(files))]
    return [
        f"{file.path}: appeared in {to} (not overwritten)"
        for source, file in zip([*copies, part], files, strict=True)
        if not _put(source, _target(to, file.path))
    ]


def _put(source: Path, target: Path) -> bool:
    """Give a whole file its name; False if there is something of that name by now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            return False
        source.rename(target)
        return True
    source.unlink()
    return True


def _target(to: Path, path: str) -> Path:
    """The file's own place, which no link in the folder may lead astray."""
    target = inside(to, path)
    if not followed(target).is_relative_to(followed(to)):
        raise SettingError(
            f"{path} would leave the folder through a link", where=to, remedy="fetch into an empty folder"
        )
    return target


@contextmanager
def _unfinished_folder(to: Path) -> Iterator[Path]:
    """A folder of our own below `to` for what arrives. The lock on `to` ends with this process."""
    to.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(to, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(
                "another fetch into this folder is running", where=to, remedy="wait for it, or name another"
            ) from None
        _remove_leftovers(to)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=to))
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        os.close(descriptor)


def _remove_leftovers(to: Path) -> None:
    """Remove what a fetch that was killed left: real folders of our name, with nothing but parts in them."""
    for folder in to.glob(".fetching*"):
        if not _LEFTOVER.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        parts = list(folder.iterdir())
        if all(_PART.fullmatch(part.name) and part.is_file() and not part.is_symlink() for part in parts):
            shutil.rmtree(folder)
