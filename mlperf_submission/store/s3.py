"""The S3 client as every server understands it (AWS, MinIO, Ceph, rclone), and its errors as ours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from mlperf_submission.addresses import PROXY, is_loopback, scrubbed, shown
from mlperf_submission.errors import PipelineError, SettingError, StoreError, UnreachableError
from mlperf_submission.store.connections import ANSWER_SECONDS, LimitedConnections

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REFUSED_CODES = frozenset(
    {
        "403",
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
    }
)
_BUSY_CODES = frozenset(
    {
        "InternalError",
        "InvalidPart",
        "NoSuchUpload",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
    }
)
"""A server that restarts forgets its multipart uploads, or parts: the whole upload is to be made again."""
_NOTABLE_SKEW_SECONDS = 60
_BROKEN_NAMES = ("RetriesExceededError", "ResponseStreamingError", "S3DownloadFailedError")
_SKEWED = "RequestTimeTooSkewed"


@dataclass(frozen=True)
class Credentials:
    """An access key; the secret parts are not shown."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Encryption:
    """The encryption at rest that is asked of the server for every object.

    Attributes:
        kind: `none` (what the bucket does by itself), `AES256` (the server's keys) or `aws:kms`.
        key_id: of the KMS key; None takes the bucket's default key.
    """

    kind: Literal["none", "AES256", "aws:kms"] = "none"
    key_id: str | None = None

    def __str__(self) -> str:
        """The encryption as a message names it."""
        return f"encryption {self.kind}" + (f" with the key {self.key_id!r}" if self.key_id else "")

    def parameters(self) -> dict[str, Any]:
        """Return what boto3's calls that write take."""
        if self.kind == "none":
            return {}
        key = {"SSEKMSKeyId": self.key_id} if self.key_id else {}
        return {"ServerSideEncryption": self.kind, **key}

    def require_confirmed(self, answer: Mapping[str, Any], where: str) -> None:
        """Raise StoreError unless the server's answer says that the object is encrypted as was asked for.

        Args:
            answer: boto3's, to a write or a HEAD.
            where: the object's address.
        """
        if self.kind == "none":
            return
        found, key = answer.get("ServerSideEncryption"), str(answer.get("SSEKMSKeyId", ""))
        if found != self.kind:
            raise StoreError(
                f"the S3 server does not encrypt as it was asked to: expected {self.kind}, "
                + (f"it says {found}" if found else "it says nothing of it"),
                where=where,
                remedy="switch encryption on at the server, or set store.encryption to what it can do",
            )
        # A server may answer with the full name of a key that was given by its id; an alias has another.
        if self.key_id and "alias/" not in self.key_id and key and self.key_id.split("/")[-1] not in key:
            raise StoreError(
                f"the S3 server encrypts with another key: expected {self.key_id}, it says {key}",
                where=where,
                remedy="correct store.kms_key_id, or the bucket's policy",
            )


def make_client(
    endpoint_url: str | None = None,
    credentials: Credentials | None = None,
    *,
    region: str | None = None,
    isolated: bool = False,
    attempts: int = 4,
    connections: int = 32,
) -> S3Client:
    """Make an S3 client (boto3) whose answers are limited in time and size (`connections`).

    Checksums of the newer AWS protocol are only used where they are asked for: other servers refuse or garble
    them. Buckets are addressed by path wherever an endpoint is given, so it needs no wildcard DNS.

    Args:
        endpoint_url: `http(s)://host[:port]`; None asks boto3's own configuration, then AWS. A user and a
            password in it are left out: S3 knows none.
        credentials: None lets boto3 look where it always looks (environment, files, instance role).
        region: None asks boto3's own configuration, then us-east-1.
        isolated: take nothing from the environment and the files that a person has for AWS: for a server of
            our own, with its own endpoint and credentials.
        attempts: requests that fail are made again, up to this often in all.
        connections: at most this many at once.

    Raises:
        SettingError: the endpoint is no URL.
        StoreError: boto3's own configuration is wrong, e.g. its profile does not exist.
    """
    import boto3
    from botocore.config import Config

    endpoint = None if endpoint_url is None else _endpoint(endpoint_url)
    host = urlsplit(endpoint or "").hostname
    options: dict[str, Any] = {
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "connect_timeout": 10,
        "read_timeout": ANSWER_SECONDS,
        "max_pool_connections": connections,
        "s3": {"addressing_style": "path" if host and not host.endswith(".amazonaws.com") else "auto"},
    }
    if isolated or (host and is_loopback(host)):
        options["proxies"] = {}
    with s3_errors(endpoint or "S3"):
        session = boto3.session.Session(
            aws_access_key_id=credentials.access_key if credentials else None,
            aws_secret_access_key=credentials.secret_key if credentials else None,
            aws_session_token=credentials.session_token if credentials else None,
            botocore_session=_session(isolated=isolated),
        )
        client = session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region or session.region_name or "us-east-1",
            config=Config(**options),
        )
    # Not part of botocore's public interface, which has no place for it;
    # tests/mlperf_submission/store/test_limits.py.
    sender: Any = client._endpoint  # type: ignore[attr-defined]
    sender.http_session = LimitedConnections(sender.http_session)
    return client


