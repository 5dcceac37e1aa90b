"""One file from `http(s)://`, `s3://` or `file://`, from an offset on, as a stream of blocks."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from common.addresses import is_loopback, shown
from common.deadline import Limits
from common.errors import PipelineError, SourceError, UnreachableError
from storage.store.s3 import make_client, s3_errors

_BLOCK = 1 << 20
_CONNECT_SECONDS = 10.0
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_BUSY = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Opened:
    """An answer whose body can be read.

    Attributes:
        start: the offset of the first byte; a server may ignore the one that was asked for.
        total: size of the whole file in bytes, as the server says.
        validator: what a later call resumes with: it changes when the file does.
        is_page: whether the server calls it a web page.
        blocks: the bytes.
    """

    start: int
    total: int | None
    validator: str
    is_page: bool
    blocks: Iterator[bytes]


def open_url(url: str, offset: int, validator: str, limits: Limits) -> AbstractContextManager[Opened]:
    """Open a URL for reading from an offset.

    Args:
        url: `http://`, `https://`, `s3://bucket/key` or `file:///path`.
        offset: the first byte that is wanted, if the file still has this validator.
        validator: of an earlier answer by the same URL, else empty.
        limits: when to end.

    Raises (here or while the blocks are read):
        UnreachableError: no answer, a break or silence: a retry can help.
        SourceError: the file is not there, is refused, or the URL has another scheme.
        StepTimeoutError: the deadline passed.
    """
    scheme = urlsplit(url).scheme
    openers: dict[str, Callable[[str, int, str, Limits], AbstractContextManager[Opened]]] = {
        "http": _open_http,
        "https": _open_http,
        "s3": _open_s3,
        "file": _open_file,
    }
    if scheme not in openers:
        raise SourceError(
            f"{scheme!r} is no scheme that a source can have",
            where=shown(url),
            remedy="use https, s3 or file",
        )
    return openers[scheme](url, offset, validator, limits)


@contextmanager
def _open_http(url: str, offset: int, validator: str, limits: Limits) -> Iterator[Opened]:
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    timeout = httpx.Timeout(
        limits.seconds(limits.stall_seconds),
        connect=limits.seconds(min(_CONNECT_SECONDS, limits.stall_seconds)),
    )
    local = is_loopback(urlsplit(url).hostname or "")
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=True, trust_env=not local) as client,
            client.stream("GET", url, headers=headers) as response,
            _cut_at_deadline(response, limits),
        ):
            yield _answer(url, offset, response, limits)
    except httpx.HTTPError as error:
        limits.check()
        raise _http_error(url, error, limits) from error
    except (httpx.InvalidURL, httpx.StreamError) as error:
        raise SourceError(f"this is no usable URL: {error}", where=shown(url), remedy="correct it") from error


def _answer(url: str, offset: int, response: httpx.Response, limits: Limits) -> Opened:
    status = response.status_code
    part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if status == 206 and part and part[1]:
        start, total = int(part[1]), None if part[2] == "*" else int(part[2])
    elif status == 416 and part and part[2] != "*":
        start = total = int(part[2])  # nothing is left to send: the file ends here
    elif status == 416:
        start, total = offset + 1, None  # the caller starts anew
    elif status == 200:
        length = response.headers.get("Content-Length", "")
        start, total = 0, int(length) if length.isdecimal() else None
    else:
        raise _status_error(url, response)
    etag = response.headers.get("ETag", "")
    return Opened(
        start=start,
        total=total,
        validator="" if etag.startswith("W/") else etag or response.headers.get("Last-Modified", ""),
        is_page=response.headers.get("Content-Type", "").startswith("text/html"),
        blocks=_checked(response.iter_raw(), limits) if status != 416 else iter(()),
    )


def _status_error(url: str, response: httpx.Response) -> PipelineError:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code >= 500 or response.status_code in _BUSY:
        wait = response.headers.get("Retry-After")
        return UnreachableError(
            f"the server answers {status}" + (f" (try again after {wait})" if wait else ""),
            where=shown(url),
            remedy="try again later; what has arrived is kept",
        )
    return SourceError(
        f"the server answers {status}",
        where=shown(url),
        remedy="the file may have moved or need a licence: fetch it by hand, or give another source",
    )


def _http_error(url: str, error: httpx.HTTPError, limits: Limits) -> PipelineError:
    if isinstance(error, httpx.TooManyRedirects | httpx.UnsupportedProtocol):
        return SourceError(
            f"the server leads nowhere: {error}", where=shown(url), remedy="give another source"
        )
    if "CERTIFICATE" in str(error).upper():
        return SourceError(
            f"the server's certificate is not accepted: {error}",
            where=shown(url),
            remedy="check this machine's clock and certificate authorities (SSL_CERT_FILE)",
        )
    if isinstance(error, httpx.TimeoutException):
        what = f"the server sent nothing for {limits.stall_seconds:.0f} s"
    else:
        what = f"the connection failed or broke off ({error or type(error).__name__})"
    return UnreachableError(what, where=shown(url), remedy="try again; what has arrived is kept")


@contextmanager
def _cut_at_deadline(response: httpx.Response, limits: Limits) -> Iterator[None]:
    """Shut the connection down when the deadline passes, so that no silent server can hold us beyond it."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream else None
    if limits.deadline is None or connection is None:
        yield
        return

    def cut() -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    timer = threading.Timer(max(0.0, limits.deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _checked(blocks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    for block in blocks:
        limits.check()
        yield block
    limits.check()


@contextmanager
def _open_s3(url: str, offset: int, validator: str, limits: Limits) -> Iterator[Opened]:
    from botocore.exceptions import ClientError, NoCredentialsError

    parts = urlsplit(url)
    bucket, key = parts.netloc, unquote(parts.path).lstrip("/")

    def get(anonymous: bool, first: int) -> Opened:
        client = make_client(
            anonymous=anonymous, read_timeout_seconds=limits.seconds(limits.stall_seconds), attempts=1
        )
        try:
            answer = (
                client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-")
                if first
                else (client.get_object(Bucket=bucket, Key=key))
            )
        except ClientError as error:
            if first and error.response["ResponseMetadata"]["HTTPStatusCode"] == 416:
                return get(anonymous, 0)
            raise
        if first and validator and answer["ETag"] != validator:
            answer["Body"].close()
            return get(anonymous, 0)
        return Opened(
            start=first,
            total=first + answer["ContentLength"],
            validator=answer["ETag"],
            is_page=False,
            blocks=_checked(answer["Body"].iter_chunks(_BLOCK), limits),
        )

    with s3_errors(shown(url), bucket=bucket, key=key):
        try:
            opened = get(anonymous=False, first=offset)
        except NoCredentialsError:
            opened = get(anonymous=True, first=offset)
        yield opened


@contextmanager
def _open_file(url: str, offset: int, validator: str, limits: Limits) -> Iterator[Opened]:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost"):
        raise SourceError(
            f"a file on another machine ({parts.netloc!r}) cannot be read",
            where=shown(url),
            remedy="write file:///folder/name, with three slashes",
        )
    try:
        with path.open("rb") as stream:
            status = path.stat()
            current = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
            start = offset if offset <= status.st_size and validator in ("", current) else 0
            stream.seek(start)
            blocks = _checked(iter(lambda: stream.read(_BLOCK), b""), limits)
            yield Opened(start=start, total=status.st_size, validator=current, is_page=False, blocks=blocks)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        if error.filename != str(path):
            raise
        raise SourceError(
            f"the file cannot be read ({error.strerror})",
            where=path,
            remedy="check the path and its permissions",
        ) from error
