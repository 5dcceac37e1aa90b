"""ImageNet's layout on disk, a folder of JPEG files and a list: reading lists, checking folders file by file.

Source: MLPerf Inference v4.1, vision/classification_and_detection/python/imagenet.py and
tools/accuracy-imagenet.py (line number = QSL index), calibration/ImageNet (the calibration list).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common.errors import SourceError
from common.files import inside
from models.benchmark import Edition, OnProgress, Progress, Subset

LABELS = "val_map.txt"
CALIBRATION_LIST = "cal_map.txt"
LABEL_LIST_MD5 = "8fd2cb625ed0251294edfb2be0781192"
"""Of the official `val_map.txt`, tab separated: 50,000 lines in the order of the images' numbers."""
CALIBRATION_LIST_MD5 = "f09719174af3553119e2c621157773a6"
"""Of the official `cal_image_list_option_1.txt`."""
_CAFFE_LABELS = "labels/val.txt"
"""The same list in caffe_ilsvrc12.tar.gz, blank separated."""
_CALIBRATION_NUMBERS = Path(__file__).with_name("imagenet_calibration.txt")
_CLASSES = 1000
_CHECKERS = 8
_NAMED = 20


@dataclass(frozen=True)
class LabelledImage:
    """One line of a list: the file's name and its class, None in a list without classes."""

    name: str
    label: int | None


def read_list(path: Path, *, classes: int, count: int | None, labels: bool = True) -> list[LabelledImage]:
    """Read `val_map.txt` (name, blank or tab, class) or a calibration list (name, and perhaps a class).

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
        raise SourceError(f"the list cannot be read: {error}", where=path, remedy=_LIST_REMEDY) from error
    images: list[LabelledImage] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not (len(fields) == 2 or (len(fields) == 1 and not labels)):
            wanted = "a file name and a class" if labels else "a file name"
            raise _list_error(path, number, f"{line[:80]!r} is not {wanted}")
        label = None
        if len(fields) == 2:
            if not (fields[1].isascii() and fields[1].isdigit() and int(fields[1]) < classes):
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
        )
    return images


_LIST_REMEDY = "fetch the list anew; each line is an image, in the order of the official data set"


def _list_error(path: Path, line: int, what: str) -> SourceError:
    return SourceError(what, where=f"{path}, line {line}", remedy=_LIST_REMEDY)


JPEG_TAIL = 4096
"""Bytes at the end of a file in which the end marker must stand (some cameras write a little after it)."""


def jpeg_problem(head: bytes, tail: bytes, size: int) -> str | None:
    """Return what is wrong with a JPEG file as seen from its ends, or None.

    Compressed data has 0x00 after a byte 0xFF, so the end marker FF D9 cannot occur there by chance.
    """
    if size == 0:
        return "is empty"
    if head != b"\xff\xd8":
        return "is not a JPEG file (no start marker)"
    if b"\xff\xd9" not in tail:
        return "is truncated (no end marker)"
    return None


def imagenet_name(number: int) -> str:
    """Return the official file name of a validation image, 1 to 50,000."""
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def official_calibration_list() -> str:
    """Return calibration list option 1 as published: 500 names, one per line.

    Raises:
        SourceError: the numbers in this project are not those of the published list.
    """
    numbers = _CALIBRATION_NUMBERS.read_text().split()
    text = "".join(f"{imagenet_name(int(number))}\n" for number in numbers)
    if _md5(text) != CALIBRATION_LIST_MD5:
        raise SourceError(
            "these are not the numbers of the official calibration list",
            where=_CALIBRATION_NUMBERS,
            remedy="check the file out anew",
        )
    return text


def images_folder(dataset: Path, edition: Edition, subset: Subset) -> Path:
    """Return the folder that holds a subset's JPEG files.

    An edition with licensed data has its images in `<dataset>/<key>` (a link to the person's folder), or in
    `dataset` itself; its calibration images are validation images. Other editions have a folder per subset.
    """
    if edition.licensed:
        linked = dataset / edition.licensed.key
        return linked if linked.is_dir() else dataset
    return dataset / subset


def labels_file(dataset: Path, edition: Edition) -> Path:
    """Return the list with the classes: `val_map.txt` beside the images, else the one that was downloaded."""
    beside = images_folder(dataset, edition, "validation") / LABELS
    if edition.licensed and not beside.exists():
        return dataset / _CAFFE_LABELS
    return beside


def calibration_images(dataset: Path, edition: Edition, *, classes: int) -> list[LabelledImage]:
    """Return the calibration images: the official list, or the one that comes with the edition."""
    if edition.licensed:
        return [LabelledImage(name, None) for name in official_calibration_list().split()]
    path = images_folder(dataset, edition, "calibration") / CALIBRATION_LIST
    return read_list(path, classes=classes, count=None, labels=False)


def verify_imagenet(folder: Path, count: int, on_progress: OnProgress) -> dict[str, object]:
    """Check a person's own ImageNet folder against the official list, image by image.

    Args:
        folder: the JPEG files, directly in it; `val_map.txt` may lie there too.
        count: number of validation images, 50,000.
        on_progress: called from this thread.

    Raises:
        SourceError: images are missing, empty, truncated, misnamed or too many (counts and first names), or
            `val_map.txt` is not the official one.
    """
    figures = verify_images(folder, [imagenet_name(number) for number in range(1, count + 1)], on_progress)
    labels = folder / LABELS
    if labels.exists():
        check_label_list(labels, count)
    return {**figures, "labels": "official" if labels.exists() else "from caffe_ilsvrc12.tar.gz"}


def check_label_list(path: Path, count: int) -> None:
    """Raise SourceError unless a label list, however its columns are separated, is the official one."""
    images = read_list(path, classes=_CLASSES, count=count)
    text = "".join(f"{image.name}\t{image.label}\n" for image in images)
    digest = _md5(text)
    if digest != LABEL_LIST_MD5:
        raise SourceError(
            f"these are not the official labels: md5 {digest}, expected {LABEL_LIST_MD5}",
            where=path,
            remedy="remove the file; the official list is then taken from caffe_ilsvrc12.tar.gz",
        )


def verify_images(folder: Path, names: Sequence[str], on_progress: OnProgress) -> dict[str, object]:
    """Check that a folder holds exactly these JPEG files, each whole as far as its two ends tell.

    Raises:
        SourceError: one error for all that is wrong: missing, misnamed (the same image under another name or
            in a folder below), empty, truncated, not JPEG, extra.
    """
    if not folder.is_dir():
        raise SourceError("there is no such folder of images", where=folder, remedy=_FOLDER_REMEDY)
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
        )
    return {"images": len(present), "bytes": total}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


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
