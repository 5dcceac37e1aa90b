"""A fetch treats the folder of a person as theirs: nothing in it is followed, replaced or removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlperf_submission.errors import PipelineError, SourceError, StoreError
from mlperf_submission.files import refusal_named
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import CONTENTS, content_of, info


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("name", [".fetching", ".fetching-abcdefgh"])
def test_what_has_the_name_of_our_own_folder_is_neither_followed_nor_removed(
    store: Store, files: list[RunFile], tmp_path: Path, name: str
) -> None:
    store.upload_run(info(), files)
    to, outside = tmp_path / "to", tmp_path / "outside"
    for folder in (to, outside):
        folder.mkdir()
    (outside / ("a" * 64)).write_text("mine")
    (to / name).symlink_to(outside)
    with pytest.raises(StoreError, match=f"{name}: extra"):
        store.fetch_run("one", to)
    assert (outside / ("a" * 64)).read_text() == "mine"
    assert (to / name).is_symlink()
    (to / name).unlink()
    (to / name).mkdir()
    (to / name / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"notes.txt: extra"):
        store.fetch_run("one", to)
    assert (to / name / "notes.txt").read_text() == "mine"
    assert {path: content for path, content in content_of(to).items() if path in CONTENTS} == CONTENTS


def test_links_that_lead_in_a_circle_are_named(store: Store, files: list[RunFile], tmp_path: Path) -> None:
    store.upload_run(info(), files)
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "tree").symlink_to("tree")
    with pytest.raises((StoreError, SourceError, OSError)) as caught:
        store.fetch_run("one", tmp_path / "to")
    assert isinstance(caught.value, PipelineError) or refusal_named(caught.value)


@pytest.mark.parametrize("name", [".fetching", ".fetching-abcdefgh"])
def test_what_a_killed_fetch_left_is_removed(
    store: Store, files: list[RunFile], tmp_path: Path, name: str
) -> None:
    store.upload_run(info(), files)
    (tmp_path / "to" / name).mkdir(parents=True)
    (tmp_path / "to" / name / ("b" * 64)).write_bytes(b"the beginning of")
    store.fetch_run("one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS
    assert not (tmp_path / "to" / name).exists()


@pytest.mark.parametrize("path", [".fetching/x", ".fetching-abcdefgh/x", ".fetching"])
def test_a_file_of_a_run_may_have_any_name(
    store: Store, files: list[RunFile], tmp_path: Path, path: str
) -> None:
    store.upload_run(info(), [RunFile(path, files[0].source), *files])
    for _ in range(2):
        store.fetch_run("one", tmp_path / "to")
        assert content_of(tmp_path / "to") == {path: CONTENTS["tree/results/a.txt"], **CONTENTS}


def test_a_file_that_appears_while_it_is_fetched_is_not_overwritten(
    store: Store, files: list[RunFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload_run(info(), files)
    real = Bucket.download

    def download(*arguments: object) -> object:
        (tmp_path / "to/page").mkdir(parents=True, exist_ok=True)
        (tmp_path / "to/page/index.html").write_text("mine")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Bucket, "download", download)
    with pytest.raises(StoreError, match=r"page/index.html: appeared in .* \(not overwritten\)"):
        store.fetch_run("one", tmp_path / "to")
    assert content_of(tmp_path / "to") == {**CONTENTS, "page/index.html": b"mine"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002], indirect=True, ids=oct)
def test_who_may_read_what_was_fetched_is_for_the_umask_to_say(
    umask: int, store: Store, files: list[RunFile], tmp_path: Path
) -> None:
    store.upload_run(info(), files)
    store.fetch_run("one", tmp_path / "to")
    modes = {stat.S_IMODE((tmp_path / "to" / path).stat().st_mode) for path in CONTENTS}
    assert modes == {0o666 & ~umask}
