"""Fetch OpenImages' images by their ids from the public bucket, as retinanet's full edition wants them.

    python -m tasks.fetch_openimages FOLDER [--workers 16]

What is there and whole is not fetched again, so that a broken run goes on when it is started anew. The owner
publishes no checksums; an image is compared with the length and the checksum that the bucket itself states.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.benchmark.facts import Edition, Subset
from mlperf_submission.deadline import Limits
from mlperf_submission.errors import PipelineError, SourceError, UnreachableError
from mlperf_submission.fetch.http import open_url
from mlperf_submission.fetch.sources import fetch_all
from mlperf_submission.files import inside, write_atomic
from models.images.jpeg import JPEG_TAIL, jpeg_problem
from models.retinanet import openimages
from models.retinanet.facts import FACTS

BUCKET = "https://open-images-dataset.s3.amazonaws.com"
"""MLPerf Inference v4.1, vision/classification_and_detection/tools/openimages.py; open to everybody."""
_MD5_TAG = re.compile(r'"?([0-9a-f]{32})"?')
_TRIES = 4
_LARGEST_IMAGE = 64 << 20


@dataclass(frozen=True)
class WantedImage:
    """One image: its key in the bucket, and the file that it becomes."""

    key: str
    path: Path


def wanted_images(folder: Path, lists: Path, edition: Edition) -> list[WantedImage]:
    """Return all images of both subsets; calibration images are training images.

    Args:
        folder: what `licensed_data.openimages` will name in the system file.
        lists: the folder with the annotations and the calibration list.
        edition: retinanet's full edition.

    Raises:
        SourceError: a list cannot be read, or names a file outside of the folder.
    """
    prefixes: tuple[tuple[Subset, str], ...] = (("validation", "validation"), ("calibration", "train"))
    return [
        WantedImage(f"{prefix}/{image.name}", inside(folder / subset / openimages.IMAGES_FOLDER, image.name))
        for subset, prefix in prefixes
        for image in openimages.images_of(lists, edition, subset)
    ]


def fetch_images(
    images: Sequence[WantedImage],
    *,
    bucket: str = BUCKET,
    workers: int = 16,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Fetch what is missing or damaged; return how many images were fetched.

    Raises:
        SourceError: images are not in the bucket or are damaged there; the first are named. The others are
            fetched before.
        UnreachableError: the bucket did not answer after several tries.
    """
    missing = [image for image in images if not _is_whole(image.path)]
    problems: list[PipelineError] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="images") as pool:
        try:
            for done, error in enumerate(pool.map(lambda image: _fetched(image, bucket), missing), 1):
                if error:
                    problems.append(error)
                on_progress(len(images) - len(missing) + done, len(images))
        finally:
            pool.shutdown(cancel_futures=True)
    if problems:
        first = "; ".join(f"{error.what} [{error.where}]" for error in problems[:5])
        kind = UnreachableError if any(error.retryable for error in problems) else SourceError
        raise kind(
            f"{len(problems)} of {len(images)} images could not be fetched: {first}",
            where=bucket,
            remedy="start the same command again; what is there is kept",
        )
    return len(missing)


def _fetched(image: WantedImage, bucket: str) -> PipelineError | None:
    for again in range(_TRIES):
        try:
            write_atomic(image.path, _download(f"{bucket}/{image.key}"))
            return None
        except PipelineError as error:
            if not error.retryable or again == _TRIES - 1:
                return error
            time.sleep(2**again)
    return None


def _download(url: str) -> bytes:
    with open_url(url, 0, Limits()) as answer:
        content = b"".join(_bounded(answer.blocks, url))
        total, tag = answer.total, _MD5_TAG.fullmatch(answer.etag)
    if total is not None and len(content) != total:
        raise UnreachableError(f"{len(content)} of {total} bytes arrived", where=url, remedy="try again")
    # the tag of an object that was uploaded in one piece is its MD5
    if tag and hashlib.md5(content, usedforsecurity=False).hexdigest() != tag[1]:
        raise UnreachableError(
            "the bucket states another checksum", where=url, remedy="try again", code="source-changed"
        )
    problem = jpeg_problem(content[:2], content[-JPEG_TAIL:], len(content))
    if problem:
        raise SourceError(
            f"the image {problem}",
            where=url,
            remedy="report it to the owner of the data set",
            code="data-set",
        )
    return content


def _bounded(blocks: Iterator[bytes], url: str) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > _LARGEST_IMAGE:
            raise SourceError(
                "this is too large for an image", where=url, remedy="check the address", code="data-set"
            )
        yield block


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return jpeg_problem(content[:2], content[-JPEG_TAIL:], len(content)) is None


def main() -> int:
    """Fetch the lists and the images; 0 if all of them are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=16)
    given = parser.parse_args()
    edition, lists = FACTS.full, given.folder / "lists"

    def show(done: int, total: int) -> None:
        if done % 200 == 0 or done == total:
            print(f"{done} of {total} images", flush=True)

    try:
        if not lists.is_dir():
            fetch_all(edition.data, lists)
        images = wanted_images(given.folder, lists, edition)
        fetch_images(images, workers=given.workers, on_progress=show)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"write into the system file: licensed_data: {{openimages: {given.folder.resolve()}}}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
