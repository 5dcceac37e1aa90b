"""Downloads that go on after a break, are verified, and in place only when they are whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BufferedRandom
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from mlperf_submission.addresses import shown
from mlperf_submission.deadline import Limits, in_parallel
from mlperf_submission.errors import PipelineError, SettingError, SourceError, UnreachableError
from mlperf_submission.fetch.archives import unpack_archive
from mlperf_submission.fetch.http import Opened, open_url
from mlperf_submission.fetch.parts import locked_part, move_part, path_of
from mlperf_submission.files import copy_durably, disk_full_named, inside, require_free_space, sync_folder

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")
_PAGE_STARTS = (b"<!doctype html", b"<html")
_LARGEST_PAGE = 4_000_000
_BLOCK = 1 << 20
_SHARE_OF_DISK = 0.9
"""Of the free space: the limit of a file whose size neither its owner nor the server says."""

OnBytes = Callable[[str, int, int | None], None]
"""Called with the source's name, the bytes that are there, and the bytes of the whole (None if unknown)."""


def ignore_bytes(_name: str, _there: int, _total: int | None) -> None:
    """Take progress and do nothing with it."""


class Source(Protocol):
    """What a download needs to know; `mlperf_submission.benchmark.facts.Source` is one."""

    @property
    def name(self) -> str:
        """The file's name below the folder."""

    @property
    def urls(self) -> tuple[str, ...]:
        """`https://`, `http://` or `file://`, tried in this order."""

    @property
    def digest(self) -> str:
        """`sha256:<64 hex>` or `md5:<32 hex>`."""

    @property
    def size(self) -> int | None:
        """Bytes; None if they are not published."""

    @property
    def unpack(self) -> str | None:
        """The folder that an archive is unpacked into; None for a plain file."""


@dataclass(frozen=True)
class Fetched:
    """A source that arrived.

    Attributes:
        name: the source's name.
        path: the file, or the folder that the archive was unpacked into.
        url: the mirror that it came from, without secrets and folders of this machine; empty if it was
            already there.
        size: bytes of the source.
        digest: the verified digest, as in the source; empty for a folder.
        resumed_from: bytes that an earlier call had left.
    """

    name: str
    path: Path
    url: str
    size: int
    digest: str
    resumed_from: int = 0


def fetch_all(
    sources: Sequence[Source],
    folder: Path,
    *,
    workers: int = 4,
    parts: Path | None = None,
    deadline: float | None = None,
    stall_seconds: float = 30,
    on_progress: OnBytes = ignore_bytes,
) -> list[Fetched]:
    """Download sources, verify them, put them into the folder, and unpack those that say so.

    A `file://` one is linked, or copied where the disk has no hard links or is another one; it may be the
    folder that an archive would be unpacked into, for which there is no digest. The mirrors are
    tried in their order. There are no retries here beyond that: a call that failed with an UnreachableError
    goes on, when it is made again, with the bytes that had arrived. A source that is already there with its
    digest is not fetched again. If some fail the others are finished first.

    Args:
        sources: name, URLs, digest, size of each.
        folder: where they go; made if it is missing.
        workers: how many are fetched at once.
        parts: where the unfinished `<name>.part` lie. Give a folder that survives a failed step; by default
            it is `folder`.
        deadline: on `time.monotonic`'s clock, in seconds.
        stall_seconds: how long a server may send nothing.
        on_progress: called after each block, from several threads.

    Returns:
        What arrived, in the order of the sources.

    Raises:
        SettingError: the source itself is wrong: no URL, malformed digest.
        UnreachableError: a mirror did not answer, broke off or was silent; a retry can help.
        SourceError: no mirror has the file: it is refused, has another digest or size, or is a web page.
        DiskFullError: there is too little space (twice the size for an archive).
        StepTimeoutError: the deadline passed.

    Several errors are listed in one, which is retryable only if all are.
    """
    missing = [source for source in sources if not inside(folder, source.name).exists()]
    require_free_space(folder, sum(_space(source, source.size) for source in missing), "the download")
    limits = Limits(deadline, stall_seconds)

    def fetch(source: Source) -> Fetched | PipelineError:
        try:
            return _fetch(source, folder, parts or folder, limits, on_progress)
        except PipelineError as error:
            return error

    results = in_parallel(fetch, sources, workers=max(1, workers), limits=limits)
    errors = [result for result in results if isinstance(result, PipelineError)]
    if errors:
        raise _joined(errors, next((error for error in errors if not error.retryable), errors[0]))
    return [result for result in results if isinstance(result, Fetched)]


def _joined(errors: Sequence[PipelineError], leading: PipelineError) -> PipelineError:
    """One error that says all, of the kind of the leading one."""
    if len(errors) == 1:
        return leading
    listing = "".join(f"\n  - {error.what} [{error.where}]" for error in errors)
    return type(leading)(
        f"{len(errors)} attempts failed:{listing}", where=leading.where, remedy=leading.remedy
    )


