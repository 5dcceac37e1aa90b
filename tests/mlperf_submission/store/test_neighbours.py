"""What is no run, though it lies where one could, costs itself and is named; nobody else notices it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlperf_submission.errors import StoreError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import CONTENTS, NOON, addresses, content_of, info

STRAY = {
    "candidates/my system/x/manifest.json": b"{}",
    "candidates/../../manifest.json": b"{}",
    "candidates/sys/\x1b[2J/manifest.json": b"{}",
    "candidates/other/broken/manifest.json": b"not JSON",
    "candidates/other/moved/manifest.json": b'{"version": 2}',
    "candidates/other/latest": b"\xff",
    "rehearsals/sys/one/deep/manifest.json": b"{}",
    "removed/candidates/other/gone/manifest.json": b"\x00",
    "busy/of somebody else": b"{}",
    "objects/sha256/of somebody else": b"x",
}


@pytest.fixture(autouse=True)
def one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server sees at once what was written: nobody has to wait for that."""
    monkeypatch.setattr("mlperf_submission.store.marks.SEEN_AFTER_SECONDS", 0.0)


def test_everything_goes_on_beside_what_is_no_run(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    store.upload_run(info(), files)
    for key, content in STRAY.items():
        if ".." not in key and "\x1b" not in key:  # servers over folders refuse some names themselves
            bucket.write(key, content)
    store.upload_run(info("two", created=NOON + timedelta(days=1)), files)
    assert addresses(store) == ["candidates/sys/two", "candidates/sys/one"]
    named = " ".join(map(str, store.listing().problems))
    assert "my system" in named and "other/broken" in named and "other/moved" in named
    for name in ("sys/one", "one", "latest", "sys/latest"):
        assert store.find(name)
    with pytest.raises(StoreError, match="no complete run") as caught:
        store.find("sys/none")
    assert "candidates/sys/one" in caught.value.remedy
    assert "other/broken" in caught.value.remedy
    store.publish("sys", "two")
    store.remove("candidates/sys/two")
    assert str(store.find("candidates/sys/latest").address) == "candidates/sys/one"
    later = datetime.now(UTC) + timedelta(days=9)
    assert store.collect(older_than=timedelta(days=1), now=later).problems
    found = store.collect(older_than=timedelta(days=1), now=later, delete=True)
    assert "other/broken" in found.kept
    store.fetch_run("one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_a_damaged_run_can_be_removed_by_its_full_name(
    store: Store, bucket: Bucket, files: list[RunFile]
) -> None:
    store.upload_run(info(), files)
    bucket.write("candidates/sys/broken/manifest.json", b"not JSON")
    assert str(store.remove("candidates/sys/broken")) == "candidates/sys/broken"
    assert store.listing().problems == ()
    bucket.write("candidates/sys/one/manifest.json", b"not JSON")
    store.remove("candidates/sys/one")
    assert addresses(store) == []
    with pytest.raises(StoreError, match="no complete run"):
        store.find("candidates/sys/latest")
