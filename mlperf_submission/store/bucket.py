"""One bucket under one prefix: whole objects in and out, and what the server says of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from botocore.exceptions import ClientError

from mlperf_submission.addresses import shown
from mlperf_submission.deadline import Limits
from mlperf_submission.errors import StoreError
from mlperf_submission.store.s3 import Credentials, Encryption, make_client, s3_errors
from mlperf_submission.store.transfers import (
    READ_BYTES,
    WHOLE_BYTES,
    Sink,
    TooLongError,
    part_bytes,
    transfers,
)

_MOST_KEYS = 10_000_000
_READS = 5
"""As boto3's transfer manager has it for what it reads."""
_SMALL_BYTES = 64 << 20
"""More than any manifest has: one file of a run takes 300 bytes in it."""
_THERE_ALREADY = (409, 412)
"""Answers to a conditional write that came second; 409 when both were under way at once."""
_BEHIND_THE_END = 416
NOTE = "store.json"
_NOTE_TEXT = b'{"layout": 1, "see": "docs/store.md"}'
_NOTE_SUM = base64.b64encode(hashlib.sha256(_NOTE_TEXT).digest()).decode()
_WRONG_SUM = base64.b64encode(bytes(32)).decode()

OnBytes = Callable[[int], None]
"""Called with the number of bytes that went through since the last call, from several threads."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What a server says of an object's content.

    Attributes:
        etag: its entity tag: on most servers an MD5 of the content, or of those of its parts; "" for none.
        sha256: the server's own SHA-256 in base64, of the content or (with `-<parts>` behind it) of those of
            its parts; "" unless this server compares what it is sent with it.
    """

    etag: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class StoredObject(Sums):
    """An object as the server describes it.

    Attributes:
        key: below the prefix.
        size: in bytes.
        modified: when it was written, by the server's clock.
    """

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Small:
    """A small object: its content, and when it was written, by the server's clock."""

    content: bytes
    modified: datetime


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun: datetime


def s3_address(bucket: str, prefix: str, key: str = "") -> str:
    """Return the `s3://` address of a key below a prefix; nothing is asked of a server."""
    return f"s3://{bucket}/{_as_folder(prefix)}{key}"


def _as_folder(prefix: str) -> str:
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


