"""Child processes that end with their parent, at their time limit, and as a whole group.

A child of ours is a module with a `main(request_file, result_file)`: it reads its request as JSON, writes its
result as JSON, and reports progress as lines on standard output. Everything native and long runs this way:
a Python thread that is inside native code can be neither timed out nor cancelled, a process can.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mlperf_submission.errors import PipelineError, StepFailedError, StepTimeoutError
from mlperf_submission.files import write_atomic
from mlperf_submission.fork_server import Forked, fork_module

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_REVIVAL_SECONDS = 1.0
"""Pause before a server is started again, so that one that cannot start does not take the machine."""
_GRACE_SECONDS = 3.0
_KEPT_LINES = 40
_PRINTED_BYTES = 1 << 16
LOCKED_LINE = "::locked"
"""A child prints this when it has the lock it waited for: its time limit counts from here."""
_PROGRESS_PREFIX = "::progress "
_ANY_LOCALE = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
"""A child of ours can print every character, whatever the person's locale has."""
_OF_A_SERVICE = re.compile(r"PATH|HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_[A-Z]+|LD_LIBRARY_PATH")
"""Variables that a service of ours gets from the person: where programs and folders are, language, time zone.
No proxy, no profile, no setting of a program among them."""


def print_progress(done: float, total: float = 1.0, *, stream: TextIO | None = None) -> None:
    """Tell the parent how far this child is: `done` of `total`, in any unit.

    Args:
        done: how much is done.
        total: how much there is to do.
        stream: the child's standard output; to be given where that is redirected for a while.
    """
    print(f"{_PROGRESS_PREFIX}{done} {total}", file=stream or sys.stdout, flush=True)


def progress_in(line: str) -> float | None:
    """Return the fraction (0 to 1) that a child's progress line reports, or None if it is another line."""
    if not line.startswith(_PROGRESS_PREFIX):
        return None
    try:
        done, total = (float(part) for part in line.split()[1:3])
        return min(max(done / total, 0.0), 1.0)
    except (ValueError, ZeroDivisionError):
        return None


def peak_bytes() -> int | None:
    """Return the most memory that this process held; getrusage would count its parent's before the exec."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def search_path() -> str:
    """Return the PYTHONPATH with which a child finds this project, wherever it works."""
    project = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(filter(None, [project, os.environ.get("PYTHONPATH")]))


def end_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when the thread that started it ends (Linux).

    Args:
        parent: the process id of the parent, to notice that it died before this call.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        sys.exit(f"the parent process {parent} is gone")


_ENDED: ContextVar[threading.Event | None] = ContextVar("ended", default=None)


@contextmanager
def ended_together() -> Iterator[None]:
    """Let the children that other threads wait for end when an exception leaves the block (Ctrl-C).

    Those threads have to be started in the block with its context (`contextvars.copy_context`).
    """
    ended = threading.Event()
    token = _ENDED.set(ended)
    try:
        yield
    except BaseException:
        ended.set()
        raise
    finally:
        _ENDED.reset(token)


def run_module(
    module: str,
    request: Mapping[str, Any],
    *,
    timeout_seconds: float,
    on_line: Callable[[str], None] = lambda _: None,
    log: Path | None = None,
    cwd: Path | None = None,
    waits_for_lock: bool = False,
) -> dict[str, Any]:
    """Run `python -m module` on a JSON request and return its JSON result.

    Args:
        module: a module whose `main` is called through `serve_request`.
        request: JSON values.
        timeout_seconds: after this the whole process group is killed.
        on_line: called with each line that the child prints, without its newline.
        log: a file that receives everything that the child prints.
        cwd: the folder that the child works in; ours by default.
        waits_for_lock: the time limit starts when the child prints `LOCKED_LINE`.

    Raises:
        StepTimeoutError: the child ran over its time limit.
        PipelineError: the child raised one of the project's errors; it arrives here as it was.
        StepFailedError: the child ended in another way without a result.
    """
    with tempfile.TemporaryDirectory(prefix="mlperf-child-") as folder:
        request_file, result_file = Path(folder, "request.json"), Path(folder, "result.json")
        request_file.write_text(json.dumps(request))
        status, lines = _await(
            lambda: fork_module(
                module,
                [str(request_file), str(result_file)],
                cwd=cwd,
                environment={**os.environ, **_ANY_LOCALE, "PYTHONPATH": search_path()},
            ),
            module,
            timeout_seconds=timeout_seconds,
            on_line=on_line,
            log=log,
            waits_for_lock=waits_for_lock,
        )
        result = json.loads(result_file.read_text()) if result_file.exists() else None
    if isinstance(result, dict) and "error" in result:
        raise _error_from(result["error"])
    if status != 0 or not isinstance(result, dict):
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise StepFailedError(
            f"the child process {module} ended with {how}: {' | '.join(lines[-5:]) or 'it printed nothing'}",
            where=log or module,
            remedy="its output above says why; start the same command again once that is mended",
        )
    value: dict[str, Any] = result["value"]
    return value


def run_command(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    on_line: Callable[[str], None] = lambda _: None,
    log: Path | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Run a command in a process group of its own; return its exit status and its last lines.

    The group is killed when the time limit passes and when this call is left by any exception (a cancelled
    flow, Ctrl-C).
    """

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    return _await(start, " ".join(argv[:4]), timeout_seconds=timeout_seconds, on_line=on_line, log=log)


