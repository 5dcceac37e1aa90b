"""The loopback server of the mini edition."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from common.errors import SettingError
from storage.origin import serve_folder


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a b.txt").write_text("0123456789")
    (folder / "empty").touch()
    (tmp_path / "outside.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "outside.txt")
    return folder


def test_files_and_ranges_are_served(shelf: Path) -> None:
    with serve_folder(shelf) as base, httpx.Client(base_url=base, trust_env=False) as client:
        whole = client.get("/sub/a%20b.txt")
        assert (whole.status_code, whole.text) == (200, "0123456789")
        part = client.get("/sub/a%20b.txt", headers={"Range": "bytes=4-", "If-Range": whole.headers["ETag"]})
        assert (part.status_code, part.text) == (206, "456789")
        assert part.headers["Content-Range"] == "bytes 4-9/10"
        assert client.get("/sub/a%20b.txt", headers={"Range": "bytes=2-3"}).text == "23"
        changed = client.get("/sub/a%20b.txt", headers={"Range": "bytes=4-", "If-Range": '"other"'})
        assert (changed.status_code, changed.text) == (200, "0123456789")
        beyond = client.get("/sub/a%20b.txt", headers={"Range": "bytes=10-"})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")
        head = client.head("/sub/a%20b.txt")
        assert (head.headers["Content-Length"], head.text) == ("10", "")
        assert client.get("/empty").content == b""


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sub",
        "none",
        "link",
        "../outside.txt",
        "%2e%2e/outside.txt",
        "sub/%2e%2e/%2e%2e/outside.txt",
        "a%00b",
    ],
)
def test_nothing_else_is_served(shelf: Path, name: str) -> None:
    with serve_folder(shelf) as base:
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET /{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"secret" not in answer


def test_port_in_use_is_named_and_free_again_after_the_block(shelf: Path) -> None:
    with serve_folder(shelf) as base:
        port = int(base.rpartition(":")[2])
        with pytest.raises(SettingError, match=f"port {port} cannot be used"), serve_folder(shelf, port=port):
            pass
    with serve_folder(shelf, port=port) as again:
        assert again == base


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no such folder"), serve_folder(tmp_path / "none"):
        pass