def _fetch(source: Source, folder: Path, parts: Path, limits: Limits, on_progress: OnBytes) -> Fetched:
    if not _DIGEST.fullmatch(source.digest) or not source.urls:
        raise SettingError(
            f"the source has no URL, or its digest {source.digest!r} is malformed",
            where=source.name,
            remedy="write sha256: and 64, or md5: and 32 lower-case hexadecimal digits",
        )
    target = inside(folder, source.name)
    if source.unpack is not None and (unpacked := inside(folder, source.unpack)).exists():
        raise SourceError(
            f"there is already something where {source.name} is to be unpacked",
            where=unpacked,
            remedy="remove it, or give each source its own folder to unpack into",
        )
    given = _folder_given(source)
    if given is not None and source.unpack is not None:
        with disk_full_named(folder):
            return _from_folder(source, given, unpacked, limits)
    with disk_full_named(folder), locked_part(inside(parts, source.name), limits) as part:
        if target.is_file() and _digest_of(target, source, limits) == source.digest:
            part.truncate(0)
            fetched = Fetched(source.name, target, "", target.stat().st_size, source.digest)
        else:
            fetched = _from_mirrors(source, target, part, limits, on_progress)
        if source.unpack is None:
            return fetched
        unpack_archive(target, unpacked, check=limits.check)
        target.unlink()
        return replace(fetched, path=unpacked)


def _folder_given(source: Source) -> Path | None:
    """Return the folder on this machine that a source's only address names; None if it names no folder.

    Raises:
        SourceError: the source is one file.
    """
    parts = urlsplit(source.urls[0])
    folder = Path(unquote(parts.path))
    if len(source.urls) > 1 or parts.scheme != "file" or parts.netloc or not folder.is_dir():
        return None
    if source.unpack is None:
        raise SourceError(
            f"a folder is given for {source.name}, which is one file",
            where=folder,
            remedy="give the path of the file itself",
        )
    return folder


