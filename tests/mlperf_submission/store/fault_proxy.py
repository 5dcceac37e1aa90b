"""A proxy in front of a real S3 server that does to its answers what networks and servers do to them."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST instead of FIN."""
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Answer:
    """What the server answered, to be changed by a fault."""

    status: int
    headers: dict[str, str]
    body: bytes
    announced: int | None = None
    """Content-Length if it is not that of the body."""
    ending: str = "whole"
    """`whole`; `closed`: the connection ends after the body; `reset`: it is reset after the body."""


@dataclass
class Fault:
    """What happens to which requests, and how often.

    Attributes:
        change: gets the server's answer and returns the one that the client sees.
        method: of the requests that are hit, e.g. `GET`.
        part: of the path and query that are hit.
        times: how many requests are hit; all by default.
        reaches: whether the request reaches the server at all.
    """

    change: Callable[[Answer], Answer]
    method: str = ""
    part: str = ""
    times: int = 1_000_000
    reaches: bool = True
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is hit."""
        return self.hits < self.times and self.method in ("", method) and self.part in path


@dataclass
class FaultProxy:
    """The proxy's address and the faults that are on; they may be changed at any time."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    ranges: list[tuple[str, str]] = field(default_factory=list)
    """Path and range of each request that asked for a part."""
    away: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_for(self, method: str, path: str) -> Fault | None:
        """Take the first fault that hits this request."""
        with self.lock:
            for fault in self.faults:
                if fault.takes(method, path):
                    fault.hits += 1
                    return fault
        return None


def error(status: int, code: str, **headers: str) -> Fault:
    """An S3 error instead of the answer; the request never reaches the server."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
    headers["Content-Type"] = "application/xml"
    return Fault(lambda _: Answer(status, headers, body.encode()), reaches=False)


def cut(share: float = 0.5, ending: str = "closed") -> Fault:
    """The body breaks off after a share of it: closed properly, or reset."""

    def change(answer: Answer) -> Answer:
        kept = answer.body[: int(len(answer.body) * share)]
        return replace(answer, body=kept, announced=len(answer.body), ending=ending)

    return Fault(change, method="GET")


def lie_about_length() -> Fault:
    """Half of the body, called the whole."""
    return Fault(
        lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2]),
        method="GET",
        part="objects",
    )


def flip_a_bit() -> Fault:
    """The right length, the wrong content."""

    def change(answer: Answer) -> Answer:
        return replace(answer, body=bytes([byte ^ 1 for byte in answer.body[:1]]) + answer.body[1:])

    return Fault(change, method="GET", part="objects")


def wrong_etag() -> Fault:
    """Another entity tag than the server's."""
    tag = '"00000000000000000000000000000000"'
    return Fault(lambda answer: replace(answer, headers={**answer.headers, "ETag": tag}))


def reset(*, reaches: bool, method: str = "", part: str = "") -> Fault:
    """The connection is reset instead of an answer; the server has done what was asked, or has not."""
    return Fault(lambda _: Answer(0, {}, b"", ending="reset"), method, part, reaches=reaches)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of `http://host:port` for the length of the block."""
    target = urlsplit(upstream)
    assert target.hostname is not None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if "Range" in self.headers:
                proxy.ranges.append((self.path, self.headers["Range"]))
            fault = None if proxy.away else proxy.fault_for(self.command, self.path)
            if proxy.away:
                self._end("reset")
                return
            answer = self._ask(body) if fault is None or fault.reaches else Answer(0, {}, b"")
            self._send(fault.change(answer) if fault else answer)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server's names

        def _ask(self, body: bytes) -> Answer:
            connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "expect"):
                        connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                headers = {
                    name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP
                }
                length = answer.getheader("Content-Length")
                announced = int(length) if self.command == "HEAD" and length else None
                return Answer(answer.status, headers, content, announced)
            finally:
                connection.close()

        def _send(self, answer: Answer) -> None:
            if answer.status == 0:
                self._end(answer.ending)
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            length = len(answer.body) if answer.announced is None else answer.announced
            if answer.status != 204:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            if answer.ending != "whole":
                self._end(answer.ending)

        def _end(self, ending: str) -> None:
            self.wfile.flush()
            if ending == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()
            self.close_connection = True

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                return

        def log_message(self, *_arguments: Any) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_arguments: Any) -> None:
            """A client that leaves is no error."""

        def shutdown_request(self, request: Any) -> None:
            if request.fileno() != -1:
                super().shutdown_request(request)

    server = Server(("127.0.0.1", 0), Handler)
    proxy = FaultProxy(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
