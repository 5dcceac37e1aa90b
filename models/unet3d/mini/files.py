"""The files of 3d-unet's mini edition: rendered volumes in KiTS19's layout, and the committed network."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.facts import MiniListing
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.files import disk_full_named, require_free_space
from models.mini.listing import check_count, copy_committed, listing_of, written_archive
from models.parallel import in_parallel
from models.unet3d.facts import (
    CALIBRATION_CASES,
    COPIED,
    DATA_FILE,
    IMAGE,
    INFERENCE_CASES,
    LABEL,
    MINI_CALIBRATION_CASES,
    NETWORK_FILE,
    ORIGINAL,
)
from models.unet3d.mini import rendering

NETWORK = Path(__file__).with_name(NETWORK_FILE)
NETWORK_SHA256 = "d5b2ce2c3f9a05e1929210c9a01cdb8fc356226ebabf41cc3fbdd6294589ad87"
"""Part of the code, so that another network is another version of the step that copies it."""
MOST_SAMPLES = len(INFERENCE_CASES)
_BYTES_PER_CASE = 3_000_000
"""Mean size of a case is 1.6 MB."""


def make(folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
    """Write `kits19.tar` and `unet3d.onnx`; the same count gives the same bytes.

    Cases have the official names, and case_00400 is a copy of case_00185 as in the official set. The first
    cases of a larger edition are those of a smaller one.

    Args:
        folder: an existing, empty folder.
        sample_count: validation cases, 1 to 43.
        on_progress: called from this thread.

    Raises:
        SettingError: the count is out of range.
        SourceError: the committed network is not the one that belongs to this code.
        DiskFullError: there is not enough space.
    """
    check_count("3d-unet-99", sample_count, MOST_SAMPLES)
    cases: list[tuple[str, rendering.Split, int]] = [
        (name, "validation", INFERENCE_CASES.index(ORIGINAL if name == COPIED else name))
        for name in INFERENCE_CASES[:sample_count]
    ]
    cases += [
        (name, "calibration", index) for index, name in enumerate(CALIBRATION_CASES[:MINI_CALIBRATION_CASES])
    ]
    require_free_space(folder, len(cases) * _BYTES_PER_CASE, f"a mini edition of {sample_count} samples")

    def files_of(case: tuple[str, rendering.Split, int]) -> tuple[str, bytes, bytes]:
        name, split, index = case
        volume = rendering.render(split, index)
        image, label = (nifti(values, volume.spacing) for values in (volume.image, volume.label))
        return name, image, label

    with disk_full_named(folder):
        copy_committed(NETWORK, NETWORK_SHA256, folder / NETWORK.name)
        with written_archive(folder / DATA_FILE) as archive:
            made = in_parallel(lambda one: files_of(cases[one]), range(len(cases)), os.cpu_count() or 1)
            for done, (name, image, label) in enumerate(made, 1):
                archive.add(f"data/{name}/{IMAGE}", image)
                archive.add(f"data/{name}/{LABEL}", label)
                on_progress(Progress(done, len(cases), "cases"))
    return listing_of(folder, (NETWORK.name, DATA_FILE), sample_count)


def nifti(values: NDArray[np.generic], spacing: rendering.Triple) -> bytes:
    """Return a volume as the bytes of a `.nii.gz` file, without a time in it."""
    from nibabel.nifti1 import Nifti1Image

    image = cast(Any, Nifti1Image)(values, np.diag([*spacing, 1.0]))
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
