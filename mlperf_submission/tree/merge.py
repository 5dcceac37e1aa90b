"""Several submission trees of one submitter made into one, system beside system.

Files that all trees have in common (the code) have to be the same. Two kinds of documents speak of more than
one system, and are joined: the calibration document, and the README of a code folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.errors import TreeError
from mlperf_submission.files import disk_full_named, inside, sha256_of
from mlperf_submission.submission.files import DIVISIONS
from mlperf_submission.text import listed

_JOINED = re.compile(r"[^/]+/[^/]+/((documentation/)?calibration\.md|(code|src)/[^/]+/[^/]+/README\.md)")
_SYSTEM = re.compile(r"([^/]+/[^/]+)/(?:results|systems)/([^/]+?)(?:\.json|/.*)")


@dataclass(frozen=True)
class MergedTree:
    """A tree that was made of several.

    Attributes:
        submitter: whose it is.
        systems: `division/submitter/system` of each system, sorted.
        files: how many files it has.
        joined: documents that were joined, sorted.
    """

    submitter: str
    systems: tuple[str, ...]
    files: int
    joined: tuple[str, ...]


def merge_trees(trees: Sequence[Path], out: Path) -> MergedTree:
    """Write one tree that has every file of several trees.

    Everything is compared before the first file is written. The same trees in the same order give the same
    bytes.

    Args:
        trees: the roots of the trees; they hold `closed/`, `open/` or `network/`.
        out: the folder that becomes the root of the merged tree; it must be empty or absent.

    Raises:
        TreeError: a tree is none, the trees are of several submitters, a path has different contents in them
            (every one is named), or `out` holds something.
        DiskFullError: there is not enough space.
    """
    if out.exists() and any(out.iterdir()):
        raise TreeError(
            "the folder is not empty", where=out, remedy="name a new folder; a tree is only written whole"
        )
    sources: dict[str, list[Path]] = {}
    for tree in trees:
        for name in _files_of(tree):
            sources.setdefault(name, []).append(tree / name)
    submitter = _submitter(sources)
    differing = sorted(name for name, paths in sources.items() if len(set(map(sha256_of, paths))) > 1)
    joined = tuple(name for name in differing if _JOINED.fullmatch(name))
    _refuse([f"{name} ({', '.join(map(str, sources[name]))})" for name in differing if name not in joined])
    with disk_full_named(out):
        for name, paths in sorted(sources.items()):
            target = inside(out, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in joined:
                target.write_bytes(_join(paths))
            else:
                shutil.copyfile(paths[0], target)
    systems = {f"{found[1]}/{found[2]}" for name in sources if (found := _SYSTEM.fullmatch(name))}
    return MergedTree(submitter, tuple(sorted(systems)), len(sources), joined)


def _files_of(tree: Path) -> Iterator[str]:
    """Yield the path of every file of a tree, relative to its root.

    Raises:
        TreeError: it is no tree, or something in it is neither a plain file nor a folder.
    """
    if not any((tree / division).is_dir() for division in DIVISIONS):
        raise TreeError(
            "there is no submission tree here",
            where=tree,
            remedy=f"give the folder that holds {', '.join(DIVISIONS[:-1])} or {DIVISIONS[-1]}",
            code="no-tree",
        )
    for root, folders, names in os.walk(tree):
        folders.sort()
        for name in [*names, *(one for one in folders if Path(root, one).is_symlink())]:
            path = Path(root, name)
            if path.is_symlink() or not path.is_file():
                raise TreeError(
                    "a link or special file cannot be part of a tree",
                    where=path,
                    remedy="put a plain file in its place, or remove it",
                )
            yield path.relative_to(tree).as_posix()


def _submitter(names: Iterable[str]) -> str:
    found = sorted(
        {parts[1] for name in names if len(parts := name.split("/")) > 2 and parts[0] in DIVISIONS}
    )
    if len(found) != 1:
        raise TreeError(
            f"a submission has one submitter, not {len(found)}: {', '.join(found) or 'none'}",
            remedy="set the same one in every system file and run them again: nothing is measured anew",
        )
    return found[0]


def _refuse(conflicts: Sequence[str]) -> None:
    if not conflicts:
        return
    raise TreeError(
        f"{len(conflicts)} files differ between the trees:{listed(conflicts)}",
        remedy="code that differs comes from hosts with different versions of the project: bring them to the "
        "same one and run them again; a result that differs is there twice: leave one of the trees out",
    )


def _join(paths: Sequence[Path]) -> bytes:
    """Return the contents one after another, each once, in the order of the trees."""
    return b"\n".join(dict.fromkeys(path.read_bytes() for path in paths))
