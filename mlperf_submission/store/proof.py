"""What shows that an object holds a content: a checksum of the server's own, else its bytes read back.

A server's checksum is believed only where it says yes: the server made it from what it got, and ours of the
same kind is the same. Whatever says no is read back.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from mlperf_submission.deadline import Limits
from mlperf_submission.errors import SourceError
from mlperf_submission.store.bucket import Bucket, OnBytes, StoredObject
from mlperf_submission.store.manifest import object_key
from mlperf_submission.store.transfers import WHOLE_BYTES, part_bytes

Source = Path | bytes
_MD5 = re.compile(r"[0-9a-f]{32}(-\d+)?")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Proof:
    """What was found where a content should be.

    Attributes:
        state: `changed` means that something else lies there.
        what: what is wrong, for a person; empty if nothing is.
        etag: the object's entity tag, if it is whole.
    """

    state: Literal["whole", "missing", "changed"]
    what: str = ""
    etag: str = ""


def send(bucket: Bucket, source: Source, sha256: str, size: int, limits: Limits, on_bytes: OnBytes) -> Proof:
    """Send a content, and find out whether the store holds it now.

    What the server says of a small one in its answer is enough, if it is ours.

    Args:
        bucket: of the store.
        source: a file with the content, or a small content itself.
        sha256: of the content.
        size: of the content, in bytes.
        limits: when to end.
        on_bytes: called while bytes go.

    Raises:
        SourceError: the file has another content by now.
        StoreError: the server does not encrypt as it was asked to.
    """
    key = object_key(sha256)
    if isinstance(source, Path) and size > WHOLE_BYTES:
        bucket.upload(source, key, limits, on_bytes)
        proof = prove(bucket, sha256, size, limits, source=source)
        if proof.state == "whole":
            bucket.require_encrypted(key)
        return proof
    limits.check()
    content = content_of(source, sha256)
    sums = bucket.put(key, content, sha256)
    on_bytes(size)
    if sums.sha256 == _base64(bytes.fromhex(sha256)) or sums.etag == _md5(content).hexdigest():
        return Proof("whole", etag=sums.etag)
    return prove(bucket, sha256, size, limits, source=source)


def content_of(source: Source, sha256: str) -> bytes:
    """Return the content of a small file.

    Raises:
        SourceError: it has another content by now.
    """
    if isinstance(source, bytes):
        return source
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(source)
    return content


def prove(
    bucket: Bucket, sha256: str, size: int, limits: Limits, *, source: Source | None = None, etag: str = ""
) -> Proof:
    """Find out whether the store holds a content, and read it only if nothing else shows it.

    Args:
        bucket: of the store.
        sha256: of the content.
        size: of the content, in bytes.
        limits: when to end.
        source: as for `send`, if the content is on this machine.
        etag: the entity tag that the object had when its content was verified, if it is known.

    Raises:
        SourceError: the file has another content by now.
    """
    limits.check()
    key = object_key(sha256)
    item = bucket.look_at(key, sums=True)
    if item is None:
        return Proof("missing", "missing")
    if item.size != size:
        return Proof("changed", f"{item.size} bytes instead of {size}")
    known = item.sha256 == _base64(bytes.fromhex(sha256)) or (item.etag != "" and item.etag == etag)
    if known or (source is not None and _is_sum_of(item, source, sha256, part_bytes(size), limits)):
        return Proof("whole", etag=item.etag)
    found: str | None = None
    for _ in range(2):  # perhaps only the reading failed
        found = bucket.hash_of(key, size, limits)
        if found == sha256:
            return Proof("whole", etag=item.etag)
    return Proof("changed", f"expected {sha256}, found {found}") if found else Proof("missing", "missing")


def _is_sum_of(item: StoredObject, source: Source, sha256: str, parts_of: int, limits: Limits) -> bool:
    """Whether a checksum of the server's is that of a file: MD5 or SHA-256, of the whole or of its parts."""
    if "-" in item.sha256:
        return item.sha256 == _sum_of(source, sha256, hashlib.sha256, parts_of, _base64, limits)
    match = _MD5.fullmatch(item.etag)
    if match is None:
        return False
    return item.etag == _sum_of(source, sha256, _md5, parts_of if match[1] else 0, bytes.hex, limits)


def _sum_of(
    source: Source,
    sha256: str,
    kind: Callable[[], Any],
    parts_of: int,
    written: Callable[[bytes], str],
    limits: Limits,
) -> str:
    """Return a file's checksum as S3 writes it; with parts, that of the parts' checksums and their number."""
    whole, state, digests = hashlib.sha256(), kind(), []
    in_part = 0
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        while block := stream.read(min(_BLOCK, parts_of - in_part) if parts_of else _BLOCK):
            limits.check()
            whole.update(block)
            state.update(block)
            in_part += len(block)
            if in_part == parts_of:
                digests.append(state.digest())
                state, in_part = kind(), 0
    if whole.hexdigest() != sha256:
        raise _changed(source)
    if not parts_of:
        return written(state.digest())
    if in_part:
        digests.append(state.digest())
    parts = kind()
    parts.update(b"".join(digests))
    return f"{written(parts.digest())}-{len(digests)}"


def _changed(source: Source) -> SourceError:
    return SourceError(
        "the file changed while it was uploaded",
        where=source if isinstance(source, Path) else "",
        remedy="make the run's files anew",
    )


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
