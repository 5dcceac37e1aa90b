"""Folders of JPEG files, and the lists that name them: reading and checking both."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.errors import SourceError
from mlperf_submission.files import inside
from models.images.jpeg import JPEG_TAIL, jpeg_problem

_CHECKERS = 8
_NAMED = 20


@dataclass(frozen=True)
class LabelledImage:
    """One line of a list: the file's name and its class, None in a list without classes."""

    name: str
    label: int | None


def read_list(path: Path, *, classes: int, count: int | None, labels: bool = True) -> list[LabelledImage]:
    """Read a list of images (name, blank or tab, class), or of names, perhaps with classes.

    The position in the result is the QSL index: nothing is skipped, nothing is reordered.

    Args:
        path: the list.
        classes: classes are 0 to this number less one.
        count: how many lines there must be; None: at least one.
        labels: whether each line must have a class.

    Raises:
        SourceError: no such file, a broken line, a class out of range, a name twice, a wrong number of lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the list cannot be read: {error}", where=path, remedy=_LIST_REMEDY, code="data-set"
        ) from error
    images: list[LabelledImage] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not (len(fields) == 2 or (len(fields) == 1 and not labels)):
            wanted = "a file name and a class" if labels else "a file name"
            raise _list_error(path, number, f"{line[:80]!r} is not {wanted}")
        label = None
        if len(fields) == 2:
            if not (re.fullmatch(r"[0-9]{1,9}", fields[1]) and int(fields[1]) < classes):
                raise _list_error(
                    path, number, f"the class {fields[1][:20]!r} is not one of 0 to {classes - 1}"
                )
            label = int(fields[1])
        if fields[0] in seen:
            raise _list_error(path, number, f"{fields[0]} was already on line {seen[fields[0]]}")
        seen[fields[0]] = number
        images.append(LabelledImage(fields[0], label))
    if not images or (count is not None and len(images) != count):
        raise SourceError(
            f"the list has {len(images)} lines, expected {count or 'at least one'}",
            where=path,
            remedy=_LIST_REMEDY,
            code="data-set",
        )
    return images


_LIST_REMEDY = "fetch the list anew; each line is an image, in the order of the official data set"


def _list_error(path: Path, line: int, what: str) -> SourceError:
    return SourceError(what, where=f"{path}, line {line}", remedy=_LIST_REMEDY)


def verify_images(folder: Path, names: Sequence[str], on_progress: OnProgress) -> dict[str, object]:
    """Check that a folder holds exactly these JPEG files, each whole as far as its two ends tell.

    Raises:
        SourceError: one error for all that is wrong: missing, misnamed (the same image under another name or
            in a folder below), empty, truncated, not JPEG, extra.
    """
    if not folder.is_dir():
        raise SourceError(
            "there is no such folder of images", where=folder, remedy=_FOLDER_REMEDY, code="data-set"
        )
    found = dict(_images_below(folder))
    wanted = set(names)
    problems: dict[str, list[str]] = {}
    by_stem = {_stem(name): name for name in wanted - found.keys()}
    for name in sorted(found.keys() - wanted):
        official = by_stem.pop(_stem(name), None)
        if official:
            problems.setdefault("misnamed", []).append(f"{name} (should be {official})")
        else:
            problems.setdefault("extra", []).append(name)
    if by_stem:
        problems["missing"] = sorted(by_stem.values())
    present = [name for name in names if name in found]
    total = 0
    with ThreadPoolExecutor(_CHECKERS, thread_name_prefix="verify") as pool:
        checked = pool.map(lambda name: _check_ends(inside(folder, name)), present)
        for done, (name, (size, problem)) in enumerate(zip(present, checked, strict=True), 1):
            total += size
            if problem:
                problems.setdefault(problem, []).append(name)
            if done % 500 == 0 or done == len(present):
                on_progress(Progress(done, len(present), "images"))
    if problems:
        raise SourceError(
            f"of {len(wanted)} images {sum(map(len, problems.values()))} are not right: {_summary(problems)}",
            where=folder,
            remedy=_FOLDER_REMEDY,
            code="data-set",
        )
    return {"images": len(present), "bytes": total}


_FOLDER_REMEDY = "unpack the official archive anew into one flat folder, all files under their official names"
_IMAGE = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)


def _images_below(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            if _IMAGE.search(name):
                path = Path(root, name)
                yield path.relative_to(folder).as_posix(), path


def _stem(name: str) -> str:
    """Return what names an image whatever its folder and its ending: its last number, else its stem."""
    stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()
    numbers = re.findall(r"\d+", stem)
    return f"{stem.split('_')[0]} {int(numbers[-1])}" if numbers else stem


def _check_ends(path: Path) -> tuple[int, str | None]:
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(2)
            stream.seek(max(size - JPEG_TAIL, 0))
            return size, jpeg_problem(head, stream.read(JPEG_TAIL), size)
    except OSError as error:
        return 0, f"cannot be read ({error.strerror})"


def _summary(problems: dict[str, list[str]]) -> str:
    parts = []
    for kind, names in problems.items():
        more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        parts.append(f"{len(names)} {kind.removeprefix('is ')}: {', '.join(names[:_NAMED])}{more}")
    return "; ".join(parts)
