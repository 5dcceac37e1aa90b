"""What a store no longer needs is found, and only that is deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlperf_submission.errors import SettingError, StepTimeoutError, StoreError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.collect import LEAST_AGE, age
from mlperf_submission.store.embedded import Endpoint
from mlperf_submission.store.manifest import object_key
from mlperf_submission.store.s3 import make_client
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import CONTENTS, NOON, addresses, content_of, info, key_of

DAY = timedelta(days=1)
LATER = datetime.now(UTC) + 3 * DAY
LOST = object_key("ab" * 32)


@pytest.fixture(autouse=True)
def one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server sees at once what was written: nobody has to wait for that."""
    monkeypatch.setattr("mlperf_submission.store.marks.SEEN_AFTER_SECONDS", 0.0)


def keys_of(objects: object) -> set[str]:
    assert isinstance(objects, tuple)
    return {item.key for item in objects}


@pytest.fixture
def lost(bucket: Bucket) -> Iterator[str]:
    """Content that no run names."""
    bucket.write(LOST, b"lost")
    yield LOST
    bucket.remove(LOST)


def test_garbage_is_found_first_and_deleted_on_demand(
    store: Store, bucket: Bucket, files: list[RunFile], lost: str, tmp_path: Path
) -> None:
    store.upload_run(info(), files)
    store.publish("sys", "one")
    bucket.write("objects/sha256/of somebody else", b"x")
    found = store.collect(older_than=DAY, now=LATER)
    assert keys_of(found.objects) == {lost}
    assert (found.size, found.deleted) == (4, False)
    assert bucket.read(lost) == b"lost"
    assert keys_of(store.collect(older_than=DAY, now=LATER, delete=True).objects) == {lost}
    assert bucket.read(lost) is None
    assert bucket.read("objects/sha256/of somebody else") == b"x"
    assert store.collect(older_than=DAY, now=LATER).objects == ()
    store.fetch_run("sys/one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_upload_that_is_under_way_loses_nothing(
    store: Store, files: list[RunFile], tmp_path: Path, lost: str
) -> None:
    def stop(done: int, total: int) -> None:
        if done == total:
            raise StepTimeoutError("ended before the manifest was written")

    with pytest.raises(StepTimeoutError):
        store.upload_run(info(), files, on_progress=stop)
    found = store.collect(older_than=DAY, delete=True)
    assert found.objects == ()
    assert keys_of(found.young) > {lost}
    assert store.upload_run(info(), files).sent_objects == 0
    store.fetch_run("sys/one", tmp_path / "to")


def test_removed_candidate_is_gone_but_for_what_is_retained(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    files[2] = replace(files[2], retain_until=LATER + DAY)
    manifest = store.upload_run(info("old"), files).manifest
    store.upload_run(info("new", created=NOON + DAY), files[:1])
    assert str(store.remove("candidates/sys/latest")) == "candidates/sys/new"
    assert str(store.find("sys/latest").address) == "candidates/sys/old"
    store.remove("old")
    assert addresses(store) == []
    assert store.collect(older_than=DAY).objects == ()

    found = store.collect(older_than=DAY, now=LATER, delete=True)
    assert keys_of(found.retained) == {key_of(manifest, "tree/b.bin")}
    assert keys_of(found.objects) == {key_of(manifest, path) for path in CONTENTS if path != "tree/b.bin"}
    assert keys_of(found.removed) == {"removed/candidates/sys/new/manifest.json"}
    assert bucket.read(key_of(manifest, "tree/b.bin")) == CONTENTS["tree/b.bin"]

    last = store.collect(older_than=DAY, now=LATER + 2 * DAY, delete=True)
    assert keys_of(last.objects) == {key_of(manifest, "tree/b.bin")}
    assert list(bucket.keys("")) == ["store.json"]


def test_what_another_run_names_stays_when_one_is_removed(
    store: Store, files: list[RunFile], tmp_path: Path
) -> None:
    store.upload_run(info("one"), files)
    store.publish("sys", "one")
    store.upload_run(info("r", rehearsal=True), files)
    store.remove("rehearsals/sys/r")
    store.remove("candidates/sys/one")
    assert store.collect(older_than=DAY, now=LATER, delete=True).objects == ()
    store.fetch_run("sys/one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_published_run_is_not_removed(store: Store, files: list[RunFile]) -> None:
    store.upload_run(info(), files)
    store.publish("sys", "one")
    with pytest.raises(StoreError, match="runs/sys/one is published"):
        store.remove("sys/one")
    assert addresses(store) == ["runs/sys/one", "candidates/sys/one"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"files": [{"path": "a", "sha'])
def test_nothing_is_deleted_while_it_is_not_known_what_a_damaged_manifest_names(
    store: Store, bucket: Bucket, files: list[RunFile], lost: str, content: bytes
) -> None:
    store.upload_run(info(), files)
    bucket.write("candidates/sys/broken/manifest.json", content)
    found = store.collect(older_than=DAY, now=LATER, delete=True)
    assert not found.deleted
    assert "candidates/sys/broken/manifest.json" in found.kept
    assert bucket.read(lost) == b"lost"
    store.remove("candidates/sys/broken")
    assert keys_of(store.collect(older_than=DAY, now=LATER, delete=True).objects) == {lost}


def test_what_a_damaged_manifest_still_names_is_kept_and_the_rest_goes(
    store: Store, bucket: Bucket, files: list[RunFile], lost: str
) -> None:
    manifest = store.upload_run(info(), files).manifest
    stored = json.loads(bucket.read("candidates/sys/one/manifest.json") or b"")
    stored["round"] = "v9"
    bucket.write("candidates/sys/one/manifest.json", json.dumps(stored).encode())
    found = store.collect(older_than=DAY, now=LATER, delete=True)
    assert (found.deleted, len(found.problems)) == (True, 1)
    assert bucket.read(lost) is None
    assert all(bucket.look_at(key_of(manifest, path)) for path in CONTENTS)


def test_a_limit_that_is_too_short_is_refused(store: Store) -> None:
    with pytest.raises(SettingError, match="an upload that goes on"):
        store.collect(older_than=timedelta(hours=1))


@pytest.mark.parametrize("days", [float("nan"), float("inf"), 1e12, -1.0, 0.0, 0.99])
def test_an_age_that_cannot_be_is_refused(days: float) -> None:
    with pytest.raises(SettingError, match="an upload that goes on"):
        age(days)
    assert age(1) == LEAST_AGE


def test_unfinished_uploads_are_aborted_when_they_are_old(
    store: Store, bucket: Bucket, files: list[RunFile], s3_server: Endpoint
) -> None:
    store.upload_run(info(), files)
    client = make_client(s3_server.url, s3_server.credentials)
    key = f"{bucket.prefix}{LOST}"
    begun = client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]
    client.upload_part(Bucket=bucket.name, Key=key, UploadId=begun, PartNumber=1, Body=b"x" * 100)
    assert store.collect(older_than=DAY, delete=True).uploads == ()
    found = store.collect(older_than=DAY, now=LATER)
    assert [(one.key, one.upload_id) for one in found.uploads] == [(LOST, begun)]
    store.collect(older_than=DAY, now=LATER, delete=True)
    with suppress(client.exceptions.ClientError):  # rclone says so when there are none
        assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket.name)
