"""Content hashes of folders and of JSON values, and what differs between a folder and its list of files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from mlperf_submission.errors import SettingError, StepFailedError
from mlperf_submission.files import sha256_of, sync_folder

_WORKERS = min(8, 2 * (os.cpu_count() or 1))
_NAMED_AT_MOST = 10


class FileEntry(BaseModel):
    """One file of a finished step: its path below the step's folder, its size in bytes, its SHA-256."""

    model_config = ConfigDict(frozen=True)
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Differences:
    """How a folder differs from its list of files; true if it does. Paths are below the folder, sorted."""

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.missing or self.changed or self.extra)

    def __str__(self) -> str:
        """Name the files, the first few of each kind."""
        kinds = [("missing", self.missing), ("changed", self.changed), ("extra", self.extra)]
        return "; ".join(f"{kind}: {_some(paths)}" for kind, paths in kinds if paths)


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _NAMED_AT_MOST} more" if len(paths) > _NAMED_AT_MOST else ""
    return ", ".join(paths[:_NAMED_AT_MOST]) + more


def plain_json(value: object, where: str) -> JsonValue:
    """Return a copy of a value that consists of JSON's own types and means exactly the same.

    Tuples become lists and string enumerations strings.

    Args:
        value: the value.
        where: what it is, for the error; the place inside it is added.

    Raises:
        SettingError: a part of it is none of JSON's types, or is NaN, infinite or not valid Unicode.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value):
        return str.__str__(value)
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str.__str__(key): plain_json(item, f"{where}.{key}") for key, item in value.items()}
    raise SettingError(
        f"{value!r} ({type(value).__name__}) cannot be written as JSON without losing something",
        where=where,
        remedy="give a string, a finite number, true, false, null, a list, or a mapping with string keys",
    )


def hash_json(value: JsonValue) -> str:
    """Return the SHA-256 of a JSON value in its canonical form (sorted keys, no white space, ASCII)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_entries(entries: Iterable[FileEntry]) -> str:
    """Return the SHA-256 over the paths and hashes of files, whatever their order."""
    pairs: list[JsonValue] = [[entry.path, entry.sha256] for entry in sorted(entries, key=lambda e: e.path)]
    return hash_json(pairs)


def seal_folder(folder: Path) -> list[FileEntry]:
    """Hash every file below a folder (in threads), and make files and folders durable.

    Raises:
        StepFailedError: there is something other than regular files and folders in it.
    """
    found = _scan(folder)
    for name, status in found.items():
        if not stat.S_ISREG(status.st_mode) or not _is_unicode(name):
            raise StepFailedError(
                f"{name!r} is a link or a special file, or has no Unicode name",
                where=folder,
                remedy="a step may write only regular files and folders; copy what a link points to",
            )

    def seal(name: str) -> FileEntry:
        path = folder / name
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        return FileEntry(path=name, size=path.stat().st_size, sha256=digest)

    with ThreadPoolExecutor(_WORKERS) as pool:
        entries = list(pool.map(seal, sorted(found)))
    for root, _, _ in os.walk(folder):
        sync_folder(Path(root))
    return entries


def differences(folder: Path, entries: Sequence[FileEntry], *, sizes_only: bool = False) -> Differences:
    """Compare a folder with its list of files: names, sizes and hashes (in threads).

    The listed files must be regular files. A folder whose files did not change on disk since this process
    hashed them last (size, times and inode are the same) is not hashed again.

    Args:
        folder: the folder; it may be missing.
        entries: what has to be in it, and nothing else.
        sizes_only: do not hash.
    """
    found = _scan(folder) if folder.is_dir() and not folder.is_symlink() else {}
    listed = {entry.path: entry for entry in entries}
    present = sorted(listed.keys() & found.keys())
    same_size = [
        name
        for name in present
        if stat.S_ISREG(found[name].st_mode) and found[name].st_size == listed[name].size
    ]
    changed = set(present) - set(same_size)
    if not sizes_only:
        stamps = tuple(_Stamped(folder, listed[name], _stamp(found[name])) for name in same_size)
        changed.update(_changed(stamps))
    return Differences(
        missing=tuple(sorted(listed.keys() - found.keys())),
        changed=tuple(sorted(changed)),
        extra=tuple(sorted(found.keys() - listed.keys())),
    )


@dataclass(frozen=True)
class _Stamped:
    folder: Path
    entry: FileEntry
    stamp: tuple[int, ...]


@lru_cache(maxsize=64)
def _changed(files: tuple[_Stamped, ...]) -> frozenset[str]:
    def is_changed(file: _Stamped) -> bool:
        try:
            return sha256_of(file.folder / file.entry.path) != file.entry.sha256
        except FileNotFoundError:
            return True

    with ThreadPoolExecutor(_WORKERS) as pool:
        verdicts = list(pool.map(is_changed, files))
    return frozenset(file.entry.path for file, bad in zip(files, verdicts, strict=True) if bad)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _scan(folder: Path) -> dict[str, os.stat_result]:
    """Everything below a folder that is no folder, by its path with forward slashes; links not followed."""
    found: dict[str, os.stat_result] = {}
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(folder / prefix) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    pending.append(f"{prefix}{item.name}/")
                else:
                    found[f"{prefix}{item.name}"] = item.stat(follow_symlinks=False)
    return found


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
