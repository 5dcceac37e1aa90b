"""The files of a tree, looked at once per folder, and read without ever failing."""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from mlperf_submission.submission.log_memory import LogMemory

DIVISIONS = ("closed", "network", "open")
LARGEST_FILE = 50 << 20
"""Bytes of the largest file that a submission may hold (rule S-07)."""
DETAIL = "mlperf_log_detail.txt"
SUMMARY = "mlperf_log_summary.txt"
ACCURACY_LOG = "mlperf_log_accuracy.json"
MAX_TEXT = 4 << 20
"""Bytes of a text file that are read; the small files of a submission have a few hundred."""
MAX_JSON = 64 << 20
"""Bytes of a JSON file that are read; the official file limit is 50 MiB."""


@dataclass(frozen=True)
class Listing:
    """One folder: names of folders and files (links followed), in the order of the file system.

    Attributes:
        problem: why the folder cannot be listed; empty if it can.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    problem: str = ""


class Entry(TypedDict):
    """One file, folder or symbolic link of a submitter's folder; links to folders are not entered."""

    path: str
    name: str
    kind: str
    size: int
    is_empty_folder: bool
    is_link: bool
    text_resolves_from_root: bool
    resolves: bool


_FOLDER: Entry = {
    "path": "",
    "name": "",
    "kind": "folder",
    "size": 0,
    "is_empty_folder": False,
    "is_link": False,
    "text_resolves_from_root": True,
    "resolves": True,
}


@dataclass(frozen=True)
class Text:
    """The content of a text file, or why there is none."""

    content: str
    problem: str = ""


@dataclass(frozen=True)
class Json:
    """The content of a JSON file that holds an object, or why there is none."""

    content: dict[str, Any]
    problem: str = ""


def _listing(inside: Iterable[os.DirEntry[str]]) -> Listing:
    folders: list[str] = []
    files: list[str] = []
    for entry in inside:
        try:
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
        except OSError:  # a loop of links
            continue
    return Listing(tuple(folders), tuple(files))


def shown(path: str) -> str:
    """Return a text that can be printed and encoded, whatever bytes, surrogates and controls it holds."""
    return path if path.isprintable() else "".join(map(_shown, path))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def lines(text: str) -> list[str]:
    """Split a text at the line ends that Python's text files know, and at no others."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


class Tree:
    """A tree that is read and never trusted. Paths are relative to its root, with forward slashes.

    Args:
        root: the folder that holds the divisions.
        links_out: whether links that lead out of the root are followed, as the official checker does; if not,
            they count as missing.
    """

    def __init__(self, root: Path, *, links_out: bool = True) -> None:
        self.root = str(root)
        self._real = None if links_out else os.path.realpath(root)
        self._listings: dict[str, Listing] = {}
        self.log_memory = LogMemory()

    def full(self, path: str) -> str:
        """Return the path for the operating system."""
        return os.path.join(self.root, path) if path else self.root  # noqa: PTH118 (bytes in names)

    def listing(self, path: str) -> Listing:
        """Return the names in a folder; a folder that is missing or cannot be read has none."""
        if path not in self._listings:
            self._listings[path] = self._list(path)
        return self._listings[path]

    def _list(self, path: str) -> Listing:
        try:
            return _listing(self._scan(path))
        except (OSError, ValueError) as error:
            return Listing((), (), getattr(error, "strerror", None) or str(error))

    def _scan(self, path: str) -> list[os.DirEntry[str]]:
        with os.scandir(self.full(path)) as entries:
            return list(entries)

    def exists(self, path: str) -> bool:
        """Whether the path leads to something (links followed)."""
        try:
            return os.path.exists(self.full(path))  # noqa: PTH110
        except ValueError:
            return False

    def is_file(self, path: str) -> bool:
        """Whether the path leads to a regular file (links followed)."""
        return os.path.isfile(self.full(path)) and not self._leads_out(path)  # noqa: PTH113

    def _leads_out(self, path: str) -> bool:
        if self._real is None:
            return False
        real = os.path.realpath(self.full(path))
        return not real.startswith(self._real.rstrip("/") + "/")

    def size(self, path: str) -> int:
        """Return the size in bytes; -1 if there is no such file."""
        try:
            return Path(self.full(path)).stat().st_size
        except (OSError, ValueError):
            return -1

    def walk(self, top: str) -> Iterator[Entry]:
        """Yield everything below a folder and the folder itself; links to folders are not entered."""
        waiting = [top]
        while waiting:
            path = waiting.pop()
            try:
                inside = self._scan(path)
            except OSError:
                continue
            self._listings.setdefault(path, _listing(inside))
            name = path.rsplit("/", 1)[-1]
            yield {**_FOLDER, "path": path, "name": name, "is_empty_folder": not inside}
            for entry in inside:
                below = f"{path}/{entry.name}"
                link = entry.is_symlink()
                try:
                    is_folder = entry.is_dir()
                    resolves = not link or entry.is_file() or is_folder
                    size = entry.stat().st_size if resolves and not is_folder else 0
                except OSError:
                    is_folder, resolves, size = False, False, 0
                if is_folder and not link:
                    waiting.append(below)
                    continue
                yield {
                    "path": below,
                    "name": entry.name,
                    "kind": "folder" if is_folder else "file",
                    "size": size,
                    "is_empty_folder": False,
                    "is_link": link,
                    "text_resolves_from_root": not link or is_folder or self._text_resolves(below),
                    "resolves": resolves,
                }

    def _text_resolves(self, link: str) -> bool:
        try:
            target = os.readlink(self.full(link))  # noqa: PTH115
        except OSError:
            return False
        return os.path.exists(os.path.join(self.root, target))  # noqa: PTH110, PTH118

    def text(self, path: str, limit: int = MAX_TEXT, *, replace: bool = False) -> Text:
        """Read a text file as UTF-8, at most its first `limit` bytes; `replace`: what is none becomes `�`."""
        data, problem = self._read(path, limit)
        if problem:
            return Text("", problem)
        if replace:
            return Text(data.decode("utf-8", "replace"))
        try:
            return Text(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            if len(data) >= limit and error.start > limit - 4:
                return Text(data[: error.start].decode("utf-8"))
            return Text("", f"it is not UTF-8 ({error.reason} at byte {error.start})")

    def json(self, path: str) -> Json:
        """Read a JSON file that holds an object."""
        data, problem = self._read(path, MAX_JSON)
        if problem:
            return Json({}, problem)
        try:
            content = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            return Json({}, f"it is not JSON ({str(error)[:120]})")
        if not isinstance(content, dict):
            return Json({}, f"it holds a {type(content).__name__} instead of an object")
        return Json(content)

    def _read(self, path: str, limit: int) -> tuple[bytes, str]:
        full = self.full(path)
        if self._leads_out(path):
            return b"", "it leads out of the tree"
        try:
            descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    return b"", "it is no regular file"
                return stream.read(limit), ""
        except (OSError, ValueError) as error:
            return b"", f"it cannot be read ({getattr(error, 'strerror', None) or error})"
