"""An upload and a collection do not run beside each other: no upload loses what it counts on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlperf_submission.errors import UnreachableError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.marks import PREFIX, Mark
from mlperf_submission.store.store import Garbage, RunFile, Store
from tests.mlperf_submission.store.stored_runs import CONTENTS, content_of, info

DAY = timedelta(days=1)
LATER = datetime.now(UTC) + 3 * DAY


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server sees at once what was written, and nobody here gives way to an upload that waits."""
    monkeypatch.setattr("mlperf_submission.store.marks.SEEN_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("mlperf_submission.store.marks.WAIT_SECONDS", 0.0)


def during(monkeypatch: pytest.MonkeyPatch, method: str, act: Callable[[], object]) -> None:
    """Do something once, just before a method of a bucket is called for an object's content."""
    real = getattr(Bucket, method)
    acted: list[str] = []

    def held(self: Bucket, key: str) -> object:
        if key.startswith("objects/") and not acted:
            acted.append(key)
            act()
        return real(self, key)

    monkeypatch.setattr(Bucket, method, held)


def test_an_upload_while_content_is_deleted_is_told_to_come_later(
    store: Store, files: list[RunFile], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.upload_run(info("old"), files)
    store.remove("sys/old")
    told: list[UnreachableError] = []

    def upload() -> None:
        with pytest.raises(UnreachableError, match="is being collected") as caught:
            store.upload_run(info("new"), files)
        told.append(caught.value)

    during(monkeypatch, "remove", upload)
    assert store.collect(older_than=DAY, now=LATER, delete=True).deleted
    assert told
    store.upload_run(info("new"), files)
    store.fetch_run("sys/new", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_a_collection_beside_an_upload_deletes_nothing_and_says_why(
    store: Store, files: list[RunFile], tmp_path: Path
) -> None:
    store.upload_run(info("old"), files)
    store.remove("sys/old")
    found: list[Garbage] = []

    def collect(done: int, total: int) -> None:
        if done == total and not found:
            found.append(store.collect(older_than=DAY, now=LATER, delete=True))

    store.upload_run(info("new"), files, on_progress=collect)
    assert (found[0].deleted, found[0].kept) == (False, "upload of candidates/sys/new is under way")
    store.fetch_run("sys/new", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_a_mark_of_a_killed_process_ends_by_itself_and_is_cleaned_away(
    store: Store, bucket: Bucket, files: list[RunFile]
) -> None:
    store.upload_run(info(), files)
    dead = Mark(kind="collection", what="killed", seconds=0)
    bucket.write(f"{PREFIX}dead", dead.model_dump_json().encode())
    bucket.write(f"{PREFIX}alive", dead.model_copy(update={"seconds": 600}).model_dump_json().encode())
    with pytest.raises(UnreachableError, match="killed"):
        store.upload_run(info("two"), files)
    bucket.remove(f"{PREFIX}alive")
    store.upload_run(info("two"), files)
    assert store.collect(older_than=DAY, delete=True).deleted
    assert list(bucket.keys(PREFIX)) == []


def test_a_collection_that_fails_while_it_deletes_keeps_uploads_away_for_a_while(
    store: Store, bucket: Bucket, files: list[RunFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asked the server to delete may still be carried out."""
    store.upload_run(info("old"), files)
    store.remove("sys/old")

    def fail() -> None:
        raise UnreachableError("the connection is gone")

    during(monkeypatch, "remove", fail)
    with pytest.raises(UnreachableError, match="connection is gone"):
        store.collect(older_than=DAY, now=LATER, delete=True)
    with pytest.raises(UnreachableError, match="is being collected"):
        store.upload_run(info("new"), files)
