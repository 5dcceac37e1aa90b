"""One file from `http(s)://`, from an offset on, as a stream of blocks; limited in time, headers included."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from mlperf_submission.addresses import PROXY, is_loopback, scrubbed, shown
from mlperf_submission.deadline import Limits, NotInTimeError, within
from mlperf_submission.errors import PipelineError, SettingError, SourceError, UnreachableError

_CONNECT_SECONDS = 10.0
_LEAST_RATE = 10_000
"""bytes/s: a body that comes more slowly than this, beside the pauses that it may make, is given up."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")
_LENGTH = re.compile(r"\d{1,18}")
_BUSY = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Opened:
    """An answer whose body can be read.

    Attributes:
        start: the offset of the first byte; a server may ignore the one that was asked for.
        total: size of the whole file in bytes, as the server says.
        etag: the server's entity tag; empty for none.
        is_page: whether the server calls it a web page.
        blocks: the bytes, as many as the server sends: how many there may be, the caller knows.
    """

    start: int
    total: int | None
    etag: str
    is_page: bool
    blocks: Iterator[bytes]


@contextmanager
def environment_named() -> Iterator[None]:
    """Say so where httpx cannot make a client of what the environment says of proxies and certificates.

    Raises:
        SettingError: it cannot.
    """
    try:
        yield
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        raise SettingError(
            f"the settings for proxies or certificates cannot be used: {scrubbed(str(error))}",
            where="the environment",
            remedy="correct or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (in lower case too), "
            "SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error


@contextmanager
def open_url(url: str, offset: int, limits: Limits) -> Iterator[Opened]:
    """Open a URL for reading from an offset.

    Args:
        url: `http://` or `https://`.
        offset: the first byte that is wanted.
        limits: when to end.

    Raises (here or while the blocks are read):
        UnreachableError: no answer, a break or silence: a retry can help.
        SourceError: the file is not there, or is refused.
        SettingError: the proxy or the certificates that the environment names cannot be used.
        StepTimeoutError: the deadline passed.
    """
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
    timeout = httpx.Timeout(
        limits.seconds(limits.stall_seconds),
        connect=limits.seconds(min(_CONNECT_SECONDS, limits.stall_seconds)),
    )
    local = is_loopback(urlsplit(url).hostname or "")
    try:
        with environment_named():
            opened = httpx.Client(timeout=timeout, follow_redirects=True, trust_env=not local)
        with opened as client:
            request = client.build_request("GET", url, headers=headers)
            # A server may send its headers byte by byte: httpx limits only the pauses between them.
            response = within(
                limits.seconds(_CONNECT_SECONDS + limits.stall_seconds),
                lambda: client.send(request, stream=True),
            )
            try:
                yield _answer(url, offset, response, limits)
            finally:
                response.close()
    except NotInTimeError:
        limits.check()
        raise UnreachableError(
            "the server does not come to the end of its headers", where=shown(url), remedy=_AGAIN
        ) from None
    except httpx.HTTPError as error:
        limits.check()
        raise _http_error(url, error, limits) from error
    except (httpx.InvalidURL, httpx.StreamError) as error:
        raise SourceError(
            f"this is no usable URL: {scrubbed(str(error))}", where=shown(url), remedy="correct it"
        ) from error


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
        start, total = 0, int(length) if _LENGTH.fullmatch(length) else None
    else:
        raise _status_error(url, response)
    return Opened(
        start=start,
        total=total,
        etag=response.headers.get("ETag", ""),
        is_page=response.headers.get("Content-Type", "").startswith("text/html"),
        blocks=_blocks(url, response, limits) if status != 416 else iter(()),
    )


def _blocks(url: str, response: httpx.Response, limits: Limits) -> Iterator[bytes]:
    waited, count = 0.0, 0
    blocks = response.iter_raw()
    while True:
        begun = time.monotonic()
        block = next(blocks, None)
        waited += time.monotonic() - begun
        limits.check()
        if block is None:
            return
        count += len(block)
        if waited > _CONNECT_SECONDS + limits.stall_seconds + count / _LEAST_RATE:
            raise UnreachableError(
                f"the server sends less than {_LEAST_RATE} bytes/s", where=shown(url), remedy=_AGAIN
            )
        yield block


def _status_error(url: str, response: httpx.Response) -> PipelineError:
    reason = response.reason_phrase if response.reason_phrase.isprintable() else ""
    status = f"{response.status_code} {reason}".strip()
    if response.status_code >= 500 or response.status_code in _BUSY:
        said = response.headers.get("Retry-After", "")[:40]
        wait = said if said.isprintable() else ""
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
    why = scrubbed(str(error))
    if isinstance(error, httpx.TooManyRedirects | httpx.UnsupportedProtocol):
        return SourceError(f"the server leads nowhere: {why}", where=shown(url), remedy="give another source")
    if "CERTIFICATE" in why.upper():
        return SourceError(
            f"the server's certificate is not accepted: {why}",
            where=shown(url),
            remedy="check this machine's clock and certificate authorities (SSL_CERT_FILE)",
        )
    if isinstance(error, httpx.ProxyError) or (isinstance(error, httpx.ConnectError) and _has_proxy(url)):
        return UnreachableError(
            f"the proxy refuses or does not answer ({why})", where=shown(url), remedy=f"{PROXY}; {_AGAIN}"
        )
    if isinstance(error, httpx.TimeoutException):
        what = f"the server sent nothing for {limits.stall_seconds:.0f} s"
    else:
        what = f"the connection failed or broke off ({why or type(error).__name__})"
    return UnreachableError(what, where=shown(url), remedy=_AGAIN)


def _has_proxy(url: str) -> bool:
    """Whether the environment names a proxy for a URL."""
    parts, named = urlsplit(url), getproxies()
    host = parts.hostname or ""
    return bool(parts.scheme in named or "all" in named) and not (is_loopback(host) or proxy_bypass(host))


_AGAIN = "try again; what has arrived is kept"
