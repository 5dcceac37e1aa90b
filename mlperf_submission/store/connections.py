"""The connections of an S3 client, which take no more of a server than an answer may be.

botocore limits only how long a server may be silent: a byte every minute is an answer that never ends, and
what is no object is read into memory to its end, whatever its length.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import HTTPClientError, ReadTimeoutError
from urllib3.exceptions import HTTPError

from mlperf_submission.addresses import shown
from mlperf_submission.deadline import NotInTimeError, within
from mlperf_submission.errors import StoreError

ANSWER_SECONDS = 60.0
"""How long a server may take until its headers are there, and to send nothing in a body, in sum."""
LEAST_RATE = 10_000
"""bytes/s: whatever is sent or read at this rate and above has time enough."""
_LARGEST_ANSWER = 32 << 20
"""Bytes of an answer that is no object: a list of 1,000 keys has half a megabyte."""
_BLOCK = 1 << 18


class LimitedConnections:
    """Stands in for the `URLLib3Session` of a botocore client."""

    def __init__(self, connections: Any) -> None:
        self._connections = connections

    def send(self, request: Any) -> Any:
        """Send a prepared request; an answer that is no object is read here, as botocore would."""
        is_object, request.stream_output = request.stream_output, True
        sent = int(request.headers.get("Content-Length") or 0)
        try:
            answer = within(ANSWER_SECONDS + sent / LEAST_RATE, lambda: self._connections.send(request))
        except NotInTimeError:
            raise _late(request.url) from None
        answer.raw = _Body(answer.raw, request.url, None if is_object else _LARGEST_ANSWER)
        if not is_object:
            try:
                answer.content  # noqa: B018 - reads the body and keeps it
            except HTTPError as error:
                raise HTTPClientError(error=error) from error
        return answer

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


class _Body:
    """The body of an answer. How long an object may be, is known to whoever reads it."""

    def __init__(self, raw: Any, url: str, most: int | None) -> None:
        self._raw, self._url, self._most = raw, url, most
        self._waited, self._bytes = 0.0, 0

    def read(self, amt: int | None = None) -> bytes:
        """Return what is there, at most `amt` bytes; nothing only at the end. None reads to the end."""
        if amt is None:
            return b"".join(self.stream())
        begun = time.monotonic()
        block: bytes = self._raw.read1(amt)
        self._waited += time.monotonic() - begun
        self._bytes += len(block)
        if self._most is not None and self._bytes > self._most:
            self._raw.close()
            raise StoreError(
                f"the S3 server sends an answer of more than {self._most >> 20} MB that is no object",
                where=shown(self._url),
                remedy="check the endpoint: this is no S3 server that can be trusted",
            )
        if self._waited > ANSWER_SECONDS + self._bytes / LEAST_RATE:
            self._raw.close()
            raise _late(self._url)
        return block

    def stream(self) -> Iterator[bytes]:
        """Yield the blocks to the end."""
        return iter(lambda: self.read(_BLOCK), b"")

    def __getattr__(self, name: str) -> Any:
        """Be the response of urllib3 in all other respects."""
        return getattr(self._raw, name)


def _late(url: str) -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url=shown(url))
