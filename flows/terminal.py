"""What the command prints: for people, so that it can never be the reason for which the work ends."""

from __future__ import annotations

import errno
import getpass
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from mlperf_submission.text import printable

_UNREAD = (errno.EPIPE, errno.ECONNRESET)


class Console(rich.console.Console):
    """A console that shows text of others and is not steered by it, whatever renderable holds the text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable; control characters in their text stand as escapes."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


class _Output:
    """A standard stream that takes whatever is written: what cannot be written any more is left out.

    Attributes:
        lost: why something was left out; None if nothing was, or if only nobody was reading any more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with suppress(BlockingIOError):
            try:
                return self._stream.write(text)
            except (OSError, ValueError) as error:  # a ValueError says that the stream was closed
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        with suppress(BlockingIOError):
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        if isinstance(error, BlockingIOError):
            raise error
        if not isinstance(error, OSError) or error.errno not in _UNREAD:
            self.lost = error.strerror if isinstance(error, OSError) else str(error)
        # What still waits in buffers has to go somewhere, also when Python ends.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def tolerate_output() -> None:
    """Let nothing that is printed raise: no character that the locale lacks, no closed pipe, no full disk."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, cast(TextIO, _Output(stream)))


def lost_output() -> str | None:
    """Return why something of standard output could not be written; None if nothing was lost."""
    return sys.stdout.lost if isinstance(sys.stdout, _Output) else None


def user_name() -> str:
    """Return the name of the user of this shell, or their number where the host knows no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # before and from Python 3.13
        return f"user {os.getuid()}"
