"""Whole files, paths that cannot leave their folder, and hashes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DiskFullError, SourceError
from common.files import (
    disk_full_named,
    files_below,
    inside,
    require_free_space,
    sha256_of,
    write_atomic,
)

ROOT = Path(__file__).resolve().parents[2]


def test_a_written_file_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "file.txt", "first")
    write_atomic(tmp_path / "deep" / "file.txt", b"second")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file.txt"]
    assert (tmp_path / "deep" / "file.txt").read_text() == "second"


def test_a_writer_that_is_killed_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"a" * 100)
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from common.files import write_atomic\n"
            "print('ready', flush=True)\n"
            "while True: write_atomic(Path(sys.argv[1]), b'b' * 3_000_000)",
            str(target),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert target.read_bytes() in (b"a" * 100, b"b" * 3_000_000)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a\0b", ".."])
def test_a_name_that_would_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="would leave its folder"):
        inside(tmp_path, name)


@given(st.text(max_size=40))
def test_whatever_is_accepted_lies_inside(name: str) -> None:
    folder = Path("/some/folder")
    try:
        path = inside(folder, name)
    except SourceError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(folder)


def test_a_full_disk_is_named_before_and_while_writing(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"too full: the download needs .* GB, but only"):
        require_free_space(tmp_path / "not" / "there", 10**18, "the download")
    with pytest.raises(DiskFullError, match="the disk is full") as caught, disk_full_named(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(tmp_path) in str(caught.value)
    assert "What to do" in str(caught.value)
    with pytest.raises(PermissionError), disk_full_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_whatever_fails_on_a_full_disk_failed_for_want_of_space(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system that can be filled")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "full", str(tmp_path)], check=True)
    try:
        with pytest.raises(DiskFullError, match=r"full \(the log ends\)"), disk_full_named(tmp_path / "new"):
            raise ValueError("the log ends")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_text("2")
    (tmp_path / "a").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["a", "b/two"]
    assert sha256_of(tmp_path / "a") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
