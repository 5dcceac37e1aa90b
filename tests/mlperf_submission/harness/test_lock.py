from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlperf_submission.errors import HostBusyError, SettingError
from mlperf_submission.harness import lock as module
from mlperf_submission.harness.lock import default_lock_path, holders, host_lock, not_agreed

HOLD = """
import sys, time
from pathlib import Path
from mlperf_submission.harness.lock import host_lock
def waiting(_):
    print("waiting", flush=True)
with host_lock(Path(sys.argv[1]), sys.argv[2] == "shared", 900, what="the long run", on_wait=waiting):
    print("held", flush=True)
    time.sleep(900)
"""
ROOT = Path(__file__).resolve().parents[3]


def start_holder(path: Path, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def wait_until_held(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    while (said := child.stdout.readline()) == "waiting\n":
        pass
    assert said == "held\n"


def wait_until_it_waits(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"


def end(*children: subprocess.Popen[str]) -> None:
    for child in children:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def test_a_measurement_excludes_everything_and_is_named(lock: Path) -> None:
    child = start_holder(lock, "alone")
    try:
        wait_until_held(child)
        messages: list[str] = []
        for shared in (True, False):
            with (
                pytest.raises(HostBusyError) as caught,
                host_lock(lock, shared, 0.2, on_wait=messages.append),
            ):
                pass
            assert f"process {child.pid} (the long run)" in str(caught.value)
        assert any(f"process {child.pid} (the long run)" in message for message in messages)
    finally:
        end(child)


def test_preparation_overlaps_preparation_but_no_measurement(lock: Path) -> None:
    child = start_holder(lock, "shared")
    try:
        wait_until_held(child)
        with host_lock(lock, True, 5):
            assert len(holders(lock)) == 2
        with pytest.raises(HostBusyError, match="preparation"), host_lock(lock, False, 0.2):
            pass
    finally:
        end(child)


def test_the_kernel_frees_the_lock_of_a_killed_process(lock: Path) -> None:
    child = start_holder(lock, "alone")
    wait_until_held(child)
    end(child)
    with host_lock(lock, False, 5):
        assert holders(lock)[0].startswith(f"process {os.getpid()}")
    assert holders(lock) == []


def test_a_waiting_measurement_is_not_overtaken_by_later_preparation(lock: Path) -> None:
    first = start_holder(lock, "shared")
    wait_until_held(first)
    measurement = start_holder(lock, "alone")
    wait_until_it_waits(measurement)
    later = start_holder(lock, "shared")
    try:
        end(first)
        wait_until_held(measurement)
        with pytest.raises(HostBusyError, match="the long run"), host_lock(lock, True, 0.2):
            pass
        end(measurement)
        wait_until_held(later)
    finally:
        end(first, measurement, later)


def test_a_lock_file_that_was_removed_while_somebody_waited_is_not_taken_for_the_lock(lock: Path) -> None:
    first = start_holder(lock, "alone")
    wait_until_held(first)
    waiting = start_holder(lock, "alone")
    wait_until_it_waits(waiting)
    lock.unlink()
    try:
        with host_lock(lock.with_name("other"), False, 1):  # somebody else makes the file anew and locks it
            os.link(lock.with_name("other"), lock)
            end(first)
            time.sleep(0.5)
            assert waiting.poll() is None
            assert [text.split()[1] for text in holders(lock)] == [str(os.getpid())]
        wait_until_held(waiting)
    finally:
        end(first, waiting)


def test_an_error_inside_the_block_frees_the_lock(lock: Path) -> None:
    with pytest.raises(RuntimeError), host_lock(lock, False, 1):
        raise RuntimeError
    with host_lock(lock, False, 1):
        pass


def test_a_link_is_never_followed(tmp_path: Path, lock: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep me")
    lock.symlink_to(target)
    with pytest.raises(SettingError, match="cannot be opened"), host_lock(lock, False, 1):
        pass
    assert target.read_text() == "keep me"


def test_the_lock_file_is_open_to_all_users_of_the_host(lock: Path) -> None:
    with host_lock(lock, False, 1):
        assert lock.stat().st_mode & 0o777 == 0o666
    assert default_lock_path().name == "mlperf-submission.lock"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(lock: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    path = Path("/dev/null") if kind == "device" else lock
    assert holders(path) == []
    with pytest.raises(SettingError, match="cannot be opened"), host_lock(path, False, 1):
        pass


def test_the_content_of_a_lock_file_is_read_with_a_limit_and_cannot_steer_a_terminal(lock: Path) -> None:
    child = start_holder(lock, "alone")
    try:
        wait_until_held(child)
        with lock.open("r+b") as stream:
            stream.write(f"{child.pid} \x1b]0;title\x07".encode())
            stream.truncate(3 << 30)
        (holder,) = holders(lock)
        assert holder.startswith(rf"process {child.pid} (\x1b]0;title\x07")
        with pytest.raises(HostBusyError), host_lock(lock, False, 0.2):
            pass
    finally:
        end(child)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of which nothing is known yet: no folder for locks, no container."""
    monkeypatch.setattr(module, "_PLACES", (tmp_path / "run_lock", tmp_path / "shm"))
    monkeypatch.setattr(module, "_IN_CONTAINER", (tmp_path / "containerenv",))
    return tmp_path


def test_all_users_of_a_host_find_the_same_lock(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, mode in (("run_lock", 0o755), ("shm", 0o1777)):
        (host / name).mkdir()
        (host / name).chmod(mode)
    for job in ("one", "two"):  # as root, who could write the first folder, and with a TMPDIR of its own
        monkeypatch.setenv("TMPDIR", str(host / job))
        assert default_lock_path().parent == host / "shm"
        assert not_agreed(None) == ""


def test_a_lock_that_others_do_not_find_is_said_to_be_one(host: Path) -> None:
    assert "is not where they look for it" in not_agreed(None)
    (host / "run_lock").mkdir(mode=0o777)
    (host / "run_lock").chmod(0o1777)
    assert not_agreed(None) == ""
    (host / "containerenv").touch()
    assert "outside of this container" in not_agreed(None)
    assert not_agreed(host / "named by a person") == ""
