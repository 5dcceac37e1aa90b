"""Files of a tree that somebody else made: never outside of it, never more than a page can use."""

from __future__ import annotations

from pathlib import Path

from common.files import inside

_LARGEST_TEXT = 4 << 20


class TreeFiles:
    """Reads files by their path below a root. Links that lead out of the root count as missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = root.resolve()

    def path(self, name: str) -> Path | None:
        """Return a regular file below the root, or None."""
        path = inside(self.root, name)
        try:
            real = path.resolve()
            return path if real.is_file() and real.is_relative_to(self._real) else None
        except OSError:
            return None

    def text(self, name: str) -> str:
        """Return the content of a text file, at most its first 4 MiB; what is not UTF-8 becomes `�`.

        Raises:
            FileNotFoundError: no such file within the tree.
        """
        path = self.path(name)
        if path is None:
            raise FileNotFoundError(name)
        with path.open("rb") as stream:
            return stream.read(_LARGEST_TEXT).decode("utf-8", "replace")

    def names(self, folder: str) -> list[str]:
        """Return the names of the files and folders directly in a folder, sorted; none if it is missing."""
        try:
            return sorted(path.name for path in inside(self.root, folder).iterdir())
        except OSError:
            return []
