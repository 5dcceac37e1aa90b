"""Downloads against real servers: well-behaved ones, and ones that break off, lie or stall."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlperf_submission.deadline import Limits
from mlperf_submission.errors import (
    DiskFullError,
    PipelineError,
    SettingError,
    SourceError,
    StepTimeoutError,
    UnreachableError,
)
from mlperf_submission.fetch.http import open_url
from mlperf_submission.fetch.sources import Fetched, fetch_all
from tests.web import web_server

CONTENT = random.Random(7).randbytes(700_001)
Server = Any  # the ScriptedServer of conftest.py, which cannot be imported


@dataclass(frozen=True)
class Listed:
    """A source as the benchmarks list it."""

    urls: tuple[str, ...]
    name: str = "file.bin"
    digest: str = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    size: int | None = len(CONTENT)
    unpack: str | None = None


def fetch_source(source: Listed, folder: Path, **more: Any) -> Fetched:
    """Fetch one source alone."""
    [fetched] = fetch_all([source], folder, **more)
    return fetched


def answer(
    body: bytes = CONTENT,
    *,
    status: str = "200 OK",
    headers: str = "",
    length: int | None = None,
    then: Callable[[], object] = lambda: None,
) -> Callable[[socket.socket, dict[str, str]], None]:
    """Send this body under this Content-Length (its own by default; negative for none), then do `then`."""

    def write(connection: socket.socket, _: dict[str, str]) -> None:
        size = len(body) if length is None else length
        lines = f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}"
        lines += f"Content-Length: {size}\r\n" if size >= 0 else ""
        connection.sendall(lines.encode() + b"\r\n" + body)
        then()

    return write


def ranged(tag: str = '"one"', body: bytes = CONTENT) -> Callable[[socket.socket, dict[str, str]], None]:
    """A server that knows ranges and entity tags."""

    def write(connection: socket.socket, request: dict[str, str]) -> None:
        start = int(request.get("range", "bytes=0-")[6:-1])
        if start and request.get("if-range", tag) == tag:
            span = f"ETag: {tag}\r\nContent-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n"
            answer(body[start:], status="206 Partial Content", headers=span)(connection, request)
        else:
            answer(body, headers=f"ETag: {tag}\r\n")(connection, request)

    return write


def broken(tag: str = '"one"', body: bytes = CONTENT) -> Callable[[socket.socket, dict[str, str]], None]:
    """A server that breaks off after 300,000 bytes."""
    return answer(body[:300_000], length=len(body), headers=f"ETag: {tag}\r\n")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/file.bin").write_bytes(CONTENT)
    return tmp_path / "shelf"


def test_file_arrives_whole_and_is_not_fetched_twice(shelf: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with web_server(shelf) as base:
        source = Listed((f"{base}/file.bin?token=secret",))
        fetched = fetch_source(source, tmp_path / "to", on_progress=lambda *step: seen.append(step))
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.url == f"{base}/file.bin"
    assert seen[0] == ("file.bin", 0, len(CONTENT))
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert fetch_source(source, tmp_path / "to").url == ""  # the server is gone
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["file.bin"]


def test_md5_and_unknown_size_will_do(shelf: Path, tmp_path: Path) -> None:
    digest = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"
    source = Listed(((shelf / "file.bin").as_uri(),), digest=digest, size=None, name="sub/x.bin")
    assert fetch_source(source, tmp_path / "to").path == tmp_path / "to/sub/x.bin"
    assert (shelf / "file.bin").exists()


def test_break_is_retryable_and_the_next_call_resumes(scripted_server: Server, tmp_path: Path) -> None:
    scripted_server.answers = [broken(), ranged()]
    source = Listed((scripted_server.url,))
    with pytest.raises(UnreachableError, match="broke off"):
        fetch_source(source, tmp_path)
    part = tmp_path / "file.bin.part"
    assert CONTENT.startswith(part.read_bytes())
    kept = part.stat().st_size
    assert kept > 0
    fetched = fetch_source(source, tmp_path)
    assert fetched.resumed_from == kept
    assert fetched.path.read_bytes() == CONTENT
    assert scripted_server.requests[1]["range"] == f"bytes={kept}-"
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_source_that_changed_in_between_starts_anew(scripted_server: Server, tmp_path: Path) -> None:
    older = bytes(reversed(CONTENT))
    scripted_server.answers = [broken('"old"', older), ranged('"new"')]
    source = Listed((scripted_server.url,))
    with pytest.raises(UnreachableError):
        fetch_source(source, tmp_path)
    fetched = fetch_source(source, tmp_path)
    assert fetched.resumed_from == 0
    assert fetched.path.read_bytes() == CONTENT


def test_resumed_part_that_turns_out_wrong_is_fetched_anew(scripted_server: Server, tmp_path: Path) -> None:
    scripted_server.answers = [broken(), ranged()]
    source = Listed((scripted_server.url,))
    with pytest.raises(UnreachableError):
        fetch_source(source, tmp_path)
    part = tmp_path / "file.bin.part"
    part.write_bytes(bytes(part.stat().st_size))
    assert fetch_source(source, tmp_path).path.read_bytes() == CONTENT


def test_part_of_another_file_is_found_out_by_the_digest_of_the_whole(
    scripted_server: Server, tmp_path: Path
) -> None:
    other = bytes(reversed(CONTENT))
    scripted_server.answers = [broken(body=other), ranged()]
    digest = f"sha256:{hashlib.sha256(other).hexdigest()}"
    with pytest.raises(UnreachableError):
        fetch_source(Listed((scripted_server.url,), digest=digest), tmp_path)
    fetched = fetch_source(Listed((scripted_server.url,)), tmp_path)
    assert fetched.resumed_from == 0
    assert fetched.path.read_bytes() == CONTENT


def test_another_mirror_goes_on_with_the_part(scripted_server: Server, tmp_path: Path) -> None:
    scripted_server.answers = [broken(), ranged()]
    mirrors = (scripted_server.url, f"{scripted_server.url}?mirror")
    fetched = fetch_source(Listed(mirrors), tmp_path / "to")
    assert fetched.resumed_from > 0
    assert fetched.path.read_bytes() == CONTENT


def test_part_survives_in_its_own_folder(scripted_server: Server, tmp_path: Path) -> None:
    scripted_server.answers = [broken(), ranged()]
    source = Listed((scripted_server.url,))
    with pytest.raises(UnreachableError):
        fetch_source(source, tmp_path / "one", parts=tmp_path / "parts")
    fetched = fetch_source(source, tmp_path / "two", parts=tmp_path / "parts")
    assert fetched.resumed_from > 0
    assert fetched.path == tmp_path / "two/file.bin"
    assert list((tmp_path / "parts").iterdir()) == []


def test_wrong_digest_says_expected_and_found_and_leaves_nothing(
    scripted_server: Server, tmp_path: Path
) -> None:
    other = CONTENT[:-1] + b"!"
    scripted_server.answers = [answer(other)]
    with pytest.raises(SourceError) as caught:
        fetch_source(Listed((scripted_server.url,)), tmp_path)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reply", "kind", "named"),
    [
        (answer(b"", status="404 Not Found"), SourceError, "404 Not Found"),
        (answer(b"", status="403 Forbidden"), SourceError, "403 Forbidden"),
        (answer(b"", status="503 Busy", headers="Retry-After: 7\r\n"), UnreachableError, "503 Busy.*after 7"),
        (answer(b"", status="429 Slow Down"), UnreachableError, "429"),
        (answer(b"<HTML>login", headers="Content-Type: text/html\r\n"), SourceError, "web page"),
        (answer(b"<!DOCTYPE html>login", length=-1), UnreachableError, "only 20 of the 700001"),
        (answer(CONTENT[:1000]), SourceError, "says that file.bin has 1000 bytes, but 700001"),
        (answer(CONTENT[:1000], length=-1), UnreachableError, "only 1000 of the 700001"),
        (answer(CONTENT + b"x", length=-1), SourceError, "sends more than the 700001"),
        (answer(CONTENT, length=2 * len(CONTENT)), SourceError, "says that file.bin has 1400002 bytes"),
        (answer(b"", status="302 Found", headers="Location: ftp://x/\r\n"), SourceError, "leads nowhere"),
        (lambda connection, _: connection.close(), UnreachableError, "broke off"),
        (lambda connection, _: connection.sendall(b"garbage\r\n\r\n"), UnreachableError, "broke off"),
        (
            answer(b"x" * 9, status="206 Partial", headers="Content-Range: bytes 5-13/700001\r\n"),
            SourceError,
            "range",
        ),
    ],
)
def test_bad_answer_is_named(
    scripted_server: Server, tmp_path: Path, reply: Any, kind: type[PipelineError], named: str
) -> None:
    scripted_server.answers = [reply]
    with pytest.raises(kind, match=named):
        fetch_source(Listed((scripted_server.url,)), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_web_page_of_unknown_size_is_named(scripted_server: Server, tmp_path: Path) -> None:
    scripted_server.answers = [answer(b"\n<!doctype HTML><title>please log in</title>")]
    with pytest.raises(SourceError, match="web page instead of"):
        fetch_source(Listed((scripted_server.url,), size=None), tmp_path)


def test_web_page_does_not_destroy_the_part(scripted_server: Server, tmp_path: Path) -> None:
    page = answer(b"<html>maintenance", headers="Content-Type: text/html\r\n")
    scripted_server.answers = [broken(), page, ranged()]
    source = Listed((scripted_server.url,))
    for kind in (UnreachableError, SourceError):
        with pytest.raises(kind):
            fetch_source(source, tmp_path)
    assert fetch_source(source, tmp_path).resumed_from > 0


def test_silent_server_is_left_and_what_arrived_is_kept(scripted_server: Server, tmp_path: Path) -> None:
    over = threading.Event()
    scripted_server.answers = [answer(CONTENT[:90_000], length=len(CONTENT), then=lambda: over.wait(20))]
    with pytest.raises(UnreachableError, match="sent nothing"):
        fetch_source(Listed((scripted_server.url,)), tmp_path, stall_seconds=0.3)
    over.set()
    assert (tmp_path / "file.bin.part").stat().st_size == 90_000


def reset(connection: socket.socket, _: dict[str, str]) -> None:
    """Break off by RST, as a crashed machine or a firewall does."""
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT[:9])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stall(connection: socket.socket, request: dict[str, str]) -> None:
    """Say nothing for longer than the test waits."""
    answer(CONTENT[:9], length=len(CONTENT), then=lambda: time.sleep(1))(connection, request)


def rest_of_another_file(connection: socket.socket, request: dict[str, str]) -> None:
    """Go on where it was asked to, under the same entity tag, with other bytes."""
    ranged(body=bytes(len(CONTENT)))(connection, request)


BAD = {
    "reset": reset,
    "stall": stall,
    "500": answer(b"", status="500 Oops"),
    "503": answer(b"", status="503 Slow Down", headers="Retry-After: 1\r\n"),
    "404 for a while": answer(b"", status="404 Not Found"),
    "page": answer(b"<html>log in", headers="Content-Type: text/html\r\n"),
    "page that says nothing of it": answer(b"<!doctype html><title>maintenance</title>"),
    "page of the right length": answer(b"<!doctype html>".ljust(len(CONTENT))),
    "too short": answer(CONTENT[:1000]),
    "too long": answer(CONTENT + b"x"),
    "cut, and called whole": answer(CONTENT[:1000], length=-1),
    "other content": answer(bytes(len(CONTENT))),
    "rest of another file": rest_of_another_file,
    "wrong range": answer(b"x" * 9, status="206 Partial", headers="Content-Range: bytes 5-13/700001\r\n"),
    "no ranges": answer(),
    "garbage": lambda connection, _: connection.sendall(b"garbage\r\n\r\n"),
}


@pytest.mark.parametrize("before", [True, False], ids=["with a part", "from nothing"])
@pytest.mark.parametrize("name", BAD)
def test_the_same_call_succeeds_once_the_source_is_well_again(
    scripted_server: Server, tmp_path: Path, name: str, before: bool
) -> None:
    scripted_server.answers = [*([broken()] if before else []), BAD[name], ranged()]
    source = Listed((scripted_server.url,))
    for _ in range(3):
        try:
            fetched = fetch_source(source, tmp_path, stall_seconds=0.3)
            break
        except PipelineError as error:
            assert error.remedy
            assert not (tmp_path / "file.bin").exists()
    assert fetched.path.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("pause", [0.05, 20])
def test_deadline_ends_a_dripping_and_a_silent_server(
    scripted_server: Server, tmp_path: Path, pause: float
) -> None:
    over = threading.Event()

    def drip(connection: socket.socket, _: dict[str, str]) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode())
        for byte in CONTENT[:400]:
            connection.sendall(bytes([byte]))
            if over.wait(pause):
                return

    scripted_server.answers = [drip]
    with pytest.raises(StepTimeoutError, match="not finish in time"):
        fetch_source(
            Listed((scripted_server.url,)), tmp_path, deadline=time.monotonic() + 0.5, stall_seconds=15
        )
    over.set()
    assert (tmp_path / "file.bin.part").stat().st_size > 0


def test_headers_that_come_byte_by_byte_are_given_up(
    scripted_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def drip(connection: socket.socket, _: dict[str, str]) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not over.wait(0.02):
            connection.sendall(b"x")

    scripted_server.answers = [drip]
    source = Listed((scripted_server.url,))
    with pytest.raises(StepTimeoutError, match="not finish in time"):
        fetch_source(source, tmp_path, deadline=time.monotonic() + 0.5, stall_seconds=15)
    monkeypatch.setattr("mlperf_submission.fetch.http._CONNECT_SECONDS", 0.5)
    with pytest.raises(UnreachableError):
        fetch_source(source, tmp_path / "other", stall_seconds=1)
    over.set()


def test_a_body_that_never_ends_is_left_at_its_size(scripted_server: Server, tmp_path: Path) -> None:
    over = threading.Event()

    def endless(connection: socket.socket, _: dict[str, str]) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(bytes(1 << 16))

    scripted_server.answers = [endless]
    with pytest.raises(SourceError, match="sends more than the 700001 bytes"):
        fetch_source(Listed((scripted_server.url,)), tmp_path)
    over.set()


def test_a_file_of_this_machine_is_linked_or_copied_and_verified(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Listed(((shelf / "file.bin").as_uri(),))
    linked = fetch_source(source, tmp_path / "linked").path
    assert linked.samefile(shelf / "file.bin")

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", no_links)
    copied = fetch_source(source, tmp_path / "copied").path
    assert not copied.samefile(linked)
    assert copied.read_bytes() == CONTENT
    (shelf / "file.bin").unlink()
    (shelf / "file.bin").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(SourceError, match="another digest"):
        fetch_source(source, tmp_path / "changed")
    assert list((tmp_path / "changed").iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "nosuch://127.0.0.1:9"),
        ("HTTP_PROXY", "http://[::1"),
        ("NO_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/no/such"),
    ],
)
def test_a_proxy_or_certificate_setting_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with (
        pytest.raises(PipelineError, match="settings for proxies or certificates") as raised,
        open_url("https://example.invalid/x", 0, Limits()),
    ):
        pass
    assert variable in raised.value.remedy


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(UnreachableError, match="the proxy") as raised,
        open_url("http://example.invalid/x", 0, Limits()),
    ):
        pass
    assert "HTTP_PROXY" in raised.value.remedy


def test_mirrors_are_tried_in_order_and_all_are_named(
    scripted_server: Server, shelf: Path, tmp_path: Path
) -> None:
    scripted_server.answers = [answer(b"", status="404 Not Found")]
    with web_server(shelf) as base:
        good, gone = f"{base}/file.bin", f"{base}/gone.bin"
        assert fetch_source(Listed((scripted_server.url, good)), tmp_path / "a").url == good
        with pytest.raises(SourceError, match="2 attempts failed") as caught:
            fetch_source(Listed((scripted_server.url, gone)), tmp_path / "b")
        assert scripted_server.url in str(caught.value)
        assert gone in str(caught.value)
    with pytest.raises(UnreachableError, match="2 attempts failed"):
        fetch_source(Listed((scripted_server.url, good)), tmp_path / "c")  # the second server is down


def test_missing_file_unknown_scheme_and_bad_digest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        fetch_source(Listed((f"file://{tmp_path}/none",)), tmp_path / "to")
    for scheme in ("gopher", "s3", "ftp"):
        with pytest.raises(SourceError, match=f"'{scheme}' is no scheme"):
            fetch_source(Listed((f"{scheme}://x/y",)), tmp_path / "to")
    with pytest.raises(SettingError, match="malformed"):
        fetch_source(Listed(("http://x/y",), digest="sha256:12"), tmp_path / "to")
    with pytest.raises(SourceError, match="would leave its folder"):
        fetch_source(Listed(("http://x/y",), name="../x"), tmp_path / "to")


def test_too_little_space_is_said_before_anything_is_fetched(scripted_server: Server, tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"needs \d+\.\d GB"):
        fetch_all([Listed((scripted_server.url,), size=10**16)], tmp_path)
    assert scripted_server.requests == []
    scripted_server.answers = [answer(b"", length=10**16)]
    with pytest.raises(DiskFullError):
        fetch_source(Listed((scripted_server.url,), size=None), tmp_path)


def test_several_at_once_arrive_and_failures_come_after_the_others(shelf: Path, tmp_path: Path) -> None:
    for number in range(6):
        os.link(shelf / "file.bin", shelf / f"{number}.bin")
    with web_server(shelf) as base:
        sources = [Listed((f"{base}/{number}.bin",), name=f"{number}.bin") for number in range(6)]
        fetched = fetch_all(sources, tmp_path / "to", workers=3)
        assert [item.name for item in fetched] == [source.name for source in sources]
        gone = [Listed((f"{base}/gone{n}",), name=f"gone{n}") for n in range(2)]
        with pytest.raises(SourceError, match="2 attempts failed"):
            fetch_all([*gone, *sources], tmp_path / "again")
    assert len(list((tmp_path / "again").glob("?.bin"))) == 6


def test_two_calls_for_the_same_source_do_not_disturb_each_other(shelf: Path, tmp_path: Path) -> None:
    with web_server(shelf) as base:
        source = Listed((f"{base}/file.bin",))
        fetched = fetch_all([source] * 4, tmp_path / "to", workers=4)
    assert all(item.path.read_bytes() == CONTENT for item in fetched)
    assert sum(item.url != "" for item in fetched) == 1


def test_archive_is_unpacked_and_removed(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("./deep/x.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    (tmp_path / "data.tar.gz").write_bytes(packed.getvalue())
    source = Listed(
        (f"file://{tmp_path}/data.tar.gz",),
        name="data.tar.gz",
        digest=f"sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}",
        size=None,
        unpack="data",
    )
    fetched = fetch_source(source, tmp_path / "to")
    assert (fetched.path / "deep/x.txt").read_text() == "abc"
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["data"]
    with pytest.raises(SourceError, match="already something"):
        fetch_source(source, tmp_path / "to")


def test_a_folder_stands_for_the_archive_that_was_unpacked_into_it(tmp_path: Path) -> None:
    given, place = tmp_path / "given", tmp_path / "place"
    (given / "inner").mkdir(parents=True)
    (given / "inner" / "shard.bin").write_bytes(CONTENT)
    source = Listed((given.as_uri(),), "checkpoint.zip", unpack="checkpoint")
    fetched = fetch_source(source, place)
    assert (place / "checkpoint" / "inner" / "shard.bin").read_bytes() == CONTENT
    assert (fetched.path, fetched.size) == (place / "checkpoint", len(CONTENT))
    assert [path.name for path in place.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    ("unpack", "message"), [(None, "which is one file"), ("checkpoint", "is empty")], ids=["file", "empty"]
)
def test_a_folder_that_cannot_stand_for_a_source_is_refused(
    tmp_path: Path, unpack: str | None, message: str
) -> None:
    given, place = tmp_path / "given", tmp_path / "place"
    given.mkdir()
    with pytest.raises(SourceError, match=message):
        fetch_source(Listed((given.as_uri(),), unpack=unpack), place)
    assert not (place.is_dir() and [path for path in place.iterdir() if path.suffix != ".part"])
