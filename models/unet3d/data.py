"""3d-unet-99's data: CT volumes of KiTS19, and rendered volumes in the mini edition."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Edition, MiniListing
from mlperf_submission.benchmark.parts import Data, OnProgress, Preprocessing
from models.unet3d import samples
from models.unet3d.cases import cases_of, verify_cases
from models.unet3d.facts import DATA_FILE, FOLDER, NETWORK_FILE

_READERS = 4
"""Cases that are verified at a time; one holds up to about 2 GB."""


class Unet3dData:
    """KiTS19; the mini edition holds rendered volumes with bodies for kidneys and tumours."""

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the rendered volumes and their network, as `make_mini` listed them."""
        return Edition(
            "mini",
            listing.source(NETWORK_FILE),
            (listing.source(DATA_FILE, FOLDER),),
            listing.sample_count,
            notes="rendered volumes with bodies for kidneys and tumours; never a result",
        )

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Render the volumes and copy the network; see `models.unet3d.mini.files`."""
        from models.unet3d.mini.files import make

        return make(folder, sample_count, on_progress)

    def verify(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Read every case of both subsets to its end; a person's own are compared with the repository's."""
        cases = [*cases_of(edition, "validation"), *cases_of(edition, "calibration")]
        return verify_cases(
            folder,
            cases,
            official=edition.licensed is not None,
            workers=_READERS,
            on_progress=on_progress,
        )

    def preprocess(self, asked: Preprocessing) -> dict[str, object]:
        """Apply the official preprocessing; see `models.unet3d.volumes`.

        Calibration samples are windows of the calibration cases, float32 in every precision.
        """
        validation = asked.subset == "validation"
        return samples.write_samples(
            asked.dataset,
            cases_of(asked.edition, asked.subset),
            asked.output,
            kind="volumes" if validation else "windows",
            dtype="int8" if validation and asked.precision == "int8" else "float32",
            workers=asked.workers,
            on_progress=asked.on_progress,
        )

    def open(self, folder: Path) -> Samples:
        """Open the volumes (validation) or windows (calibration), memory-mapped."""
        return samples.open_samples(folder)


DATA: Data = Unet3dData()
