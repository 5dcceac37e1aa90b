"""An S3 server that fails in every way: nothing is lost, and the same call succeeds when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pytest
from botocore.compat import get_current_datetime

from mlperf_submission.errors import PipelineError, StoreError, UnreachableError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import Endpoint
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.fault_proxy import (
    Fault,
    FaultProxy,
    cut,
    error,
    fault_proxy,
    flip_a_bit,
    lie_about_length,
    reset,
    wrong_etag,
)
from tests.mlperf_submission.store.stored_runs import CONTENTS, content_of, info

PASSING: dict[str, Callable[[], Fault]] = {
    "500": lambda: replace(error(500, "InternalError"), times=3),
    "503 slow down": lambda: replace(error(503, "SlowDown", **{"Retry-After": "1"}), times=3),
    "reset before the request arrives": lambda: replace(reset(reaches=False), times=3),
    "reset after the request was done": lambda: replace(reset(reaches=True), times=3),
    "body that breaks off": lambda: replace(cut(), times=3),
    "body that is reset": lambda: replace(cut(0.9, "reset"), times=3),
    "body shorter than it says": lambda: replace(lie_about_length(), times=1),
    "bit that flips on the way": lambda: replace(flip_a_bit(), times=1),
    "wrong entity tags": wrong_etag,
}
LASTING: dict[str, tuple[Callable[[], Fault], type[PipelineError], str, str]] = {
    "500": (lambda: error(500, "InternalError"), UnreachableError, "server answers", "again"),
    "503": (lambda: error(503, "SlowDown"), UnreachableError, "server answers", "again"),
    "resets": (lambda: reset(reaches=False), UnreachableError, "does not answer", "start again"),
    "cut": (lambda: replace(cut(), part="objects"), UnreachableError, "broke off", "start again"),
    "lie": (lie_about_length, StoreError, "", ""),
    "flip": (flip_a_bit, StoreError, "", ""),
    "skew": (lambda: error(403, "RequestTimeTooSkewed"), StoreError, "clock differs", "timedatectl"),
}


@pytest.fixture
def knows_conditions(request: pytest.FixtureRequest) -> bool:
    """Whether the server takes `If-None-Match` on a write: rclone ignores it."""
    return request.node.callspec.params["s3_server"] == "ceph"  # type: ignore[no-any-return]


@pytest.fixture
def proxy(s3_server: Endpoint) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.url) as proxy:
        yield proxy


@pytest.fixture
def far_store(store: Store, s3_server: Endpoint, proxy: FaultProxy) -> Store:
    """The same store, through the proxy."""
    name, _, prefix = store.address.removeprefix("s3://").partition("/")
    return Store(name, prefix, endpoint_url=proxy.url, credentials=s3_server.credentials)


def again(call: Callable[[], object], most: int = 4) -> int:
    """Make a call as Prefect does: again while the error says that this can help. Return how often."""
    for count in range(1, most + 1):
        try:
            call()
            return count
        except UnreachableError as failure:
            assert failure.remedy
            time.sleep(0.2 * count)
    raise AssertionError(f"no success in {most} calls")


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_costs_nothing_but_time(
    name: str, store: Store, far_store: Store, proxy: FaultProxy, files: list[RunFile], tmp_path: Path
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: far_store.upload_run(info(), files),
        lambda: far_store.publish("sys", "one"),
        lambda: far_store.fetch_run("sys/one", tmp_path / "to"),
    ]
    hits = 0
    for step in steps:
        fault = PASSING[name]()
        proxy.faults = [fault]
        again(step)
        hits += fault.hits
    assert hits > 0, "the fault was never met"
    assert content_of(tmp_path / "to") == CONTENTS
    proxy.faults = []
    manifest = store.fetch_run("runs/sys/one", tmp_path / "direct").manifest
    assert content_of(tmp_path / "direct") == CONTENTS
    assert store.manifest("candidates/sys/one") == manifest
    assert str(store.find("sys/latest").address) == "runs/sys/one"


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_is_named_and_the_same_call_succeeds_afterwards(
    name: str, store: Store, far_store: Store, proxy: FaultProxy, files: list[RunFile], tmp_path: Path
) -> None:
    make, kind, words, remedy = LASTING[name]
    store.upload_run(info("earlier"), files)
    files[0].source.write_bytes(b"changed")
    proxy.faults = [make(), wrong_etag()]  # so that what was sent has to be read back
    with pytest.raises(kind) as caught:
        far_store.upload_run(info("one"), files)
    assert words in str(caught.value)
    assert remedy in caught.value.remedy
    assert [stored.manifest.run for stored in store.list_runs()] == ["earlier"]
    with pytest.raises(kind):
        far_store.fetch_run("sys/earlier", tmp_path / "to")
    proxy.faults = []
    store.fetch_run("sys/earlier", tmp_path / "earlier")
    assert content_of(tmp_path / "earlier") == CONTENTS
    far_store.upload_run(info("one"), files)
    far_store.fetch_run("sys/earlier", tmp_path / "to")
    assert content_of(tmp_path / "to") == CONTENTS


def test_server_that_is_away_for_a_while(
    store: Store, far_store: Store, proxy: FaultProxy, files: list[RunFile], tmp_path: Path
) -> None:
    proxy.away = True
    back = threading.Timer(4, lambda: setattr(proxy, "away", False))
    back.start()
    assert again(lambda: far_store.upload_run(info(), files), most=20) >= 1
    proxy.away = True
    back = threading.Timer(4, lambda: setattr(proxy, "away", False))
    back.start()
    again(lambda: far_store.fetch_run("sys/one", tmp_path / "to"), most=20)
    assert content_of(tmp_path / "to") == CONTENTS


def test_large_file_in_parts_survives_what_happens_to_its_parts(
    store: Store, far_store: Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * (66 << 12))
    proxy.faults = [
        replace(reset(reaches=True, method="PUT", part="partNumber=1"), times=1),
        replace(error(503, "SlowDown"), method="PUT", part="partNumber=2", times=2),
        replace(wrong_etag(), method="PUT", part="partNumber=3", times=1),
        replace(error(500, "InternalError"), method="POST", part="uploadId", times=1),
        replace(cut(0.4), part="objects", times=2),
        replace(wrong_etag(), method="HEAD", part="objects"),  # so that it has to be read back
    ]
    again(lambda: far_store.upload_run(info(), [RunFile("large.bin", large)]))
    assert all(fault.hits == fault.times for fault in proxy.faults[:-1])
    store.fetch_run("sys/one", tmp_path / "to")
    assert (tmp_path / "to/large.bin").read_bytes() == large.read_bytes()


def test_real_clock_skew_is_named(
    s3_server: Endpoint, store: Store, files: list[RunFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that are really signed an hour ahead."""
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *_, **__: get_current_datetime() + timedelta(hours=1)
    )
    with pytest.raises(StoreError) as caught:
        store.upload_run(info(), files)
    assert "clock differs too much" in str(caught.value)
    monkeypatch.undo()
    store.upload_run(info(), files)


def test_second_write_leaves_the_first_alone_where_the_server_knows_conditions(
    bucket: Bucket, knows_conditions: bool
) -> None:
    bucket.write("new", b"first", only_new=True)
    bucket.write("new", b"second", only_new=True)
    assert bucket.read("new") == (b"first" if knows_conditions else b"second")


def test_of_two_uploads_that_cross_one_wins_and_the_other_is_told(
    store: Store, files: list[RunFile], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")

    def upload_the_other(done: int, total: int) -> None:
        if done == total and not store.list_runs():
            store.upload_run(info(), [RunFile("other", other)])

    with pytest.raises(StoreError, match="another content is in the store already"):
        store.upload_run(info(), files, on_progress=upload_the_other)
    store.fetch_run("sys/one", tmp_path / "to")
