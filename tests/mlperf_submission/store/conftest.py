"""Servers for the tests of this room: one that misbehaves as it is told, and a real S3 server."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import Endpoint, embedded_s3
from mlperf_submission.store.store import RunFile, Store
from tests.conftest import served_once
from tests.mlperf_submission.store.ceph import ceph_is_installed, ceph_s3
from tests.mlperf_submission.store.stored_runs import CONTENTS, MADE_BY

Answer = Callable[[socket.socket, dict[str, str]], None]
"""Writes raw bytes to the connection, given the request's headers in lower case."""


@dataclass
class ScriptedServer:
    """Answers its requests with the given answers in turn, the last one again and again."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            lines = iter(lambda: stream.readline().decode().strip(), "")
            next(lines, None)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            self.requests.append(headers)
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            try:
                answer(connection, headers)
            except OSError:
                return

    @contextmanager
    def running(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/file.bin"

            def accept() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            yield
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    with server.running():
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The S3 server of rclone."""
    folder = tmp_path_factory.mktemp("s3")
    with embedded_s3(folder / "data", folder / "s3.log") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The S3 server of a whole small Ceph, where one is installed."""
    if not ceph_is_installed():
        pytest.skip("the second S3 server, Ceph (radosgw, ceph-mon, ceph-osd), is not installed here")
    with served_once(tmp_path_factory, "ceph", ceph_s3) as said:
        yield Endpoint(**said)


@pytest.fixture(scope="session", params=["rclone", "ceph"])
def s3_server(request: pytest.FixtureRequest) -> Endpoint:
    """A real S3 server. Both stay until the last test, whichever of them the next test asks for."""
    server: Endpoint = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def store(s3_server: Endpoint, request: pytest.FixtureRequest) -> Store:
    """An empty store in a bucket of its own."""
    name = f"b{zlib.crc32(request.node.nodeid.encode()):08x}"
    store = Store(name, "some/prefix", endpoint_url=s3_server.url, credentials=s3_server.credentials)
    store.ensure_bucket()
    return store


@pytest.fixture
def bucket(s3_server: Endpoint, store: Store) -> Bucket:
    """The store's bucket, for doing to it what a store never does."""
    name, _, prefix = store.address.removeprefix("s3://").partition("/")
    return Bucket(name, prefix, endpoint_url=s3_server.url, credentials=s3_server.credentials)


@pytest.fixture
def files(tmp_path: Path) -> list[RunFile]:
    for name, content in CONTENTS.items():
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [RunFile(name, tmp_path / "made" / name, MADE_BY) for name in CONTENTS]
