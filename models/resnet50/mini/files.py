"""The files of resnet50's mini edition: rendered digits in ImageNet's layout, and the committed network."""

from __future__ import annotations

import os
from pathlib import Path

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.files import disk_full_named, require_free_space
from models.mini.listing import check_count, copy_committed, listing_of, written_archive
from models.parallel import in_parallel
from models.resnet50.imagenet import CALIBRATION_LIST, LABELS
from models.resnet50.mini import digits

NETWORK = Path(__file__).with_name("resnet50.onnx")
NETWORK_SHA256 = "84d5185663ae2593e234a2b93c877503c5eda41186d2132fb6c559172be350eb"
"""Part of the code, so that another network is another version of the step that copies it."""
CALIBRATION_COUNT = 64
MOST_SAMPLES = 50_000
_BYTES_PER_IMAGE = 45_000
"""Mean size of a picture is 35 kB."""


def make(folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
    """Write `val.tar`, `calibration.tar` and `resnet50.onnx`; the same count gives the same bytes.

    The first n samples of a larger edition are the samples of an edition of n.

    Args:
        folder: an existing, empty folder.
        sample_count: validation samples, 1 to 50,000.
        on_progress: called from this thread.

    Raises:
        SettingError: the count is out of range.
        SourceError: the committed network is not the one that belongs to this code.
        DiskFullError: there is not enough space.
    """
    check_count("resnet50", sample_count, MOST_SAMPLES)
    require_free_space(folder, sample_count * _BYTES_PER_IMAGE, f"a mini edition of {sample_count} samples")
    total = sample_count + CALIBRATION_COUNT
    with disk_full_named(folder):
        copy_committed(NETWORK, NETWORK_SHA256, folder / NETWORK.name)
        _write_tar(folder / "calibration.tar", "calibration", CALIBRATION_COUNT, 0, total, on_progress)
        _write_tar(folder / "val.tar", "validation", sample_count, CALIBRATION_COUNT, total, on_progress)
    return listing_of(folder, (NETWORK.name, "calibration.tar", "val.tar"), sample_count)


def image_name(split: digits.Split, index: int) -> str:
    """Return the file name of a sample; `index` counts from 0, names from 1 as ImageNet's do."""
    return f"DIGITS_{split[:3]}_{index + 1:08d}.JPEG"


def _write_tar(
    path: Path, split: digits.Split, count: int, before: int, total: int, on_progress: OnProgress
) -> None:
    """Write one archive: pictures in order, then the list, without times and owners."""
    lines = []
    with written_archive(path) as archive:
        pictures = in_parallel(lambda index: digits.render(split, index), range(count), os.cpu_count() or 1)
        for index, picture in enumerate(pictures):
            name = image_name(split, index)
            lines.append(f"{name}\t{picture.label}\n" if split == "validation" else f"{name}\n")
            archive.add(name, picture.jpeg)
            if (index + 1) % 64 == 0 or index + 1 == count:
                on_progress(Progress(before + index + 1, total))
        archive.add(LABELS if split == "validation" else CALIBRATION_LIST, "".join(lines).encode())
