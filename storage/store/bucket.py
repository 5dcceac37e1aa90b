"""One bucket under one prefix: whole objects in and out, and what is needed to trust them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from common.deadline import Limits
from common.errors import StoreError, UnreachableError
from storage.store.s3 import Credentials, Encryption, make_client, s3_errors

_BLOCK = 1 << 20
_MULTIPART_BYTES = 64 << 20
_PART_BYTES = 32 << 20
_MOST_PARTS = 9_000
_THREADS_PER_FILE = 4
PAUSES_SECONDS = (0.2, 1.0, 3.0)
"""How long to wait before an object that broke off is asked for again, from where it ended."""
_THERE_ALREADY = (409, 412)
"""Answers to a conditional write that came second; 409 when both were under way at once."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes that went through since the last call, from several threads."""


@dataclass(frozen=True)
class StoredObject:
    """An object as the server describes it: its key, its size in bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun: datetime


class Bucket:
    """A bucket under a prefix. Keys are relative to the prefix. Safe to be used from several threads.

    Every method raises UnreachableError or StoreError as `s3_errors` says. Nothing is tagged and
    no ACL is set: some servers answer these with success and destroy the object. User metadata is not used
    either: some servers forget it.
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
        connections: int = 32,
    ) -> None:
        self.name = name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = make_client(endpoint_url, credentials, region=region, connections=connections)
        self._encryption = encryption or Encryption()
        self.endpoint = endpoint_url or self._client.meta.endpoint_url

    def address(self, key: str = "") -> str:
        """Return the `s3://` address of a key."""
        return f"s3://{self.name}/{self.prefix}{key}"

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

    def look_at(self, key: str) -> StoredObject | None:
        """Return an object's description, or None if there is none."""
        with s3_errors(self.endpoint, bucket=self.name, key=key), _absent_is_none():
            found = self._client.head_object(Bucket=self.name, Key=self.prefix + key)
            return StoredObject(key, found["ContentLength"], found["LastModified"])
        return None

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose keys start with a prefix, in pages of the server."""
        with s3_errors(self.endpoint, bucket=self.name):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    yield StoredObject(key, item["Size"], item["LastModified"])

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
        """Return the content of a small object, or None if there is none."""
        blocks = self._blocks(key, 0, Limits())
        return None if blocks is None else b"".join(blocks)

    def write(self, key: str, content: bytes, *, only_new: bool = False) -> None:
        """Write a small object.

        Args:
            key: of the object.
            content: what it is to hold.
            only_new: leave an object alone that is there already. Servers that know conditional writes (AWS,
                Ceph, MinIO) do so; others (rclone) ignore the condition: read it back to know whose it is.
        """
        condition = {"IfNoneMatch": "*"} if only_new else {}
        with self._writing(key):
            try:
                done = self._client.put_object(
                    Bucket=self.name,
                    Key=self.prefix + key,
                    Body=content,
                    ContentType="application/json",
                    **condition,  # type: ignore[arg-type]
                    **self._encryption.parameters(),
                )
            except ClientError as error:
                if only_new and _status(error) in _THERE_ALREADY:
                    return
                raise
        self._encryption.require_confirmed(done, self.address(key))

    def upload(self, path: Path, key: str, sha256: str, limits: Limits, on_bytes: OnBytes) -> None:
        """Upload a file, in parts if it is large, and verify what the server has by reading it back.

        Reading back is the one check that means the same everywhere: entity tags are MD5 here and something
        else there, and servers exist that accept a wrong `x-amz-checksum-sha256`. An object that reads wrong
        is sent once more, and never removed: other runs may name it, and perhaps only the reading failed.

        Raises:
            StoreError: the server holds something else than the file.
        """
        from boto3.s3.transfer import TransferConfig

        def progressed(count: int) -> None:
            limits.check()
            on_bytes(count)

        size = path.stat().st_size
        config = TransferConfig(
            multipart_threshold=_MULTIPART_BYTES,
            multipart_chunksize=max(_PART_BYTES, -(-size // _MOST_PARTS)),
            max_concurrency=_THREADS_PER_FILE,
        )
        found: str | None = None
        for _ in range(2):
            with self._writing(key), path.open("rb") as stream:
                self._client.upload_fileobj(
                    stream,
                    self.name,
                    self.prefix + key,
                    Config=config,
                    Callback=progressed,
                    ExtraArgs=self._encryption.parameters(),
                )
            found = self.hash_of(key, limits)
            if found == sha256:
                self._require_encrypted(key)
                return
        raise StoreError(
            f"the server stored something else than {path.name}: expected {sha256}, found {found}",
            where=self.address(key),
            remedy="the file changed while it was sent, or connection or server are faulty; start again",
        )

    def hash_of(self, key: str, limits: Limits) -> str | None:
        """Return the SHA-256 of an object's content, or None if there is none."""
        state = hashlib.sha256()
        blocks = self._blocks(key, 0, limits)
        if blocks is None:
            return None
        for block in blocks:
            state.update(block)
        return state.hexdigest()

    def download(self, key: str, path: Path, size: int, limits: Limits, on_bytes: OnBytes) -> str | None:
        """Write an object to a file; go on behind the bytes that an earlier call left there.

        Args:
            key: of the object.
            path: the file.
            size: bytes that the object is to have.
            limits: when to end.
            on_bytes: called while bytes arrive, once with those that were there.

        Returns:
            The SHA-256 of the whole file, or None if there is no such object.
        """
        state = hashlib.sha256()
        with path.open("a+b") as stream:
            if stream.tell() > size:
                stream.truncate(0)
            stream.seek(0)
            there = 0
            while block := stream.read(_BLOCK):
                state.update(block)
                there += len(block)
            on_bytes(there)
            blocks = self._blocks(key, there, limits) if there < size or size == 0 else iter(())
            if blocks is None:
                return None
            for block in blocks:
                state.update(block)
                stream.write(block)
                on_bytes(len(block))
            stream.flush()
            os.fsync(stream.fileno())
        return state.hexdigest()

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

    def _require_encrypted(self, key: str) -> None:
        if self._encryption.parameters():
            with s3_errors(self.endpoint, bucket=self.name, key=key):
                found = self._client.head_object(Bucket=self.name, Key=self.prefix + key)
            self._encryption.require_confirmed(found, self.address(key))

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens if it is not there."""
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            self._client.delete_object(Bucket=self.name, Key=self.prefix + key)

    def _blocks(self, key: str, start: int, limits: Limits) -> Iterator[bytes] | None:
        """Read an object from an offset on; None if there is none. What breaks off is asked for again."""
        first = self._open(key, start)
        if first is None:
            return None

        def read() -> Iterator[bytes]:
            body: StreamingBody | None = first
            position, pauses = start, iter(PAUSES_SECONDS)
            while True:
                try:
                    body = body or self._open(key, position)
                    if body is None:
                        return
                    with s3_errors(self.endpoint, bucket=self.name, key=key):
                        for block in body.iter_chunks(_BLOCK):
                            limits.check()
                            yield block
                            position, pauses = position + len(block), iter(PAUSES_SECONDS)
                    return
                except UnreachableError:
                    pause = next(pauses, None)
                    if pause is None:
                        raise
                body = None
                limits.stopped.wait(pause)
                limits.check()

        return read()

    def _open(self, key: str, start: int) -> StreamingBody | None:
        span = {"Range": f"bytes={start}-"} if start else {}
        with s3_errors(self.endpoint, bucket=self.name, key=key), _absent_is_none():
            return self._client.get_object(Bucket=self.name, Key=self.prefix + key, **span)["Body"]  # type: ignore[arg-type]
        return None


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
