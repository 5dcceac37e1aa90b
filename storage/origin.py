"""A small HTTP server on the loopback address: a rehearsal downloads its mini edition from it for real."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from common.errors import SettingError, SourceError
from common.files import inside

_LOOPBACK = "127.0.0.1"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOCK = 1 << 18


@contextmanager
def serve_folder(folder: Path, *, port: int = 0) -> Iterator[str]:
    """Serve the files below a folder over HTTP for the length of the block; yield `http://127.0.0.1:<port>`.

    Answers GET and HEAD, also for one range from an offset, with `ETag` and `If-Range`. Names that lead out
    of the folder, also by a link, are not found; folders are not listed.

    Args:
        folder: what is served.
        port: 0 lets the kernel choose one that is free.

    Raises:
        SettingError: the port is in use or not allowed, or there is no such folder.
    """
    if not folder.is_dir():
        raise SettingError(
            "there is no such folder to serve", where=folder, remedy="make the mini edition first"
        )

    class Handler(_Handler):
        root = folder.resolve()

    try:
        server = ThreadingHTTPServer((_LOOPBACK, port), Handler)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise SettingError(
            f"port {port} cannot be used ({error.strerror})",
            where=f"{_LOOPBACK}:{port}",
            remedy="end the program that uses it, choose another port, or give 0 for any free one",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="origin", daemon=True)
    thread.start()
    try:
        yield f"http://{_LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    root: ClassVar[Path]
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Print nothing: the client says what went wrong."""

    def _answer(self, *, with_body: bool) -> None:
        path = self._path()
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as stream:
            status = path.stat()
            size, tag = status.st_size, f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
            start, end = 0, size
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            if asked and self.headers.get("If-Range", tag) == tag:
                start, end = int(asked[1]), min(size, int(asked[2] or size - 1) + 1)
                if start >= end:
                    self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(HTTPStatus.PARTIAL_CONTENT)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            else:
                self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", tag)
            self.end_headers()
            stream.seek(start)
            while with_body and start < end and (block := stream.read(min(_BLOCK, end - start))):
                try:
                    self.wfile.write(block)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                    return
                start += len(block)

    def _path(self) -> Path | None:
        """The file that is asked for, or None if there is none below the folder."""
        try:
            path = inside(self.root, unquote(urlsplit(self.path).path).removeprefix("/")).resolve()
        except (SourceError, ValueError, OSError):
            return None
        return path if path.is_relative_to(self.root) and path.is_file() else None
