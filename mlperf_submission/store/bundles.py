"""Small files travel together: a request costs more than a small file has bytes.

A bundle is several contents, one behind the other, in one object. It lies under its own hash like any
object, so what proves objects knows nothing of bundles. The manifest says where in it each content begins.
Each is found, read and verified alone, or together with its neighbours in one request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate
from pathlib import Path

from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.manifest import Manifest, ManifestFile, object_key
from mlperf_submission.store.proof import content_of
from mlperf_submission.store.transfers import WHOLE_BYTES

SMALL_BYTES = 256 << 10
"""Larger files are objects of their own: bundling them would save little, and send much again for little."""
BUNDLE_BYTES = WHOLE_BYTES
"""A bundle is held in memory."""
_OPENED_BY_BROWSERS = ".html"
_LEAST_FILES = 2


def as_bundled_before(manifest: Manifest, before: Manifest) -> Manifest:
    """Return a new run's manifest with what it shares with an earlier run in the bundles of that.

    Args:
        manifest: of the new run; its files are in no bundle yet.
        before: of the earlier run.
    """
    bundled = {file.sha256: file for file in before.files if file.bundle is not None}
    alone = _alone(manifest.files)
    files = tuple(
        file.model_copy(update={"bundle": bundled[file.sha256].bundle, "offset": bundled[file.sha256].offset})
        if file.sha256 in bundled and file.sha256 not in alone
        else file
        for file in manifest.files
    )
    used = {file.bundle for file in files}
    bundles = tuple(one for one in before.bundles if one.sha256 in used)
    return manifest.model_copy(update={"files": files, "bundles": bundles})


def new_bundles(files: Iterable[ManifestFile]) -> list[list[ManifestFile]]:
    """Return which files are to share a bundle, in the order of their paths; each content once.

    The same files give the same bundles, so that an upload that broke off goes on.

    Args:
        files: those that are in no bundle yet.
    """
    ordered = sorted(files, key=lambda file: file.path)
    alone = _alone(ordered)
    small = {file.sha256: file for file in reversed(ordered) if file.sha256 not in alone}
    bundles: list[list[ManifestFile]] = []
    room = 0
    for file in sorted(small.values(), key=lambda file: file.path):
        if file.size > room:
            bundles.append([])
            room = BUNDLE_BYTES
        bundles[-1].append(file)
        room -= file.size
    return [bundle for bundle in bundles if len(bundle) >= _LEAST_FILES]


def _alone(files: Iterable[ManifestFile]) -> set[str]:
    """The contents that are objects of their own: large or empty ones, and pages, which have links."""
    return {
        file.sha256
        for file in files
        if not 0 < file.size <= SMALL_BYTES or file.path.endswith(_OPENED_BY_BROWSERS)
    }


def bundled(files: Iterable[ManifestFile], sources: Mapping[str, Path]) -> bytes:
    """Return the content of a bundle.

    Args:
        files: what it is to hold, in this order.
        sources: a file with the content, by its SHA-256.

    Raises:
        SourceError: a file has another content by now.
    """
    return b"".join(content_of(sources[file.sha256], file.sha256) for file in files)


def offsets(files: Collection[ManifestFile]) -> dict[str, int]:
    """Return where in their bundle the contents of these files begin, by their SHA-256."""
    begins = accumulate((file.size for file in files), initial=0)
    return {file.sha256: begin for file, begin in zip(files, begins, strict=False)}


def read_bundled(bucket: Bucket, bundle: str, files: Collection[ManifestFile]) -> dict[str, bytes] | None:
    """Read contents out of a bundle in one request; return those that are right, None if there is no bundle.

    What reads wrong is read twice: perhaps only the reading failed.

    Args:
        bucket: of the store.
        bundle: its SHA-256.
        files: in the bundle, one for each content.
    """
    begin = min(file.offset for file in files)
    end = max(file.offset + file.size for file in files)
    right: dict[str, bytes] = {}
    for _ in range(2):
        block = bucket.part(object_key(bundle), begin, end - begin)
        if block is None:
            return None
        for file in files:
            content = block[file.offset - begin : file.offset - begin + file.size]
            if hashlib.sha256(content).hexdigest() == file.sha256:
                right[file.sha256] = content
        if len(right) == len(files):
            break
    return right