def _await(
    start: Callable[[], subprocess.Popen[str] | Forked],
    name: str,
    *,
    timeout_seconds: float,
    on_line: Callable[[str], None],
    log: Path | None,
    waits_for_lock: bool = False,
) -> tuple[int, list[str]]:
    """Start a child, read what it prints until it ends, and end its group; return what `run_command` does."""
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    locked = threading.Event()
    sink = log.open("a", encoding="utf-8") if log else None
    child = start()

    def read() -> None:
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        for raw in child.stdout:
            line = raw.rstrip("\n")
            if line == LOCKED_LINE:
                locked.set()
                continue
            last.append(line)
            if sink:
                with suppress(OSError):  # the disk is full: closing it says so, and the child must be read on
                    sink.write(raw)
                    sink.flush()
            on_line(line)

    reader = threading.Thread(target=read, name="child-output", daemon=True)
    reader.start()
    try:
        started = None if waits_for_lock else time.monotonic()
        others = _ENDED.get()
        while child.poll() is None:
            if others and others.is_set():
                raise StepFailedError(
                    f"{name} was ended: the work beside it was stopped or failed",
                    where=log or "",
                    remedy="start the same command again; finished steps are kept",
                )
            if started is None and locked.is_set():
                started = time.monotonic()
            if started is not None and time.monotonic() - started > timeout_seconds:
                raise StepTimeoutError(
                    f"{name} ran over its limit of {timeout_seconds:.0f} s and was ended",
                    where=log or "",
                    remedy="if the work is sound and only slow, raise the limit in the system file",
                )
            with suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_SECONDS)
        reader.join(5)
        return child.wait(), list(last)
    finally:
        end_group(child)
        reader.join(5)
        if sink:
            sink.close()


def end_group(child: subprocess.Popen[Any] | Forked, grace: float = _GRACE_SECONDS) -> None:
    """End a child's whole process group: SIGTERM, then SIGKILL. Nothing happens if all of it is gone.

    Args:
        child: leads the group.
        grace: seconds that it has for ending by itself.
    """
    if child.poll() is None:
        _signal_group(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(grace)
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@contextmanager
def companion(
    argv: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    grace: float = _GRACE_SECONDS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a server of another project running for the length of the block; it ends with us, however we end.

    The command is started through this module, which asks the kernel for the parent-death signal and then
    becomes the command. What it prints goes to `log`.

    Args:
        argv: the command.
        log: receives what it prints.
        environment: its settings. Of our own environment it gets only what every program needs: a proxy or a
            setting that a person has for other purposes must not reach it.
        cwd: the folder that it works in; ours by default.
        grace: seconds that it has for ending by itself.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if _OF_A_SERVICE.fullmatch(name)}
    with log.open("ab") as sink:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "mlperf_submission.process", str(os.getpid()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**kept, **(environment or {}), "PYTHONPATH": search_path()},
            start_new_session=True,
        )
    try:
        yield child
    finally:
        end_group(child, grace)


def printed(log: Path, begin: int) -> list[str]:
    """Return what a companion printed last, line by line without the blank ones.

    Args:
        log: where it prints to.
        begin: how long the log was before.
    """
    with log.open("rb") as stream:
        stream.seek(max(begin, log.stat().st_size - _PRINTED_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return [stripped for line in lines if (stripped := line.strip())]


@contextmanager
def revived(
    first: subprocess.Popen[bytes],
    start: Callable[[], AbstractContextManager[subprocess.Popen[bytes]]],
    log: Path,
) -> Iterator[None]:
    """For the length of the block, start a companion again whenever it is gone; the last one ends with it.

    A server that is killed (by the kernel when memory is short, by a person's slip) would otherwise take a
    run of hours with it. Its clients try again meanwhile.

    Args:
        first: the companion that is running.
        start: starts another in its place (`companion`): on the same address, with the same data.
        log: told that it was gone.
    """
    over = threading.Event()

    def watch() -> None:
        _until_gone(first, over)
        while not over.is_set():
            with log.open("a") as sink:
                sink.write(
                    f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} the server was gone; it is started again\n"
                )
            with start() as another:
                _until_gone(another, over)
            over.wait(_REVIVAL_SECONDS)

    # The kernel's parent-death signal is tied to the thread that starts a child; this one lasts as long.
    watcher = threading.Thread(target=watch, name="reviver", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _until_gone(server: subprocess.Popen[bytes], over: threading.Event) -> None:
    while server.poll() is None and not over.wait(_POLL_SECONDS):
        pass


def serve_request(main: Callable[[dict[str, Any]], Mapping[str, Any]]) -> NoReturn:
    """Be the child of `run_module`: read the request, call `main`, write its value or its error, exit.

    Call it first thing under `if __name__ == "__main__":`, before heavy imports.
    """
    request_file, result_file, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    end_with_parent(parent)
    status, reply = 0, dict[str, Any]()
    try:
        reply["value"] = dict(main(json.loads(request_file.read_text())))
    except PipelineError as error:
        parts = {name: getattr(error, name) for name in ("what", "where", "remedy", "codes")}
        status, reply["error"] = 1, {"type": type(error).__name__, **parts}
    write_atomic(result_file, json.dumps(reply))
    sys.stdout.flush()
    # LoadGen cannot be stopped, and native libraries may hang in the exit handlers of their threads: the
    # result is safe, so leave.
    os._exit(status)


def _error_from(parts: Mapping[str, Any]) -> PipelineError:
    from mlperf_submission import errors

    kind = getattr(errors, parts["type"], StepFailedError)
    if not (isinstance(kind, type) and issubclass(kind, PipelineError)):
        kind = StepFailedError
    error = kind(parts["what"], where=parts["where"], remedy=parts["remedy"])
    error.codes = tuple(parts["codes"])
    return error


def _become(argv: Sequence[str]) -> NoReturn:
    end_with_parent(int(argv[0]))
    os.execvp(argv[1], list(argv[1:]))  # noqa: S606 - no shell: the argument list is ours


if __name__ == "__main__":
    _become(sys.argv[1:])
