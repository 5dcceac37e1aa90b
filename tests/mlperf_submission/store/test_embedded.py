"""The embedded S3 server: really started, really spoken to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlperf_submission.errors import StepFailedError, UnreachableError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.embedded import Endpoint, embedded_s3
from tests.waiting import until

PROJECT = Path(__file__).resolve().parents[3]


def bucket_at(endpoint: Endpoint) -> Bucket:
    bucket = Bucket("shared", endpoint_url=endpoint.url, credentials=endpoint.credentials)
    bucket.ensure()
    return bucket


def test_objects_of_an_earlier_server_are_there_again(tmp_path: Path) -> None:
    with embedded_s3(tmp_path / "data", tmp_path / "log") as first:
        bucket_at(first).write("a/b", b"kept")
    with embedded_s3(tmp_path / "data", tmp_path / "log") as second:
        assert bucket_at(second).read("a/b") == b"kept"
    assert (tmp_path / "data/shared/a/b").read_bytes() == b"kept"
    assert first.secret_key != second.secret_key


def test_two_servers_on_one_folder_see_what_the_other_writes(tmp_path: Path) -> None:
    with (
        embedded_s3(tmp_path / "data", tmp_path / "log1") as first,
        embedded_s3(tmp_path / "data", tmp_path / "log2") as second,
    ):
        one, two = bucket_at(first), bucket_at(second)
        one.write("x/of-one", b"1")
        two.write("x/of-two", b"2")
        until(lambda: list(one.keys("x/")) == list(two.keys("x/")))
        assert list(one.keys("x/")) == list(two.keys("x/")) == ["x/of-one", "x/of-two"]
        assert (one.read("x/of-two"), two.read("x/of-one")) == (b"2", b"1")


def test_secret_is_in_no_command_line_log_or_text(tmp_path: Path) -> None:
    with embedded_s3(tmp_path / "data", tmp_path / "log") as endpoint:
        bucket_at(endpoint)
        listing = subprocess.run(
            ["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True
        ).stdout
        assert "serve s3" in listing
        assert endpoint.secret_key not in listing
        assert endpoint.secret_key not in repr(endpoint)
        assert endpoint.secret_key not in repr(endpoint.credentials)
    assert endpoint.secret_key not in (tmp_path / "log").read_text()


def test_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "rclone"
    program.write_text("#!/bin/sh\necho nonsense\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(f"{embedded_s3.__module__}.rclone_program", lambda: program)
    with pytest.raises(StepFailedError, match="nonsense"), embedded_s3(tmp_path / "data", tmp_path / "log"):
        pass


SERVE = """
import sys, time
from pathlib import Path
from mlperf_submission.store.embedded import embedded_s3
with embedded_s3(Path(sys.argv[1]), Path(sys.argv[2])) as endpoint:
    print(endpoint.url, flush=True)
    time.sleep(900)
"""


def test_server_ends_with_its_owner_even_by_kill(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SERVE, str(tmp_path / "data"), str(tmp_path / "log")]
    owner = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("http://127.0.0.1:")
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    until(lambda: not _servers_of(tmp_path), "the server's end")


def _servers_of(folder: Path) -> list[str]:
    commands = [path / "cmdline" for path in Path("/proc").iterdir() if path.name.isdecimal()]
    found = []
    for command in commands:
        try:
            arguments = os.fsdecode(command.read_bytes())
        except OSError:
            continue
        if str(folder) in arguments and "serve" in arguments:
            found.append(arguments)
    return found


def test_old_leftovers_of_killed_uploads_are_removed(tmp_path: Path) -> None:
    (tmp_path / "data/b").mkdir(parents=True)
    old, young = tmp_path / "data/b/.rclone_temp_put_1", tmp_path / "data/b/.rclone_temp_put_2"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    with embedded_s3(tmp_path / "data", tmp_path / "log"):
        assert not old.exists()
        assert young.exists()


def test_a_server_that_is_killed_is_there_again_with_the_same_key(tmp_path: Path) -> None:
    with embedded_s3(tmp_path / "data", tmp_path / "log") as endpoint:
        bucket = bucket_at(endpoint)
        bucket.write("a/b", b"kept")
        children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()
        server = next(pid for pid in children if "rclone" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(int(server), signal.SIGKILL)

        def is_kept() -> bool:
            try:
                return bucket.read("a/b") == b"kept"
            except UnreachableError:
                return False

        until(is_kept)


def test_two_that_start_at_once_with_one_log_each_have_their_own_address(tmp_path: Path) -> None:
    def use(number: int) -> bytes | None:
        with embedded_s3(tmp_path / "data", tmp_path / "log") as endpoint:
            bucket = bucket_at(endpoint)
            bucket.write(f"of/{number}", b"mine")
            return bucket.read(f"of/{number}")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [b"mine"] * 4
