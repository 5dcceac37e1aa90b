"""Small files travel together, and each is found, verified and mended alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlperf_submission.errors import StoreError
from mlperf_submission.store import bundles
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.manifest import Bundle, Manifest, ManifestFile, object_key
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import (
    BUNDLED,
    CONTENTS,
    NOON,
    OBJECTS,
    content_of,
    info,
    key_of,
)

DAY = timedelta(days=1)
LATER = datetime.now(UTC) + 3 * DAY


@pytest.fixture(autouse=True)
def one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server sees at once what was written: nobody has to wait for that."""
    monkeypatch.setattr("mlperf_submission.store.marks.SEEN_AFTER_SECONDS", 0.0)


def bundle_of(manifest: Manifest) -> str:
    """Return the key of a run's only bundle."""
    [bundle] = manifest.bundles
    return object_key(bundle.sha256)


def test_small_files_share_an_object_and_what_a_browser_opens_does_not(
    store: Store, bucket: Bucket, files: list[RunFile]
) -> None:
    manifest = store.upload_run(info(), files).manifest
    assert {file.path for file in manifest.files if file.bundle} == set(BUNDLED)
    stored = bucket.read(bundle_of(manifest)) or b""
    for file in manifest.files:
        if file.bundle:
            assert stored[file.offset : file.offset + file.size] == CONTENTS[file.path]
    assert len(list(bucket.keys("objects/"))) == OBJECTS
    with pytest.raises(StoreError, match=r"the run one has no tree/c.txt"):
        store.link("sys/one", "tree/c.txt", hours=1)


