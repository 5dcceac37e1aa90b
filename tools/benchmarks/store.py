"""The store against `rclone copy`: the same files up and down, through the same S3 server."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlperf_submission.store.embedded import Endpoint, embedded_s3, rclone_program
from mlperf_submission.store.store import RunFile, RunInfo, Store

SETS = {
    "99 of 1 MB, 1 of 101 MB": ((99, 1_000_000), (1, 101_000_000)),
    "300 of 30 kB": ((300, 30_000),),
}
"""What is moved at once: numbers of files, and bytes of each. The largest goes in parts."""
_BLOCK = 1 << 20
_WORKERS = 8
_RCLONE = (
    "--transfers",
    str(_WORKERS),
    "--checkers",
    str(_WORKERS),
    "--s3-upload-concurrency",
    "4",
    "--s3-upload-cutoff",
    "64M",
    "--s3-chunk-size",
    "32M",
    "--checksum",
)
"""As many transfers at once, and parts of the same size, as the store has."""


@dataclass(frozen=True)
class Transfer:
    """Seconds for one direction, medians.

    Attributes:
        name: `upload` or `retrieval`.
        ours: the store, which verifies every file: an upload by the server's MD5, else by reading it back.
        copied: `rclone copy --checksum`, which verifies the MD5 where the server's entity tag is one.
        checked: the same, then `rclone check --download`, which compares every byte: what the store does.
    """

    name: str
    ours: float
    copied: float
    checked: float


def against_rclone(work: Path, kinds: Sequence[tuple[int, int]], *, repeats: int) -> list[Transfer]:
    """Move the same files with the store and with rclone, in turn, through S3 servers of the same kind.

    Args:
        work: a folder for everything: three times the size of the files.
        kinds: how many files, and the bytes of each.
        repeats: how often each is measured.
    """
    files = _make_files(work / "source", kinds)
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        for measure in (_with_store, _with_rclone):
            with embedded_s3(work / "s3", work / "s3.log") as endpoint:
                for name, took in measure(endpoint, work, files).items():
                    seconds.setdefault(name, []).append(took)
            for folder in ("s3", "restored"):
                shutil.rmtree(work / folder)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        Transfer(
            name,
            median[f"store {way}"],
            median[f"copy {way}"],
            median[f"copy {way}"] + median[f"check {way}"],
        )
        for name, way in (("upload", "up"), ("retrieval", "down"))
    ]


def _with_store(endpoint: Endpoint, work: Path, files: list[RunFile]) -> dict[str, float]:
    store = Store("store", endpoint_url=endpoint.url, credentials=endpoint.credentials, workers=_WORKERS)
    store.ensure_bucket()
    info = RunInfo(
        system="benchmark",
        run="run",
        round="v4.1",
        created=datetime.now(UTC),
        rehearsal=True,
        tool_version="0",
    )
    return {
        "store up": _seconds(lambda: store.upload_run(info, files)),
        "store down": _seconds(lambda: store.fetch_run("rehearsals/benchmark/run", work / "restored")),
    }


def _with_rclone(endpoint: Endpoint, work: Path, _files: list[RunFile]) -> dict[str, float]:
    source, restored, remote = str(work / "source"), str(work / "restored"), "theirs:bucket/run"
    check = ("check", "--download", "--checkers", str(_WORKERS))
    return {
        "copy up": _seconds(lambda: _rclone(endpoint, "copy", *_RCLONE, source, remote)),
        "check up": _seconds(lambda: _rclone(endpoint, *check, source, remote)),
        "copy down": _seconds(lambda: _rclone(endpoint, "copy", *_RCLONE, remote, restored)),
        "check down": _seconds(lambda: _rclone(endpoint, *check, restored, remote)),
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _make_files(folder: Path, kinds: Sequence[tuple[int, int]]) -> list[RunFile]:
    """Write the files: random, so that nothing is stored once for two and nothing can be compressed."""
    content = random.Random(1)
    files = []
    for kind, (count, size) in enumerate(kinds):
        for number in range(count):
            path = f"{kind}/{number % 10}/{number}.bin"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("wb") as stream:
                for start in range(0, size, _BLOCK):
                    stream.write(content.randbytes(min(_BLOCK, size - start)))
            files.append(RunFile(path, folder / path))
    return files


def _rclone(endpoint: Endpoint, *arguments: str) -> None:
    environment = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_THEIRS_TYPE": "s3",
        "RCLONE_CONFIG_THEIRS_PROVIDER": "Rclone",
        "RCLONE_CONFIG_THEIRS_ENDPOINT": endpoint.url,
        "RCLONE_CONFIG_THEIRS_ACCESS_KEY_ID": endpoint.access_key,
        "RCLONE_CONFIG_THEIRS_SECRET_ACCESS_KEY": endpoint.secret_key,
    }
    subprocess.run(
        [str(rclone_program()), *arguments],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
