"""What an S3 server sends is limited in size and time, headers included."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlperf_submission.deadline import Limits
from mlperf_submission.errors import PipelineError, StepTimeoutError, StoreError, UnreachableError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.s3 import Credentials
from mlperf_submission.store.store import RunFile, Store
from tests.mlperf_submission.store.stored_runs import info

Answer = Callable[[socket.socket, str, threading.Event], None]
"""Writes raw bytes to the connection, given the request's first line; the event ends it with the test."""
HEAD = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
WHOLE = bytes(range(256)) * 12_000


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Run a server that answers each connection once."""
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request and (block := connection.recv(1 << 16)):
                request += block
            try:
                answer(connection, request.decode(errors="replace"), over)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


def bucket_at(url: str) -> Bucket:
    return Bucket("bucket", endpoint_url=url, credentials=Credentials("key", "secret"))


def drip_headers(connection: socket.socket, _request: str, over: threading.Event) -> None:
    """Headers that never end, a byte at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not over.wait(0.01):
        connection.sendall(b"x")


def endless(connection: socket.socket, _request: str, over: threading.Event) -> None:
    """A body without a length and without an end."""
    connection.sendall(HEAD + b"\r\n")
    while not over.is_set():
        connection.sendall(bytes(1 << 16))


def whole_again(connection: socket.socket, request: str, _over: threading.Event) -> None:
    """The whole object, whatever part of it is asked for; every other answer breaks off."""
    connection.sendall(HEAD + f"Connection: close\r\nContent-Length: {len(WHOLE)}\r\n\r\n".encode())
    if not request.startswith("HEAD"):
        connection.sendall(WHOLE[: len(WHOLE) * 2 // 3])


CALLS: dict[str, Callable[[Bucket, Path], object]] = {
    "head": lambda bucket, _: bucket.look_at("key"),
    "list": lambda bucket, _: list(bucket.objects("")),
    "read": lambda bucket, _: bucket.read("key"),
    "part": lambda bucket, _: bucket.part("key", 2, 5),
    "write": lambda bucket, _: bucket.write("key", b"x"),
    "remove": lambda bucket, _: bucket.remove("key"),
    "download": lambda bucket, to: bucket.download("key", to, 5, Limits(), lambda _: None),
    "hash": lambda bucket, _: bucket.hash_of("key", 5, Limits()),
}


@pytest.mark.parametrize("name", CALLS)
def test_headers_that_never_end_are_given_up(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlperf_submission.store.connections.ANSWER_SECONDS", 0.2)
    with serving(drip_headers) as url, pytest.raises(UnreachableError, match="does not answer"):
        CALLS[name](bucket_at(url), tmp_path / "file")


@pytest.mark.parametrize("name", ["list", "read", "part", "write", "remove", "download", "hash"])
def test_a_body_that_never_ends_is_given_up(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlperf_submission.store.connections._LARGEST_ANSWER", 1 << 20)
    monkeypatch.setattr("mlperf_submission.store.bucket._SMALL_BYTES", 1 << 20)
    with serving(endless) as url:
        try:
            found = CALLS[name](bucket_at(url), tmp_path / "file")
        except PipelineError as error:
            assert isinstance(error, StoreError | UnreachableError)
            assert error.remedy
        else:
            assert found == (b"" if name == "part" else "more than 5 bytes")
    assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size <= 5


def test_a_server_that_ignores_ranges_and_breaks_off_ends_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlperf_submission.store.transfers.MULTIPART_BYTES", 1 << 20)
    monkeypatch.setattr("mlperf_submission.store.transfers.PART_BYTES", 1 << 20)
    for path in (tmp_path / "file", None):
        with serving(whole_again) as url:
            try:
                found = bucket_at(url).download("key", path, len(WHOLE), Limits(), lambda _: None)
                assert found is not None
            except PipelineError as error:
                assert error.remedy
    assert (tmp_path / "file").stat().st_size <= len(WHOLE)


@pytest.mark.parametrize("answer", [drip_headers, endless], ids=["headers", "body"])
def test_the_deadline_of_an_upload_and_of_a_fetch_holds_whatever_the_server_does(
    answer: Answer, files: list[RunFile], tmp_path: Path
) -> None:
    with serving(answer) as url:
        store = Store("bucket", endpoint_url=url, credentials=Credentials("key", "secret"))
        calls: list[Callable[[], object]] = [
            lambda: store.upload_run(info(), files, deadline=time.monotonic() + 0.5),
            lambda: store.fetch_run("sys/one", tmp_path / "to", deadline=time.monotonic() + 0.5),
        ]
        for call in calls:
            with pytest.raises((StepTimeoutError, StoreError, UnreachableError)):
                call()