def _from_folder(source: Source, given: Path, target: Path, limits: Limits) -> Fetched:
    """Put links or copies of a folder's files into place, all of them or none."""
    temporary = target.with_name(f".{secrets.token_hex(8)}.fetching")
    sizes: list[int] = []

    def take(path: str, to: str) -> str:
        limits.check()
        _link_or_copy(Path(path), Path(to))
        sizes.append(Path(to).stat().st_size)
        return to

    try:
        shutil.copytree(given, temporary, copy_function=take)
        if not sizes:
            raise SourceError(
                f"the folder that is given for {source.name} is empty", where=given, remedy="correct the path"
            )
        temporary.replace(target)
    except shutil.Error as error:
        raise SourceError(
            f"the folder that is given for {source.name} cannot be read: {error}",
            where=given,
            remedy="check the permissions of what is in it",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(target.parent)
    return Fetched(source.name, target, f"file:{given.name}", sum(sizes), "")


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        os.link(path.resolve(), target)
    except OSError:
        require_free_space(target.parent, path.stat().st_size, path.name)
        copy_durably(path, target)


def _from_mirrors(
    source: Source, target: Path, part: BufferedRandom, limits: Limits, on_progress: OnBytes
) -> Fetched:
    """Put the file into place from the first mirror that has it."""
    errors: list[PipelineError] = []
    for url in source.urls:
        try:
            scheme = urlsplit(url).scheme
            if scheme == "file":
                return _from_file(source, url, target, limits, on_progress)
            if scheme in ("http", "https"):
                resumed = _from_server(source, url, part, limits, on_progress)
                size = os.fstat(part.fileno()).st_size
                move_part(part, target)
                return Fetched(source.name, target, shown(url), size, source.digest, resumed_from=resumed)
            what = f"{scheme!r} is no scheme that a source can have"
            raise SourceError(what, where=shown(url), remedy="use https or file")
        except (SourceError, UnreachableError) as error:
            errors.append(error)
    # What one mirror lacks for good, another may have later: one retryable error makes all retryable.
    raise _joined(errors, next((error for error in errors if error.retryable), errors[0]))


def _from_file(source: Source, url: str, target: Path, limits: Limits, on_progress: OnBytes) -> Fetched:
    """Link or copy a file of this machine under a temporary name, verify it, and give it its own."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost"):
        raise SourceError(
            f"a file on another machine ({parts.netloc!r}) cannot be read",
            where=shown(url),
            remedy="write file:///folder/name, with three slashes",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(8)}.fetching")
    try:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        _link_or_copy(path, temporary)
        found, size = _digest_of(temporary, source, limits), temporary.stat().st_size
        if found != source.digest:
            raise _wrong_digest(source, url, found, size)
        on_progress(source.name, size, size)
        temporary.replace(target)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        if error.filename != str(path):
            raise
        raise SourceError(
            f"the file cannot be read ({error.strerror})",
            where=path,
            remedy="check the path and its permissions",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
    return Fetched(source.name, target, f"file:{path.name}", size, source.digest)


def _from_server(source: Source, url: str, part: BufferedRandom, limits: Limits, on_progress: OnBytes) -> int:
    """Transfer the rest of a part and verify it; fetch a resumed one that turns out wrong anew, once.

    Returns the offset that the transfer began at.
    """
    offset = part.seek(0, os.SEEK_END)
    if source.size is not None and offset > source.size:
        part.truncate(0)
        offset = 0
    if offset == 0 or offset != source.size:
        offset = _transfer(source, url, part, offset, limits, on_progress)
    found = _digest_of(path_of(part), source, limits)
    if found != source.digest and offset:
        offset = _transfer(source, url, part, 0, limits, on_progress)
        found = _digest_of(path_of(part), source, limits)
    if found == source.digest:
        return offset
    part.seek(0)
    is_page = part.read(512).lstrip().lower().startswith(_PAGE_STARTS)
    size = part.seek(0, os.SEEK_END)
    part.truncate(0)
    raise _page_error(source, url) if is_page else _wrong_digest(source, url, found, size)


def _transfer(
    source: Source, url: str, part: BufferedRandom, offset: int, limits: Limits, on_progress: OnBytes
) -> int:
    """Write what the part lacks from an offset on; return the offset that the server really began at."""
    with open_url(url, offset, limits) as opened:
        total = _total(source, url, opened)
        if opened.start in (0, offset):
            part.seek(opened.start)
            part.truncate()
            folder = path_of(part).parent
            require_free_space(folder, _space(source, total) - opened.start, source.name)
            most = total if total is not None else int(shutil.disk_usage(folder).free * _SHARE_OF_DISK)
            _write(source, url, part, opened, total, most, on_progress)
            return opened.start
    if offset == 0:
        raise SourceError(
            "the server answers with another range than the whole file that was asked for",
            where=shown(url),
            remedy="give another source",
            code="source-changed",
        )
    return _transfer(source, url, part, 0, limits, on_progress)


def _write(
    source: Source,
    url: str,
    part: BufferedRandom,
    opened: Opened,
    total: int | None,
    most: int,
    on_progress: OnBytes,
) -> None:
    there = opened.start
    on_progress(source.name, there, total)
    for block in opened.blocks:
        there += len(block)
        if there > most:
            part.truncate(0)
            raise SourceError(
                f"the server sends more than the {most} bytes of {source.name}",
                where=shown(url),
                remedy="the file is another one than the published; give another source",
                code="source-changed",
            )
        part.write(block)
        part.flush()
        on_progress(source.name, there, total)
    if total is not None and there < total:
        raise UnreachableError(
            f"the server sent only {there} of the {total} bytes of {source.name}",
            where=shown(url),
            remedy="try again; what has arrived is kept",
        )


def _wrong_digest(source: Source, url: str, found: str, size: int) -> SourceError:
    return SourceError(
        f"{source.name} has another digest: expected {source.digest}, found {found} ({size} bytes)",
        where=shown(url),
        remedy="the file was changed or damaged at its source; fetch it by hand, or give another source",
        code="source-changed",
    )


def _total(source: Source, url: str, opened: Opened) -> int | None:
    """The size that the whole must have: the published one, else what the server says."""
    unlike = opened.total is None or opened.total != source.size
    if opened.is_page and unlike and (opened.total or 0) <= _LARGEST_PAGE:
        raise _page_error(source, url)
    if source.size is not None and opened.total is not None and opened.total != source.size:
        raise SourceError(
            f"the server says that {source.name} has {opened.total} bytes, but {source.size} are published",
            where=shown(url),
            remedy="the file is another one than the published; fetch it by hand, or give another source",
            code="source-changed",
        )
    return opened.total if source.size is None else source.size


def _page_error(source: Source, url: str) -> SourceError:
    return SourceError(
        f"the server sent a web page instead of {source.name}",
        where=shown(url),
        remedy="open the address in a browser: it may ask for a login or a licence, or the file moved",
    )


def _space(source: Source, size: int | None) -> int:
    """Bytes that a source needs on the disk; an archive needs room for its content too."""
    return (size or 0) * (2 if source.unpack else 1)


def _digest_of(path: Path, source: Source, limits: Limits) -> str:
    """The file's digest, of the kind that the source names."""
    kind = source.digest.partition(":")[0]
    state = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            limits.check()
            state.update(block)
    return f"{kind}:{state.hexdigest()}"
