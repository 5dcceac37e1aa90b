"""Starts children with their imports done: one process has them, and forks once a request.

Python, numpy and pydantic take a child of ours 0.3 to 0.4 s of a core before it does anything, which is as
much as many a child works. The server imports them once, starts no thread of its own, opens nothing, and
touches no GPU. What a child inherits is what it would have imported itself.

A child is told what may change between two requests: its folder, its environment, where it prints. What a
library reads from the environment when it is loaded (`OMP_NUM_THREADS`) is as it was when the server began.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from mlperf_submission.errors import StepFailedError

_NEEDED = ("numpy", "onnx", "mlperf_loadgen", f"{__package__}.harness.record")
"""What children import, less what begins threads (ONNX Runtime, OpenCV), which a fork would lose.

Our own module is not named in full, as `steps.code` would count it: a step's result depends on what its child
imports, not on where that was imported first.
"""
_MESSAGE_BYTES = 64
_TRIES = 2
_NAME_LENGTH = 15
"""Characters of a process's name that the kernel keeps."""


class Forked:
    """A child of the server, with what `subprocess.Popen` has of the same name."""

    def __init__(self, pid: int, line: socket.socket, stdout: IO[str]) -> None:
        """Take the child's process id, the line on which the server says how it ended, and its output."""
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._line = line

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the child runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when the child has ended.

        Raises:
            subprocess.TimeoutExpired: it runs on after so many seconds.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                said = self._line.recv(_MESSAGE_BYTES)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            # Without a word the server is gone, and its children with it.
            self.returncode = int(said) if said else -signal.SIGKILL
            self._line.close()
        return self.returncode


class _ForkServer:
    """The server of this process: begins with the first child, ends with this process, however that ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self, request: bytes, environment: Mapping[str, str]) -> Forked:
        """Start a child, and before it the server, if that has not begun or was killed."""
        with self._lock:
            for _ in range(_TRIES):
                with suppress(ConnectionError):
                    return self._ask(request, environment)
                self._control = None
        raise StepFailedError(
            "the process that starts our children cannot start, or is killed at once",
            where=f"{sys.executable} -m {__name__}",
            remedy="what it printed says why; it is killed where memory is short",
        )

    def _ask(self, request: bytes, environment: Mapping[str, str]) -> Forked:
        if self._control is None:
            self._control = self._begin(environment)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        try:
            with (
                theirs,
                os.fdopen(os.memfd_create("request"), "wb") as told,
                os.fdopen(writing, "wb") as output,
            ):
                told.write(request)
                told.flush()
                told.seek(0)
                socket.send_fds(self._control, [b"."], [told.fileno(), output.fileno(), theirs.fileno()])
            said = ours.recv(_MESSAGE_BYTES)
            if not said:
                raise ConnectionResetError
        except BaseException:
            ours.close()
            os.close(reading)
            raise
        return Forked(int(said), ours, os.fdopen(reading, encoding="utf-8", errors="replace"))

    def _begin(self, environment: Mapping[str, str]) -> socket.socket:
        if self._process:
            self._process.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-P", "-m", __name__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        return ours


_SERVER = _ForkServer()


def fork_module(
    module: str, arguments: Sequence[str], *, cwd: Path | None, environment: Mapping[str, str]
) -> Forked:
    """Start `python -m module` as a child in a process group of its own, with its imports done.

    Args:
        module: what runs as `__main__`.
        arguments: its arguments; the process id of the child's parent, the server, is appended.
        cwd: the folder that it works in; ours by default.
        environment: all of its environment.

    Raises:
        StepFailedError: the server cannot be started.
    """
    request = {
        "module": module,
        "arguments": list(arguments),
        "cwd": str(cwd or Path.cwd()),
        "environment": dict(environment),
    }
    return _SERVER.start(json.dumps(request).encode(), environment)


def _serve(control: socket.socket) -> None:
    """Fork a child for each request, and tell its line its process id and its end, until nobody asks more."""
    for module in _NEEDED:
        with suppress(ImportError):  # a child that needs it says so itself
            import_module(module)
    # OpenBLAS, which numpy brings, ends its threads before a fork and begins them again when they are needed.
    warnings.filterwarnings("ignore", ".* is multi-threaded", DeprecationWarning)
    gc.collect()
    gc.freeze()
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    while True:
        ready = select.select([control.fileno(), ended], [], [])[0]
        if ended in ready:
            os.read(ended, _MESSAGE_BYTES)
            _report(children)
        if control.fileno() in ready:
            fds = socket.recv_fds(control, 1, 3)[1]
            if not fds:
                return
            told, output, line = fds
            server, child = os.getpid(), os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                others = (one.fileno() for one in (control, *children.values()))
                for inherited in (*others, ended, wake, line):
                    os.close(inherited)
                _be_child(told, output, server)
            os.close(told)
            os.close(output)
            children[child] = socket.socket(fileno=line)
            with suppress(OSError):  # the child does so too, and may have ended since
                os.setpgid(child, child)
            _say(children[child], child)


def _report(children: dict[int, socket.socket]) -> None:
    """Say of each child that has ended how it did."""
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with children.pop(child) as line:
            _say(line, os.waitstatus_to_exitcode(status))


def _say(line: socket.socket, number: int) -> None:
    with suppress(ConnectionError):  # nobody waits for this child any more
        line.send(str(number).encode())


def _be_child(told: int, output: int, server: int) -> NoReturn:
    """Be what a request asks for; never return into the server."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(output, sys.stdout.fileno())
        os.dup2(output, sys.stderr.fileno())
        os.close(output)
        with os.fdopen(told, encoding="utf-8") as stream:
            request = json.load(stream)
        module: str = request["module"]
        with suppress(OSError):  # it is for people alone
            Path("/proc/self/comm").write_text(_process_name(module))
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv[1:] = [*request["arguments"], str(server)]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _process_name(module: str) -> str:
    """Return what `ps` and `top` show of a child: the end of its module's name."""
    return ".".join(module.split(".")[-2:])[:_NAME_LENGTH]


def _main() -> None:
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    _serve(control)


if __name__ == "__main__":
    _main()
