"""Encryption at rest is asked of the server, and what the server says of it is believed, not assumed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mlperf_submission.errors import StoreError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import Endpoint
from mlperf_submission.store.s3 import Encryption, make_client
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.ceph import KMS_KEY
from tests.mlperf_submission.store.stored_runs import CONTENTS, content_of, info, key_of


@pytest.fixture
def knows_keys(request: pytest.FixtureRequest) -> bool:
    """Whether the server has a key management: rclone has none and ignores what it is asked for."""
    return request.node.callspec.params["s3_server"] == "ceph"  # type: ignore[no-any-return]


def encrypted(store: Store, server: Endpoint, encryption: Encryption) -> Store:
    name, _, prefix = store.address.removeprefix("s3://").partition("/")
    return Store(name, prefix, endpoint_url=server.url, credentials=server.credentials, encryption=encryption)


def test_every_object_is_encrypted_or_nothing_is_called_stored(
    store: Store,
    bucket: Bucket,
    s3_server: Endpoint,
    files: list[RunFile],
    knows_keys: bool,
    tmp_path: Path,
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(random.Random(1).randbytes(1 << 20) * 70)
    asked = encrypted(store, s3_server, Encryption("aws:kms", KMS_KEY))
    if not knows_keys:
        with pytest.raises(StoreError, match="expected aws:kms, it says nothing of it"):
            asked.require_writable()
        with pytest.raises(StoreError, match="expected aws:kms, it says nothing of it"):
            asked.upload_run(info(), files)
        assert store.list_runs() == []
        return
    asked.require_writable()
    manifest = asked.upload_run(info(), [*files, RunFile("large.bin", large)]).manifest
    asked.publish("sys", "one")
    client = make_client(s3_server.url, s3_server.credentials)
    for key in bucket.keys(""):
        head = client.head_object(Bucket=bucket.name, Key=bucket.prefix + key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY)
    assert key_of(manifest, "large.bin") in set(bucket.keys("objects/"))
    asked.fetch_run("sys/one", tmp_path / "to", only=[*CONTENTS])
    assert content_of(tmp_path / "to") == CONTENTS


def test_key_that_the_server_does_not_know_is_refused(
    store: Store, s3_server: Endpoint, files: list[RunFile], knows_keys: bool
) -> None:
    asked = encrypted(store, s3_server, Encryption("aws:kms", "no-such-key"))
    with pytest.raises(StoreError) as caught:
        asked.upload_run(info(), files)
    assert ("no-such-key" in str(caught.value)) or not knows_keys
    assert store.list_runs() == []


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:eu:1:key/k-1"}, False),
        ({"ServerSideEncryption": "aws:kms"}, False),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:eu:1:key/k-2"}, True),
        ({"ServerSideEncryption": "AES256"}, True),
        ({}, True),
    ],
)
def test_answer_that_names_another_key_or_kind_is_an_error(answer: dict[str, str], wrong: bool) -> None:
    for key in ("k-1", "arn:aws:kms:eu:1:key/k-1"):
        if wrong:
            with pytest.raises(StoreError, match="server"):
                Encryption("aws:kms", key).require_confirmed(answer, "s3://b/k")
        else:
            Encryption("aws:kms", key).require_confirmed(answer, "s3://b/k")
    Encryption().require_confirmed(answer, "s3://b/k")
