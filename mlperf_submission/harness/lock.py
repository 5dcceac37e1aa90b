"""The lock of the host: measurements have it alone, preparation steps share it.

The lock is the kernel's (flock): it is freed when its holder ends, however it ends. The file's content only
tells people who wait for whom. A holder must not ask for the lock a second time: it would wait for itself.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.errors import HostBusyError, SettingError
from mlperf_submission.text import printable

_POLL_SECONDS = 0.05
_REPORT_SECONDS = 10.0
_NAME = "mlperf-submission.lock"
_WITH_CARE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
"""Whatever stands at the path: no link is followed, no pipe waited for, no terminal taken."""
_PLACES = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 - see `default_lock_path`
_IN_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/var/run/secrets/kubernetes.io"))
_KEPT_BYTES = 500


def default_lock_path() -> Path:
    """Return the lock file of this host, at a place that does not depend on who asks.

    It is the first folder of a fixed list that every user can write. `/run/lock` is root's alone on some
    systems; `/dev/shm` is there in services that have a `/tmp` of their own; TMPDIR is a job's.
    """
    return next((place for place in _PLACES if _is_everybodys(place)), Path(tempfile.gettempdir())) / _NAME


def not_agreed(path: Path | None) -> str:
    """Return why others on this host may look for its lock elsewhere; the empty text if they do not.

    Args:
        path: a lock file that a person named, who then answers for it; None for the default.
    """
    lock_file = path or default_lock_path()
    if path is not None:
        return ""
    if any(mark.exists() for mark in _IN_CONTAINER):
        if lock_file.parent == _PLACES[0] and lock_file.parent.is_mount():
            return ""
        return (
            f"measurements outside of this container: its lock {lock_file} is not the host's "
            f"(mount the host's {_PLACES[0]} here)"
        )
    if lock_file.parent in _PLACES:
        return ""
    return (
        f"measurements of other users: the lock {lock_file} is not where they look for it (make one of "
        f"{', '.join(map(str, _PLACES))} writable for all)"
    )


def _is_everybodys(folder: Path) -> bool:
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and bool(mode & stat.S_IWOTH)


@dataclass(frozen=True)
class HeldLock:
    """The lock while it is held."""

    path: Path
    descriptor: int

    @property
    def in_place(self) -> bool:
        """Whether the lock file is still the one that is locked.

        Nobody has a reason to remove it; if somebody did, others may have had "the lock" at the same time.
        """
        return _is_at(self.path, self.descriptor)


@contextmanager
def host_lock(
    path: Path | None,
    shared: bool,
    timeout_seconds: float,
    *,
    what: str = "",
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[HeldLock]:
    """Hold the lock of the host for the length of the block.

    Who comes first is served first: a waiting measurement is not overtaken by preparation that starts later
    (everybody queues at a second lock, `<path>.queue`, while waiting for the first).

    Args:
        path: the lock file, the same for all users of the host; None for the default.
        shared: True for preparation, False for a measurement.
        timeout_seconds: how long to wait.
        what: what the holder does, in a few words, for those who wait.
        on_wait: called with a message that names the holder, when waiting starts and every ten seconds.

    Raises:
        HostBusyError: the lock did not become free in time; the message names the holder.
        SettingError: the lock file cannot be opened.
    """
    lock_file = path or default_lock_path()
    queue_file = lock_file.with_name(lock_file.name + ".queue")
    wait = _Wait(lock_file, time.monotonic() + timeout_seconds, timeout_seconds, on_wait)
    queue = _acquire(queue_file, fcntl.LOCK_EX, wait)
    try:
        lock = _acquire(lock_file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait)
    finally:
        os.close(queue)
    try:
        if not shared:
            _write_holder(lock, f"{os.getpid()} {what}\n")
        yield HeldLock(lock_file, lock)
        if not shared:
            _write_holder(lock, "")
    finally:
        os.close(lock)  # frees the lock


def holders(path: Path | None = None) -> list[str]:
    """Return who holds the lock now, as far as the kernel tells: `process 4711 (what it does)` each."""
    lock_file = path or default_lock_path()
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | _WITH_CARE)
        try:
            status = os.fstat(descriptor)
            content = os.read(descriptor, _KEPT_BYTES) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(descriptor)
        table = Path("/proc/locks").read_text()
    except OSError:
        return []
    if content is None:  # no lock file, and its number may be that of another file system's
        return []
    writer, _, what = printable(content.decode(errors="replace").strip()).partition(" ")
    found = []
    for line in table.splitlines():
        fields = line.split()
        # "1: FLOCK ADVISORY WRITE 4711 00:1b:42 0 EOF"; waiting ones have "->" as their second field.
        if len(fields) < 6 or fields[1] != "FLOCK" or fields[5].rpartition(":")[2] != str(status.st_ino):
            continue
        pid = fields[4]
        if fields[3] == "READ":
            found.append(f"process {pid} (preparation)")
        else:
            found.append(f"process {pid} ({what if pid == writer and what else 'a measurement'})")
    return found


def _open(path: Path) -> int:
    """Open a lock file for everybody: never through a link, created readable and writable for all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _opened_or_made(path)
    except OSError as error:
        raise SettingError(
            f"the lock file of the host cannot be opened: {error.strerror}",
            where=path,
            remedy="make its folder writable, or name another lock file that all users here can write",
        ) from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise SettingError(
        "the lock file of the host cannot be opened: it is a pipe, a device or a folder",
        where=path,
        remedy="remove it, or name another lock file",
    )


def _opened_or_made(path: Path) -> int:
    while True:
        try:
            # Without O_CREAT: in sticky folders the kernel refuses it for files of other users.
            return os.open(path, os.O_RDWR | _WITH_CARE)
        except FileNotFoundError:
            pass
        except PermissionError:
            return os.open(path, os.O_RDONLY | _WITH_CARE)
        try:
            descriptor = os.open(path, os.O_RDWR | _WITH_CARE | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        os.fchmod(descriptor, 0o666)
        return descriptor


@dataclass
class _Wait:
    """How long to wait, and whom to tell for whom."""

    lock_file: Path
    deadline: float
    timeout_seconds: float
    on_wait: Callable[[str], None]
    next_report: float = 0.0

    def once(self) -> None:
        """Sleep a moment.

        Raises:
            HostBusyError: the time is over.
        """
        now = time.monotonic()
        who = ""
        if now >= self.deadline or now >= self.next_report:
            who = ", ".join(holders(self.lock_file)) or "another process that waits for it"
        if now >= self.deadline:
            raise HostBusyError(
                f"the host is still in use by {who} after {self.timeout_seconds:.0f} s of waiting",
                where=self.lock_file,
                remedy="wait until it has finished, or end it; the lock is freed with its process",
            )
        if now >= self.next_report:
            self.on_wait(f"waiting for the host, which is in use by {who}")
            self.next_report = now + _REPORT_SECONDS
        time.sleep(_POLL_SECONDS)


def _acquire(path: Path, kind: int, wait: _Wait) -> int:
    """Return the descriptor of a lock file that is locked.

    Somebody may remove the file while we wait for it, and others then lock a new one of the same name: what
    counts is the file that the name stands for.
    """
    descriptor = _open(path)
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                wait.once()
                continue
            if _is_at(path, descriptor):
                return descriptor
            os.close(descriptor)
            descriptor = -1
            descriptor = _open(path)
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        raise


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, text: str) -> None:
    """Name the holder in the file. Only a message for people: a failure to write it is no failure."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode()[:_KEPT_BYTES], 0)
    except OSError:
        return