def _session(*, isolated: bool) -> Any:
    """Return a botocore session; an isolated one knows no variable, no profile and no file of the person's.

    All share what botocore reads of its own data, the largest part of making a client.
    """
    from botocore import session as botocore_session
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

    settings: dict[str, Any] = {}
    if isolated:
        known = BOTOCORE_DEFAUT_SESSION_VARIABLES
        settings = {name: (None, None, *rest) for name, (_, _, *rest) in known.items()}
        for name in ("config_file", "credentials_file"):
            settings[name] = (None, None, os.devnull, None)
    session = botocore_session.Session(session_vars=settings)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@cache
def _loader(folders: str | None) -> Any:
    """Return what reads botocore's own data, and the person's folders of such data; it keeps what it read."""
    from botocore.loaders import create_loader

    return create_loader(folders)


def _endpoint(url: str) -> str:
    """Return an endpoint without user, password and query."""
    try:
        parts = urlsplit(url)
        proper = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        proper = False
    if not proper:
        raise SettingError(
            f"{shown(url)!r} is no S3 endpoint",
            where="store.endpoint_url or AWS_ENDPOINT_URL",
            remedy="write http(s)://host[:port]",
        )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@contextmanager
def s3_errors(where: str, *, key: str = "", bucket: str = "") -> Iterator[None]:
    """Turn the errors of boto3 into the project's.

    Args:
        where: the endpoint, for the message.
        key: the object that the block is about.
        bucket: its bucket.

    Raises:
        UnreachableError: the server is down, breaks off or is busy; a retry can help.
        StoreError: it refuses the key, or there is no such bucket or object.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError
    from urllib3.exceptions import HTTPError

    where = shown(where)
    try:
        yield
    except ClientError as error:
        raise _of_answer(error.response, where, bucket, key) from error
    except (
        BotoCoreError,
        Boto3Error,
        HTTPError,
        ResponseParserError,
        RetriesExceededError,
        S3DownloadFailedError,  # the object was written anew while it was read
    ) as error:
        raise _of_transport(error, where) from error


def _of_answer(response: Any, where: str, bucket: str, key: str) -> PipelineError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    subject = f"{bucket}/{key}" if key else bucket
    if status >= 500 or status == 429 or code in _BUSY_CODES:
        return UnreachableError(
            f"the S3 server answers {code or status}",
            where=where,
            remedy="try again later; what is done is kept",
        )
    if code == "NoSuchBucket" or (status == 404 and not key):
        return StoreError(
            f"there is no bucket {bucket!r}",
            where=where,
            remedy="create it, or correct the bucket's name in the system file",
            code="stored-run",
        )
    if status == 404:
        return StoreError(
            f"there is no object {subject!r}",
            where=where,
            remedy="check the name; list the runs",
            code="stored-run",
        )
    if code == _SKEWED:
        return StoreError(
            "this machine's clock differs too much from the S3 server's"
            + (f": {_difference(response)}" if _difference(response) else ""),
            where=where,
            remedy="set the clock (timedatectl set-ntp true), then start again; what is done is kept",
        )
    if code in _REFUSED_CODES or status in (401, 403):
        return StoreError(
            f"the S3 server refuses the access key for {subject or 'this request'} ({code or status})",
            where=where,
            remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or a profile) to a key that may use "
            "this bucket, and check this machine's clock",
        )
    message = scrubbed(str(response.get("Error", {}).get("Message", ""))[:200])
    return StoreError(
        f"the S3 server refuses the request for {subject or 'a bucket'} ({code or status}: {message})",
        where=where,
        remedy="correct the bucket or prefix in the system file, or see the server's log",
    )


def _difference(response: Any) -> str:
    """Return how far our clock is from the one in a server's answer, or nothing if it does not say."""
    try:
        theirs = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, TypeError, ValueError):
        return ""
    seconds = round((datetime.now(UTC) - theirs).total_seconds())
    if abs(seconds) < _NOTABLE_SKEW_SECONDS:
        return ""
    return f"it is {abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}"


def _of_transport(error: Exception, where: str) -> PipelineError:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    if isinstance(error, exceptions.SSLError):
        return StoreError(
            f"the S3 server's certificate is not accepted: {scrubbed(str(error))}",
            where=where,
            remedy=_CERTIFICATE,
        )
    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError,
    ):
        return StoreError(
            "no complete S3 access key was found",
            where=where,
            remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws",
        )
    if isinstance(error, exceptions.ProxyConnectionError):
        return UnreachableError("the proxy does not answer", where=where, remedy=f"{PROXY}; start again")
    broken = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        HTTPError,  # botocore lets it through where the body of an answer other than an object breaks off
        ResponseParserError,
    )
    if isinstance(error, broken) or type(error).__name__ in _BROKEN_NAMES:
        return UnreachableError(
            f"the S3 server does not answer, or broke off ({type(error).__name__})",
            where=where,
            remedy="check the endpoint, that the server runs and that this machine reaches it; start again",
        )
    return StoreError(
        f"S3 failed: {scrubbed(str(error))}", where=where, remedy="check the S3 settings of this machine"
    )


_CERTIFICATE = (
    "give the endpoint a certificate of an authority that this machine trusts (AWS_CA_BUNDLE adds one)"
)