def test_one_file_of_a_bundle_is_read_without_the_others(
    store: Store, files: list[RunFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload_run(info(), files)
    read: list[bytes | None] = []
    real = Bucket.part

    def part(self: Bucket, key: str, offset: int, size: int) -> bytes | None:
        read.append(real(self, key, offset, size))
        return read[-1]

    monkeypatch.setattr(Bucket, "part", part)
    store.fetch_run("one", tmp_path / "to", only=["tree/d.txt"])
    assert content_of(tmp_path / "to") == {"tree/d.txt": CONTENTS["tree/d.txt"]}
    assert read == [CONTENTS["tree/d.txt"]]


def test_the_next_run_takes_up_the_bundles_of_the_one_before_and_keeps_them(
    store: Store, files: list[RunFile], tmp_path: Path
) -> None:
    first = store.upload_run(info("one"), files)
    for path in ("tree/c.txt", "tree/e.txt"):
        (tmp_path / "made" / path).write_text(f"new {path}")
    changed = [*files, RunFile("tree/e.txt", tmp_path / "made/tree/e.txt")]
    second = store.upload_run(info("two", created=NOON + DAY), changed)
    new = b"new tree/c.txt", b"new tree/e.txt"
    assert (second.sent_objects, second.sent_bytes) == (1, sum(map(len, new)))
    assert second.manifest.bundles[0] == first.manifest.bundles[0]
    store.remove("one")
    assert store.collect(older_than=DAY, now=LATER, delete=True).objects == ()
    store.fetch_run("two", tmp_path / "to")
    expected = {**CONTENTS, "tree/c.txt": new[0], "tree/e.txt": new[1]}
    assert content_of(tmp_path / "to") == expected
    store.remove("two")
    kept = store.collect(older_than=DAY, now=LATER, delete=True)
    assert len(kept.objects) == OBJECTS + 1


def test_a_bundle_stays_as_long_as_a_file_in_it_is_retained(store: Store, files: list[RunFile]) -> None:
    at = next(number for number, file in enumerate(files) if file.path == "tree/c.txt")
    files[at] = replace(files[at], retain_until=LATER + DAY)
    manifest = store.upload_run(info(), files).manifest
    store.remove("one")
    found = store.collect(older_than=DAY, now=LATER, delete=True)
    assert [item.key for item in found.retained] == [bundle_of(manifest)]
    last = store.collect(older_than=DAY, now=LATER + 2 * DAY, delete=True)
    assert [item.key for item in last.objects] == [bundle_of(manifest)]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes | None], set[str]]] = {
    "lost": (lambda _: None, set(BUNDLED)),
    "cut": (lambda bundle: bundle[:-1], {"last"}),
    "cut before the last": (lambda bundle: bundle[: -len(b"alpha")], {"last"}),
    "empty": (lambda _: b"", set(BUNDLED)),
    "one byte": (lambda bundle: bytes([bundle[0] ^ 1]) + bundle[1:], {"tree/c.txt"}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_a_damaged_bundle_lacks_is_named_and_mended_by_an_upload_for_good(
    name: str, store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    manifest = store.upload_run(info(), files).manifest
    change, lacking = DAMAGE[name]
    if lacking == {"last"}:
        end = max(file.offset for file in manifest.files if file.bundle)
        lacking = {file.path for file in manifest.files if file.bundle and file.offset == end}
    damaged = change(bucket.read(bundle_of(manifest)) or b"")
    if damaged is None:
        bucket.remove(bundle_of(manifest))
    else:
        bucket.write(bundle_of(manifest), damaged)
    with pytest.raises(StoreError, match=f"{len(lacking)} files are wrong") as caught:
        store.fetch_run("one", tmp_path / "to")
    assert all(path in str(caught.value) for path in lacking)
    assert set(CONTENTS) - set(content_of(tmp_path / "to")) == lacking
    with pytest.raises(StoreError, match="objects of the run are not in the store"):
        store.publish("sys", "one")

    assert set(store.upload_run(info(), files).mended) == set(BUNDLED)
    assert store.upload_run(info(), files).mended == ()
    assert store.collect(older_than=DAY, now=LATER, delete=True).objects == ()
    store.publish("sys", "one")
    store.fetch_run("one", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_a_new_run_does_not_count_on_a_damaged_bundle(
    store: Store, bucket: Bucket, files: list[RunFile], tmp_path: Path
) -> None:
    manifest = store.upload_run(info("one"), files).manifest
    bundle = bucket.read(bundle_of(manifest)) or b""
    bucket.write(bundle_of(manifest), bundle[::-1])
    (tmp_path / "made/tree/d.txt").write_text("new")
    store.upload_run(info("two"), files)
    store.fetch_run("two", tmp_path / "to")
    assert content_of(tmp_path / "to") == {**CONTENTS, "tree/d.txt": b"new"}
    assert key_of(store.manifest("two"), "tree/c.txt") != bundle_of(manifest)


NAMES = st.text("abc/", min_size=1, max_size=6).filter(lambda name: "//" not in f"/{name}/")


@given(
    st.dictionaries(NAMES, st.integers(0, 70), max_size=30),
    st.sets(NAMES),
    st.randoms(use_true_random=False),
)
def test_bundles_hold_each_small_content_once_whatever_the_order(
    sizes: dict[str, int], pages: set[str], random: object
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "SMALL_BYTES", 50)
        patch.setattr(bundles, "BUNDLE_BYTES", 100)
        files = [
            ManifestFile(
                path=f"{name}.html" if name in pages else f"{name}.txt", size=size, sha256=f"{size:064}"
            )
            for name, size in sizes.items()
        ]
        found = bundles.new_bundles(files)
        random.shuffle(files)  # type: ignore[attr-defined]
        assert bundles.new_bundles(files) == found
    held = [file.sha256 for bundle in found for file in bundle]
    alone = {file.sha256 for file in files if file.path.endswith(".html") or not 0 < file.size <= 50}
    assert len(held) == len(set(held))
    assert not set(held) & alone
    assert all(len(bundle) > 1 and sum(file.size for file in bundle) <= 100 for bundle in found)
    assert len({file.sha256 for file in files} - alone - set(held)) <= 1, "only the last may be left over"


def test_a_file_that_is_not_in_its_bundle_is_refused() -> None:
    file = ManifestFile(path="a", size=5, sha256="0" * 64, bundle="1" * 64, offset=6)
    for named in ((), (Bundle(sha256="1" * 64, size=10),), (Bundle(sha256="2" * 64, size=20),)):
        with pytest.raises(ValidationError, match="is in no bundle of the run"):
            Manifest(**info().model_dump(), files=(file,), bundles=named)
    Manifest(**info().model_dump(), files=(file,), bundles=(Bundle(sha256="1" * 64, size=11),))
    with pytest.raises(ValidationError):
        Bundle(sha256="1" * 64, size=1 << 40)
