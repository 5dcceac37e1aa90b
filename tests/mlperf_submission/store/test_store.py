"""Runs into a real S3 server and out again."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from mlperf_submission.errors import SettingError, SourceError, StepTimeoutError, StoreError, UnreachableError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import Endpoint
from mlperf_submission.store.restore import compare_folder
from mlperf_submission.store.s3 import Credentials
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import (
    CONTENTS,
    MADE_BY,
    NOON,
    OBJECTS,
    addresses,
    content_of,
    info,
    key_of,
)


def test_a_link_opens_a_page_without_a_key_and_only_that(store: Store, files: list[RunFile]) -> None:
    store.upload_run(info(), files)
    link = store.link("candidates/sys/one", "page/index.html", hours=1)
    assert link
    answer = httpx.get(link)
    assert (answer.status_code, answer.content) == (200, CONTENTS["page/index.html"])
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    other = link.replace(key_of(store.manifest("one"), "page/index.html")[-64:], "0" * 64)
    assert httpx.get(other).status_code in (400, 403)
    assert httpx.get(link.partition("?")[0]).status_code in (400, 403)
    with pytest.raises(StoreError, match=r"the run one has no page/other.html"):
        store.link("sys/one", "page/other.html", hours=1)


def test_run_comes_out_as_it_went_in(store: Store, files: list[RunFile], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    uploaded = store.upload_run(info(), files, on_progress=lambda *step: seen.append(step))
    assert uploaded.address == f"{store.address}candidates/sys/one/manifest.json"
    assert uploaded.sent_objects == OBJECTS
    assert seen[-1][0] == seen[-1][1] == uploaded.sent_bytes
    restored = store.fetch_run("sys/one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS
    assert restored.manifest == uploaded.manifest
    assert {file.made_by for file in restored.manifest.files} == {MADE_BY}
    assert not compare_folder(restored.manifest, tmp_path / "to")
    again = store.fetch_run("sys/one", tmp_path / "to")
    assert again.fetched == ()
    assert set(again.kept) == set(CONTENTS)


def test_large_file_goes_in_parts(store: Store, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(random.Random(1).randbytes(1 << 20) * 70)
    manifest = store.upload_run(info(), [RunFile("large.bin", large)]).manifest
    assert manifest.size == 70 << 20
    store.fetch_run("one", tmp_path / "to")
    assert not compare_folder(manifest, tmp_path / "to")


def test_same_run_again_is_a_no_op_and_another_content_is_refused(store: Store, files: list[RunFile]) -> None:
    first = store.upload_run(info(), files)
    again = store.upload_run(info(created=NOON + timedelta(days=1)), files)
    assert again.sent_objects == 0
    assert again.manifest == first.manifest
    files[0].source.write_bytes(b"changed")
    with pytest.raises(StoreError, match="another content is in the store already"):
        store.upload_run(info(), files)
    assert store.manifest("sys/one") == first.manifest


def test_content_that_is_there_is_not_sent_again(store: Store, files: list[RunFile]) -> None:
    store.upload_run(info("one"), files)
    files[0].source.write_bytes(b"changed")
    second = store.upload_run(info("two"), files)
    assert (second.sent_objects, second.sent_bytes) == (1, len(b"changed"))


def test_damaged_object_is_mended_by_the_next_run_that_has_it(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    manifest = store.upload_run(info("one"), files).manifest
    bucket.write(key_of(manifest, "page/index.html"), b"<HTML>")
    assert store.upload_run(info("two"), files).sent_objects == 1
    store.fetch_run("one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_run_is_complete_exactly_if_its_manifest_exists(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    store.upload_run(info(), files)
    bucket.remove("candidates/sys/one/manifest.json")
    assert store.list_runs() == []
    with pytest.raises(StoreError, match="no complete run 'sys/one'"):
        store.fetch_run("sys/one", tmp_path / "to")
    assert store.upload_run(info(), files).sent_objects == 0
    assert store.manifest("sys/latest").run == "one"


def test_newest_run_is_the_latest_whatever_the_order_of_uploads(store: Store, files: list[RunFile]) -> None:
    store.upload_run(info("new", created=NOON + timedelta(days=1)), files)
    store.upload_run(info("old"), files)
    store.upload_run(info("other", system="sys2", created=NOON + timedelta(days=2)), files)
    assert store.manifest("sys/latest").run == "new"
    assert store.manifest("latest").run == "other"
    assert [stored.manifest.run for stored in store.list_runs()] == ["other", "new", "old"]
    assert store.manifest("old").system == "sys"


def test_rehearsal_never_passes_for_a_result(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    rehearsal = store.upload_run(info("r", rehearsal=True, created=NOON + timedelta(days=9)), files)
    assert "/rehearsals/sys/r/" in rehearsal.address
    assert store.manifest("latest").rehearsal
    store.upload_run(info("real"), files)
    assert addresses(store) == ["candidates/sys/real", "rehearsals/sys/r"]
    assert store.manifest("latest").run == store.manifest("sys/latest").run == "real"
    assert store.manifest("rehearsals/sys/latest").run == "r"
    assert store.manifest(rehearsal.address).run == "r"
    with pytest.raises(StoreError, match="sys/r is a rehearsal, which is never published"):
        store.publish("sys", "r")
    for area in ("candidates", "runs"):
        bucket.write(f"{area}/sys/r/manifest.json", bucket.read("rehearsals/sys/r/manifest.json") or b"")
        with pytest.raises(StoreError, match="is that of rehearsals/sys/r"):
            store.fetch_run(f"{area}/sys/r", tmp_path / "to")
    with pytest.raises(StoreError, match="is that of rehearsals/sys/r"):
        store.publish("sys", "r")


def test_name_that_several_systems_have_must_be_said_in_full(store: Store, files: list[RunFile]) -> None:
    for system in ("a", "b"):
        store.upload_run(info("same", system=system), files)
    with pytest.raises(StoreError, match="several systems") as caught:
        store.manifest("same")
    assert "candidates/a/same, candidates/b/same" in caught.value.remedy
    assert store.manifest("b/same").system == "b"


@pytest.mark.parametrize("name", ["none", "sys/none", "none/latest", "../x", "", "a/b/c", "sys/\0"])
def test_unknown_run_is_refused_with_the_known_ones(store: Store, files: list[RunFile], name: str) -> None:
    store.upload_run(info(), files)
    with pytest.raises(StoreError, match="no complete run") as caught:
        store.manifest(name)
    assert "candidates/sys/one" in caught.value.remedy


def test_everything_wrong_is_named_in_one_error_and_nothing_is_overwritten(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    manifest = store.upload_run(info(), files).manifest
    bucket.write(key_of(manifest, "tree/b.bin"), b"tampered")
    bucket.remove(key_of(manifest, "page/index.html"))
    to = tmp_path / "to"
    (to / "tree/results").mkdir(parents=True)
    (to / "tree/results/a.txt").write_text("my notes")
    (to / "extra").touch()
    with pytest.raises(StoreError, match="4 files are wrong") as caught:
        store.fetch_run("one", to)
    text = str(caught.value)
    assert "tree/b.bin: tampered with in the store" in text
    assert "page/index.html: missing in the store" in text
    assert "tree/results/a.txt: changed in" in text
    assert "extra: extra" in text
    assert content_of(to) == {
        "tree/results/a.txt": b"my notes",
        "tree/results/same.txt": b"alpha",
        "tree/c.txt": b"charlie",
        "tree/d.txt": b"delta",
        "empty": b"",
        "extra": b"",
    }


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "empty").unlink(), "missing: empty"),
        (lambda folder: (folder / "tree/b.bin").write_bytes(b"x"), "changed: tree/b.bin"),
        (lambda folder: (folder / "tree/new").touch(), "extra: tree/new"),
    ],
)
def test_damage_of_a_restored_run_is_named(
    store: Store, files: list[RunFile], tmp_path: Path, damage: Callable[[Path], object], named: str
) -> None:
    restored = store.upload_run(info(), files).manifest
    store.fetch_run("one", tmp_path / "to")
    damage(tmp_path / "to")
    assert str(compare_folder(restored, tmp_path / "to")) == named


def test_part_of_a_run_and_dry_run(store: Store, files: list[RunFile], tmp_path: Path) -> None:
    store.upload_run(info(), files)
    to = tmp_path / "to"
    planned = store.fetch_run("one", to, only=["tree/results/", "empty"], dry_run=True)
    assert not to.exists()
    assert planned.fetched == ("tree/results/a.txt", "tree/results/same.txt", "empty")
    restored = store.fetch_run("one", to, only=["tree/results/", "empty"])
    assert sorted(content_of(to)) == sorted(restored.fetched) == sorted(planned.fetched)
    assert store.fetch_run("one", to, only=["page"]).fetched == ("page/index.html",)
    with pytest.raises(SettingError, match="no file or folder 'tre'") as caught:
        store.fetch_run("one", to, only=["tre"])
    assert "empty, page, tree" in caught.value.remedy


def test_link_in_the_folder_leads_nothing_astray(store: Store, files: list[RunFile], tmp_path: Path) -> None:
    store.upload_run(info(), files)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to/tree").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="through a link"):
        store.fetch_run("one", tmp_path / "to")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\b", ""])
def test_manifest_with_a_path_that_leaves_is_refused(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path, path: str
) -> None:
    manifest = store.upload_run(info(), files).manifest.model_dump(mode="json")
    manifest["files"][0]["path"] = path
    bucket.write("candidates/sys/one/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(StoreError, match="manifest is damaged"):
        store.fetch_run("sys/one", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_paths_and_missing_files_are_checked_before_anything_is_sent(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    source = files[0].source
    for bad in (
        [RunFile("../x", source)],
        [RunFile("x", source), RunFile("x", source)],
        [RunFile("x", source), RunFile("x/y", source)],
    ):
        with pytest.raises(SourceError, match="cannot be described"):
            store.upload_run(info(), bad)
    with pytest.raises(SourceError, match="file of the run is missing"):
        store.upload_run(info(), [*files, RunFile("y", tmp_path / "none")])
    assert list(bucket.keys("")) == []


def test_deadline_ends_an_upload_without_a_manifest(store: Store, files: list[RunFile]) -> None:
    with pytest.raises(StepTimeoutError):
        store.upload_run(info(), files, deadline=time.monotonic() - 1)
    assert store.list_runs() == []


# Servers and keys that do not work


def test_server_that_is_down_is_named_and_retryable(files: list[RunFile]) -> None:
    store = Store("bucket", endpoint_url="http://127.0.0.1:9", credentials=Credentials("key", "secret-value"))
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9") as caught:
        store.upload_run(info(), files)
    assert "secret-value" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["access", "secret"])
def test_refused_key_is_named_with_a_remedy(s3_server: Endpoint, store: Store, wrong: str) -> None:
    credentials = {
        "access": Credentials("AKIA0000000000000000", s3_server.secret_key),
        "secret": Credentials(s3_server.access_key, "wrong-secret-value"),
    }[wrong]
    bucket = store.address.removeprefix("s3://").partition("/")[0]
    refused = Store(bucket, endpoint_url=s3_server.url, credentials=credentials)
    with pytest.raises(StoreError, match="refuses the access key") as caught:
        refused.list_runs()
    assert "AWS_ACCESS_KEY_ID" in caught.value.remedy
    assert credentials.secret_key not in str(caught.value)


def test_missing_key_is_named(s3_server: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match="no complete S3 access key"):
        Store("bucket", endpoint_url=s3_server.url).list_runs()


def test_missing_bucket_is_named_and_ensured(s3_server: Endpoint, files: list[RunFile]) -> None:
    store = Store("not-there-yet", endpoint_url=s3_server.url, credentials=s3_server.credentials)
    with pytest.raises(StoreError, match="no bucket 'not-there-yet'") as caught:
        store.upload_run(info(), files)
    assert "create it" in caught.value.remedy
    store.ensure_bucket()
    store.ensure_bucket()
    assert store.upload_run(info(), files).sent_objects > 0


def test_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(SettingError, match="'localhost:9000' is no S3 endpoint"):
        Store("bucket", endpoint_url="localhost:9000")
