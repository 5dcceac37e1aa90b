"""retinanet's data: images of OpenImages, and rendered shapes in the mini edition."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Edition, MiniListing
from mlperf_submission.benchmark.parts import Data, OnProgress, Preprocessing
from models.images.arrays import ArraySamples, preprocess_images
from models.retinanet import openimages
from models.retinanet.tensors import INPUT, inputs


class RetinanetData:
    """OpenImages; the mini edition holds rendered shapes."""

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the rendered shapes and their network, as `make_mini` listed them."""
        from models.retinanet.mini import files

        folders = {
            files.VALIDATION: "validation",
            files.CALIBRATION: "calibration",
            files.ANNOTATED: "annotations",
        }
        return Edition(
            "mini",
            listing.source(files.NETWORK.name),
            tuple(listing.source(name, folder) for name, folder in folders.items()),
            listing.sample_count,
            notes="rendered shapes in colours; never a result",
        )

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Render the shapes and copy the network; see `models.retinanet.mini.files`."""
        from models.retinanet.mini.files import make

        return make(folder, sample_count, on_progress)

    def verify(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check both subsets' folders image by image against the annotations and the calibration list."""
        return openimages.verify_subsets(folder, edition, on_progress)

    def preprocess(self, asked: Preprocessing) -> dict[str, object]:
        """Apply the official preprocessing; see `models.retinanet.openimages`."""
        images = openimages.images_of(asked.dataset, asked.edition, asked.subset)
        folder = openimages.images_folder(asked.dataset, asked.edition, asked.subset)
        return preprocess_images(asked, images, folder, openimages.OFFICIAL_STEPS, inputs(asked.precision))

    def open(self, folder: Path) -> Samples:
        """Open the array, memory-mapped."""
        return ArraySamples(folder, INPUT, openimages.OFFICIAL_STEPS.shape)


DATA: Data = RetinanetData()
