"""One bucket under one prefix: whole objects in and out, and what is needed to trust them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from common.errors import StoreError, UnreachableError
from storage.s3 import Credentials, make_client, s3_errors
from storage.transfer import Limits

_BLOCK = 1 << 20
_MULTIPART_BYTES = 64 << 20
_PART_BYTES = 32 << 20
_MOST_PARTS = 9_000
_THREADS_PER_FILE = 4
_PAUSES_SECONDS = (0.2, 1.0, 3.0)
"""How long to wait before an object that broke off is asked for again, from where it ended."""
_THERE_ALREADY = (409, 412)
"""Answers to a conditional write that came second; 409 when both were under way at once."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes that went through since the last call, from several threads."""


class Bucket:
    """A bucket under a prefix. Keys are relative to the prefix. Safe to be used from several threads.

    Every method raises UnreachableError or StoreError as `storage.s3.s3_errors` says. Nothing is tagged and
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
        connections: int = 32,
    ) -> None:
        self.name = name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = make_client(endpoint_url, credentials, connections=connections)
        self.endpoint = endpoint_url or self._client.meta.endpoint_url

    def address(self, key: str = "") -> str:
        """Return the `s3://` address of a key."""
        return f"s3://{self.name}/{self.prefix}{key}"

    def require(self) -> None:
        """Raise unless the bucket is there and the key may use it."""
        with s3_errors(self.endpoint, bucket=self.name):
            self._client.head_bucket(Bucket=self.name)

    def ensure(self) -> None:
        """Create the bucket if it is not there."""
        with s3_errors(self.endpoint, bucket=self.name):
            try:
                self._client.head_bucket(Bucket=self.name)
                return
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
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

    def size_of(self, key: str) -> int | None:
        """Return the size of an object in bytes, or None if there is none."""
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            try:
                return self._client.head_object(Bucket=self.name, Key=self.prefix + key)["ContentLength"]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with a prefix, in pages of the server."""
        with s3_errors(self.endpoint, bucket=self.name):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self.prefix)

    def read(self, key: str) -> bytes | None:
        """Return the content of a small object, or None if there is none."""
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            try:
                return self._client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read()
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise

    def write(self, key: str, content: bytes) -> None:
        """Write a small object."""
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            self._client.put_object(
                Bucket=self.name, Key=self.prefix + key, Body=content, ContentType="application/json"
            )

    def write_new(self, key: str, content: bytes) -> None:
        """Write a small object unless there is one already; read it back to know whose it is.

        Servers that know conditional writes (AWS, Ceph, MinIO) keep the object that is there; others (rclone)
        ignore the condition and take the new one.
        """
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            try:
                self._client.put_object(
                    Bucket=self.name,
                    Key=self.prefix + key,
                    Body=content,
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _THERE_ALREADY:
                    raise

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
            with s3_errors(self.endpoint, bucket=self.name, key=key), path.open("rb") as stream:
                self._client.upload_fileobj(
                    stream, self.name, self.prefix + key, Config=config, Callback=progressed
                )
            found = self.hash_of(key, limits)
            if found == sha256:
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
            position, pauses = start, iter(_PAUSES_SECONDS)
            while True:
                try:
                    body = body or self._open(key, position)
                    if body is None:
                        return
                    with s3_errors(self.endpoint, bucket=self.name, key=key):
                        for block in body.iter_chunks(_BLOCK):
                            limits.check()
                            yield block
                            position, pauses = position + len(block), iter(_PAUSES_SECONDS)
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
        with s3_errors(self.endpoint, bucket=self.name, key=key):
            span = {"Range": f"bytes={start}-"} if start else {}
            try:
                return self._client.get_object(Bucket=self.name, Key=self.prefix + key, **span)["Body"]  # type: ignore[arg-type]
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == 404:
                    return None
                raise
