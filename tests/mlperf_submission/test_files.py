"""Whole files, paths that cannot leave their folder, and hashes."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.errors import DiskFullError, SettingError, SourceError
from mlperf_submission.files import (
    disk_full_named,
    files_below,
    inside,
    make_folder,
    own_folder,
    refusal_named,
    require_free_space,
    sha256_of,
    write_atomic,
    write_output,
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
            "import sys; from pathlib import Path; from mlperf_submission.files import write_atomic\n"
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


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask of a person who lets their group read, and nobody else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_the_umask_says_who_may_read_what_is_written(umask: None, tmp_path: Path) -> None:
    write_atomic(tmp_path / "ours", "x")
    write_output(tmp_path / "theirs", "x")
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o640, 0o640]


def test_a_name_as_long_as_the_file_system_allows_is_written_whole(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127):
        write_atomic(tmp_path / name, "x")
    assert {len(os.fsencode(path.name)) for path in tmp_path.iterdir()} == {255, 254}


def test_a_persons_file_is_written_to_and_stays_the_file_it_is(tmp_path: Path) -> None:
    file, link, other = tmp_path / "file", tmp_path / "link", tmp_path / "other name"
    file.write_text("a longer text that was there before")
    file.chmod(0o604)
    link.symlink_to(file)
    other.hardlink_to(file)
    before = file.stat()
    for path in (link, other):
        write_output(path, path.name)
        assert (file.read_text(), link.is_symlink()) == (path.name, True)
    after = file.stat()
    assert (after.st_ino, after.st_nlink, after.st_mode) == (before.st_ino, 2, before.st_mode)
    write_output(tmp_path / "new" / "folder" / "file", "half a pair: \ud83d")
    assert (tmp_path / "new" / "folder" / "file").read_text() == r"half a pair: \ud83d"


def test_a_device_and_a_pipe_are_written_to(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    write_output(pipe, "through the pipe")
    reader.join(10)
    assert received == ["through the pipe"]
    assert pipe.is_fifo()
    write_output(Path(os.devnull), "nothing")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(DiskFullError):
        write_output(Path("/dev/full"), "x")


def test_an_open_stream_of_ours_is_written_to_where_it_is(tmp_path: Path) -> None:
    with (tmp_path / "shown").open("w") as stream:
        stream.write("before, ")
        stream.flush()
        write_output(Path(f"/dev/fd/{stream.fileno()}"), "between")
        stream.write(", after")
    assert (tmp_path / "shown").read_text() == "before, between, after"


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path, tmp_path / "file" / "x", Path(f"/dev/fd/{writing}"), Path("/dev/fd/999999")):
        with pytest.raises(SettingError, match="the output cannot be written") as caught:
            write_output(path, "x")
        assert caught.value.where == str(path)
    os.close(writing)


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


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="not UTF-8"):
        own_folder(Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")))
    assert own_folder(tmp_path / "a" / ".." / "Ä \n#?") == tmp_path / "Ä \n#?"


@pytest.mark.parametrize("path", ["x" * 300, "f/" * 2500, "loop/x"])
@pytest.mark.parametrize(
    "use",
    [Path.exists, Path.is_dir, Path.mkdir, Path.read_bytes, os.listdir, lambda path: path.write_text("")],
)
def test_a_path_that_cannot_be_is_named(tmp_path: Path, path: str, use: Callable[[Path], object]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    try:
        use(tmp_path / path)
    except OSError as error:
        named = refusal_named(error)
        assert named is not None
        assert "too long" in named.what or "symbolic links" in named.what
        assert "shorter" in named.remedy


def test_a_folder_in_a_circle_of_links_or_in_nobodys_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SettingError, match="symbolic links"):
        make_folder(own_folder(tmp_path / "loop" / "work"))
    with pytest.raises(SettingError, match="the home of nobody"):
        own_folder(Path("~nosuch-user/work"))


def test_a_folder_too_deep_for_what_lies_in_it_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 230) / ("e" * 230)
    with pytest.raises(SettingError, match="480 are the most"):
        own_folder(deep / ("f" * 230))
    longest = tmp_path / ("d" * 230)
    longest = longest / ("e" * (480 - len(str(longest)) - 1))
    assert own_folder(longest) == longest
    (longest / "prefect").mkdir(parents=True)
    database = sqlite3.connect(longest / "prefect" / "prefect.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE one (number)")
    database.close()


def test_where_no_folder_can_be_the_disk_is_not_called_full() -> None:
    with pytest.raises(SettingError, match="cannot be made"), disk_full_named(Path("/proc")):
        make_folder(Path("/proc/x/y"))
    with pytest.raises(ValueError, match="another"), disk_full_named(Path("/proc")):
        raise ValueError("another")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_text("2")
    (tmp_path / "a").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["a", "b/two"]
    assert sha256_of(tmp_path / "a") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
