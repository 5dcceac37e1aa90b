"""A mini edition, made once per session through the public way in, and the reference's steps anew."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mlperf_submission.benchmark.facts import Edition, MiniListing
from mlperf_submission.benchmark.parts import ignore_progress
from models.registry import get_benchmark

MINI_SAMPLES = 240


@dataclass(frozen=True)
class MadeMini:
    """A mini edition of resnet50 as a download step leaves it."""

    files: Path
    listing: MiniListing
    edition: Edition
    dataset: Path

    @property
    def jpegs(self) -> list[Path]:
        return sorted((self.dataset / "validation").glob("*.JPEG"))

    @property
    def labels(self) -> list[int]:
        lines = (self.dataset / "validation" / "val_map.txt").read_text().splitlines()
        return [int(line.split()[1]) for line in lines]


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> MadeMini:
    benchmark = get_benchmark("resnet50")
    files, dataset = tmp_path_factory.mktemp("mini-files"), tmp_path_factory.mktemp("mini-data")
    listing = benchmark.data.make_mini(files, MINI_SAMPLES, ignore_progress)
    edition = benchmark.data.mini_edition(listing)
    for source in edition.data:
        assert source.unpack
        with tarfile.open(files / source.name) as archive:
            archive.extractall(dataset / source.unpack, filter="data")
    return MadeMini(files, listing, edition, dataset)


@dataclass(frozen=True)
class Steps:
    """The official preprocessing step by step, with what can be done wrong."""

    swap: bool = False
    means: tuple[float, float, float] = (123.68, 116.78, 103.94)
    divide: float = 1.0
    crop: str = "centre"

    def __call__(self, path: Path) -> NDArray[np.float32]:
        image = cv2.imread(str(path))
        assert image is not None
        if not self.swap:
            image = image[:, :, [2, 1, 0]]
        height, width, _ = image.shape
        if self.crop == "squeezed":
            image = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
        else:
            scaled = (256, int(256 * height / width)) if height > width else (int(256 * width / height), 256)
            image = cv2.resize(np.ascontiguousarray(image), scaled, interpolation=cv2.INTER_AREA)
            height, width, _ = image.shape
            left, right = int((width - 224) / 2), int((width + 224) / 2)
            top, bottom = int((height - 224) / 2), int((height + 224) / 2)
            if self.crop == "corner":
                left, right, top, bottom = 0, 224, 0, 224
            image = image[top:bottom, left:right]
        values = np.asarray(image, dtype="float32")
        values = (values - np.array(self.means, dtype=np.float32)) / np.float32(self.divide)
        return np.ascontiguousarray(values.transpose([2, 0, 1]))


@pytest.fixture
def steps() -> Callable[..., Steps]:
    return Steps
