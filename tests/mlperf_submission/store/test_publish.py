"""Candidates that are published, and what cannot be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mlperf_submission.errors import StoreError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import CONTENTS, NOON, addresses, content_of, info, key_of


def test_a_submission_is_published_by_its_manifest_alone(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    manifest = store.upload_run(info(), files).manifest
    before = set(bucket.keys(""))
    assert store.publish("sys", "one") == f"{store.address}runs/sys/one"
    assert set(bucket.keys("")) - before == {"runs/sys/one/manifest.json", "runs/sys/latest"}
    assert bucket.read("runs/sys/one/manifest.json") == bucket.read("candidates/sys/one/manifest.json")
    assert addresses(store) == ["runs/sys/one", "candidates/sys/one"]
    restored = store.fetch_run("sys/one", tmp_path / "to")
    assert (str(restored.address), restored.manifest) == ("runs/sys/one", manifest)
    assert content_of(tmp_path / "to") == CONTENTS


def test_a_candidate_is_found_by_its_area_and_a_published_run_goes_before_it(
    store: Store, files: list[RunFile]
) -> None:
    store.upload_run(info("old"), files)
    store.upload_run(info("new", created=NOON + timedelta(days=1)), files)
    assert str(store.find("sys/latest").address) == "candidates/sys/new"
    store.publish("sys", "old")
    assert str(store.find("sys/latest").address) == "runs/sys/old"
    assert str(store.find("latest").address) == "runs/sys/old"
    assert str(store.find("candidates/sys/latest").address) == "candidates/sys/new"
    assert str(store.find("new").address) == "candidates/sys/new"


def test_publishing_again_changes_nothing_and_mends_a_lost_pointer(
    store: Store, bucket: Bucket, files: list[RunFile]
) -> None:
    store.upload_run(info(), files)
    address = store.publish("sys", "one")
    bucket.remove("runs/sys/latest")
    assert store.publish("sys", "one") == address
    assert str(store.find("runs/sys/latest").address) == "runs/sys/one"


def test_pointer_does_not_go_back_to_an_older_run(store: Store, files: list[RunFile]) -> None:
    store.upload_run(info("new", created=NOON + timedelta(days=1)), files)
    store.upload_run(info("old"), files)
    for run in ("new", "old"):
        store.publish("sys", run)
    assert str(store.find("runs/sys/latest").address) == "runs/sys/new"


def test_run_with_a_missing_or_short_object_is_not_published(
    store: Store, bucket: Bucket, files: list[RunFile]
) -> None:
    manifest = store.upload_run(info(), files).manifest
    bucket.remove(key_of(manifest, "page/index.html"))
    bucket.write(key_of(manifest, "tree/b.bin"), b"short")
    with pytest.raises(StoreError, match="2 objects of the run are not in the store") as caught:
        store.publish("sys", "one")
    assert "page/index.html: missing" in str(caught.value)
    assert "tree/b.bin: 5 bytes instead of 1280000" in str(caught.value)
    assert addresses(store) == ["candidates/sys/one"]


def test_published_run_stays_whatever_is_put_in_its_candidates_place(
    store: Store, bucket: Bucket, files: list[RunFile]
) -> None:
    first = store.upload_run(info(), files).manifest
    store.publish("sys", "one")
    bucket.remove("candidates/sys/one/manifest.json")
    files[0].source.write_bytes(b"changed")
    store.upload_run(info(), files)
    with pytest.raises(StoreError, match="another content is in the store already"):
        store.publish("sys", "one")
    assert store.manifest("runs/sys/one") == first


@pytest.mark.parametrize("name", [("sys", "none"), ("..", "one"), ("sys", "../one"), ("", "")])
def test_what_is_no_candidate_is_not_published(
    store: Store, files: list[RunFile], name: tuple[str, str]
) -> None:
    store.upload_run(info(), files)
    with pytest.raises(StoreError, match="no complete run") as caught:
        store.publish(*name)
    assert "candidates/sys/one" in caught.value.remedy


def test_a_run_that_lacks_results_is_kept_and_not_published(store: Store, files: list[RunFile]) -> None:
    store.upload_run(info(lacks=("resnet50/Server",)), files)
    with pytest.raises(StoreError, match="sys/one lacks resnet50/Server, and an incomplete run") as caught:
        store.publish("sys", "one")
    assert "--without" in caught.value.remedy
    assert addresses(store) == ["candidates/sys/one"]