class Bucket:
    """A bucket under a prefix. Keys are relative to the prefix. Safe to be used from several threads.

    Every method raises UnreachableError or StoreError as `s3_errors` says. Nothing is tagged and no ACL is
    set: some servers answer these with success and destroy the object. User metadata is not used either:
    some servers forget it.
    """

    def __init__(
        self,
        name: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        credentials: Credentials | None = None,
        region: str | None = None,
        encryption: Encryption | None = None,
        isolated: bool = False,
        connections: int = 32,
    ) -> None:
        self.name = name
        self.prefix = _as_folder(prefix)
        self._client = make_client(
            endpoint_url, credentials, region=region, isolated=isolated, connections=connections
        )
        self._encryption = encryption or Encryption()
        self.endpoint = shown(endpoint_url or self._client.meta.endpoint_url)

    def address(self, key: str = "") -> str:
        """Return the `s3://` address of a key."""
        return s3_address(self.name, self.prefix, key)

    def require(self) -> None:
        """Raise unless the bucket is there and the key may use it."""
        with s3_errors(self.endpoint, bucket=self.name):
            try:
                self._client.head_bucket(Bucket=self.name)
            except ClientError as error:
                if _status(error) != 403:
                    raise
                # An answer to HEAD has no body that would say why it is refused.
                self._client.list_objects_v2(Bucket=self.name, Prefix=self.prefix, MaxKeys=1)

    def ensure(self) -> None:
        """Create the bucket if it is not there."""
        with s3_errors(self.endpoint, bucket=self.name):
            try:
                self._client.head_bucket(Bucket=self.name)
                return
            except ClientError as error:
                if _status(error) != 404:
                    raise
            region = self._client.meta.region_name
            try:
                if region == "us-east-1":
                    self._client.create_bucket(Bucket=self.name)
                else:
                    place = {"LocationConstraint": region}
                    self._client.create_bucket(Bucket=self.name, CreateBucketConfiguration=place)  # type: ignore[arg-type]
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                    raise

    def look_at(self, key: str, *, sums: bool = False) -> StoredObject | None:
        """Return an object's description, or None if there is none.

        Args:
            key: of the object.
            sums: ask for the server's own SHA-256 too; needs the right to write (`compares_sums`).
        """
        sums = sums and self.compares_sums
        asked: Any = {"ChecksumMode": "ENABLED"} if sums else {}
        with s3_errors(self.endpoint, bucket=self.name, key=key), _absent_is_none():
            found = self._client.head_object(Bucket=self.name, Key=self.prefix + key, **asked)
            return StoredObject(
                key,
                found["ContentLength"],
                found["LastModified"],
                etag=found.get("ETag", "").strip('"'),
                sha256=found.get("ChecksumSHA256", "") if sums else "",
            )
        return None

    def link(self, key: str, seconds: int, content_type: str) -> str:
        """Return an address that opens an object in a browser; whoever has it needs no key.

        Made here: nothing is asked of a server, nor whether the object is there.

        Args:
            key: of the object.
            seconds: how long it holds, at most a week; no longer than a key that is lent for a time.
            content_type: what the browser is told that it is.
        """
        asked = {"Bucket": self.name, "Key": self.prefix + key, "ResponseContentType": content_type}
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            return self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys start with a prefix, in pages of the server."""
        count = 0
        with s3_errors(self.endpoint, bucket=self.name):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    count += 1
                    if item["Key"].startswith(self.prefix + prefix):
                        key = item["Key"].removeprefix(self.prefix)
                        yield StoredObject(key, item["Size"], item["LastModified"])
                if count > _MOST_KEYS:
                    raise StoreError(
                        f"the S3 server lists more than {_MOST_KEYS} objects",
                        where=self.address(prefix),
                        remedy="give the store a bucket or a prefix of its own",
                    )

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with a prefix."""
        return (found.key for found in self.objects(prefix))

    def unfinished_uploads(self) -> Iterator[UnfinishedUpload]:
        """Yield the multipart uploads below the prefix that nobody completed.

        Some servers (rclone) answer with 404 when there are none.
        """
        with s3_errors(self.endpoint, bucket=self.name), _absent_is_none():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.name, Prefix=self.prefix
            )
            for page in pages:
                for item in page.get("Uploads", []):
                    key = item["Key"].removeprefix(self.prefix)
                    yield UnfinishedUpload(key, item["UploadId"], item["Initiated"])

    def abort(self, upload: UnfinishedUpload) -> None:
        """Abort a multipart upload; nothing happens if it is gone."""
        with s3_errors(self.endpoint, bucket=self.name, key=upload.key), _absent_is_none():
            self._client.abort_multipart_upload(
                Bucket=self.name, Key=self.prefix + upload.key, UploadId=upload.upload_id
            )

    def read(self, key: str) -> bytes | None:
        """Return the content of a small object, or None if there is none; see `small`."""
        found = self.small(key)
        return found.content if found else None

    def small(self, key: str) -> Small | None:
        """Return a small object, or None if there is none.

        Raises:
            StoreError: it is larger than anything small that this store writes.
        """
        with s3_errors(self.endpoint, bucket=self.name, key=key), _absent_is_none():
            try:
                return self._got(key, _SMALL_BYTES)
            except TooLongError:
                raise StoreError(
                    f"the object has more than {_SMALL_BYTES >> 20} MB: no store wrote it there",
                    where=self.address(key),
                    remedy="remove it",
                ) from None
        return None

    def part(self, key: str, offset: int, size: int) -> bytes | None:
        """Return bytes of an object, fewer where it ends before them, or None if there is no such object.

        Args:
            key: of the object.
            offset: of the first byte.
            size: how many bytes, at least one.
        """
        with s3_errors(self.endpoint, bucket=self.name, key=key), _absent_is_none():
            try:
                return self._got(key, size, Range=f"bytes={offset}-{offset + size - 1}").content
            except TooLongError:  # a server that knows no ranges
                return b""
            except ClientError as error:
                if _status(error) != _BEHIND_THE_END:
                    raise
                return b""
        return None

    def _got(self, key: str, most: int, **asked: Any) -> Small:
        """Return an object in one request; what breaks off on the way is asked for again.

        Args:
            key: of the object.
            most: bytes that it may have.
            asked: what else boto3 is to ask for.

        Raises:
            TooLongError: it has more bytes than `most`; no more of it are taken.
        """
        from s3transfer.utils import S3_RETRYABLE_DOWNLOAD_ERRORS

        for attempts_left in reversed(range(_READS)):
            answer = self._client.get_object(Bucket=self.name, Key=self.prefix + key, **asked)
            blocks, left = [], most
            try:
                while block := answer["Body"].read(left + 1):
                    blocks.append(block)
                    left -= len(block)
                    if left < 0:
                        answer["Body"].close()
                        raise TooLongError
                return Small(b"".join(blocks), answer["LastModified"])
            except S3_RETRYABLE_DOWNLOAD_ERRORS:
                if not attempts_left:
                    raise
        raise AssertionError("every way out of the loop is in it")

    def write(
        self, key: str, content: bytes, *, only_new: bool = False, content_type: str = "application/json"
    ) -> None:
        """Write a small object.

        Args:
            key: of the object.
            content: what it is to hold.
            only_new: leave an object alone that is there already. Servers that know conditional writes (AWS,
                Ceph, MinIO) do so; others (rclone) ignore the condition: read it back to know whose it is.
            content_type: what a browser is told that it is.
        """
        condition = {"IfNoneMatch": "*"} if only_new else {}
        with self._writing(key):
            try:
                done = self._client.put_object(
                    Bucket=self.name,
                    Key=self.prefix + key,
                    Body=content,
                    ContentType=content_type,
                    **condition,  # type: ignore[arg-type]
                    **self._encryption.parameters(),
                )
            except ClientError as error:
                if only_new and _status(error) in _THERE_ALREADY:
                    return
                raise
        self._encryption.require_confirmed(done, self.address(key))

    @cached_property
    def compares_sums(self) -> bool:
        """Whether the server compares what it is sent with the SHA-256 that comes with it.

        That is tried, not believed: a wrong sum has to be refused, and the right one taken. Some servers
        (rclone) keep any sum and repeat it, others (Ceph before 19) do not know them. Needs the right to
        write.
        """
        return not self._takes_note(_WRONG_SUM) and self._takes_note(_NOTE_SUM)

    def _takes_note(self, sha256: str) -> bool:
        """Write the note with this sum; False if the server does not want it."""
        with self._writing(NOTE):
            try:
                self._client.put_object(
                    Bucket=self.name,
                    Key=self.prefix + NOTE,
                    Body=_NOTE_TEXT,
                    ChecksumSHA256=sha256,
                    **self._encryption.parameters(),
                )
            except ClientError as error:
                if _status(error) not in (400, 501):
                    raise
                return False
        return True

    def require_writable(self) -> None:
        """Raise unless objects can be written, encrypted as asked, by writing the store's own small note."""
        self.require()
        _ = self.compares_sums
        self.write(NOTE, _NOTE_TEXT)

    def put(self, key: str, content: bytes, sha256: str) -> Sums:
        """Write an object in one request; return the sums that the server made of what it got.

        Args:
            key: of the object.
            content: what it is to hold.
            sha256: of the content.
        """
        sha = base64.b64encode(bytes.fromhex(sha256)).decode()
        sums = {"ChecksumSHA256": sha} if self.compares_sums else {}
        with self._writing(key):
            done = self._client.put_object(
                Bucket=self.name,
                Key=self.prefix + key,
                Body=content,
                **self._encryption.parameters(),
                **sums,  # type: ignore[arg-type]
            )
        self._encryption.require_confirmed(done, self.address(key))
        return Sums(
            etag=done.get("ETag", "").strip('"'),
            sha256=done.get("ChecksumSHA256", "") if sums else "",
        )

    def upload(self, path: Path, key: str, limits: Limits, on_bytes: OnBytes) -> None:
        """Upload a file, in parts if it is large. What the server then has is for the caller to verify."""

        def progressed(count: int) -> None:
            limits.check()
            on_bytes(count)

        sums = {"ChecksumAlgorithm": "SHA256"} if self.compares_sums else {}
        with self._writing(key), path.open("rb") as stream:
            self._client.upload_fileobj(
                stream,
                self.name,
                self.prefix + key,
                Config=transfers(part_bytes(path.stat().st_size)),
                Callback=progressed,
                ExtraArgs={**self._encryption.parameters(), **sums},
            )

    def require_encrypted(self, key: str) -> None:
        """Raise StoreError unless the server says that an object is encrypted as was asked for."""
        if self._encryption.parameters():
            with s3_errors(self.endpoint, bucket=self.name, key=key):
                found = self._client.head_object(Bucket=self.name, Key=self.prefix + key)
            self._encryption.require_confirmed(found, self.address(key))

    def hash_of(self, key: str, size: int, limits: Limits) -> str | None:
        """Return the SHA-256 of an object's content, or None if there is none; see `download`."""
        return self.download(key, None, size, limits, lambda _: None)

    def download(
        self, key: str, path: Path | None, size: int, limits: Limits, on_bytes: OnBytes
    ) -> str | None:
        """Write an object to a file that is not there yet; what breaks off on the way is asked for again.

        Args:
            key: of the object.
            path: the file; None only reads.
            size: bytes that the object is to have: of a longer one no more is taken.
            limits: when to end.
            on_bytes: called while bytes arrive.

        Returns:
            The SHA-256 of what arrived, or None if there is no such object.
        """
        with (
            s3_errors(self.endpoint, bucket=self.name, key=key),
            _absent_is_none(),
            Sink(path, size, limits) as sink,
        ):
            try:
                if size <= WHOLE_BYTES:
                    sink.write(self._got(key, size).content)
                    on_bytes(size)
                    return sink.sha256()
                self._client.download_fileobj(
                    self.name,
                    self.prefix + key,
                    cast(IO[bytes], sink),
                    Callback=on_bytes,
                    Config=transfers(part_bytes(size) if path else READ_BYTES),
                )
            except TooLongError:
                return f"more than {size} bytes"
            return sink.sha256()
        return None

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Name the encryption too where a write is refused: servers blame the access key for a KMS key."""
        try:
            with s3_errors(self.endpoint, bucket=self.name, key=key):
                yield
        except StoreError as error:
            if self._encryption.parameters():
                error.remedy += f"; or the server does not know the {self._encryption}"
            raise

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens if it is not there."""
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            self._client.delete_object(Bucket=self.name, Key=self.prefix + key)


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


@contextmanager
def _absent_is_none() -> Iterator[None]:
    """Leave the block quietly if what it asks for is not there; a missing bucket stays an error."""
    try:
        yield
    except ClientError as error:
        if _status(error) != 404 or error.response["Error"]["Code"] == "NoSuchBucket":
            raise
