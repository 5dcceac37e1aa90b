"""resnet50's data: ImageNet's validation images, and rendered digits in the mini edition."""

from __future__ import annotations

from pathlib import Path

from mlperf_submission.benchmark.answer import Samples
from mlperf_submission.benchmark.facts import Edition, MiniListing
from mlperf_submission.benchmark.parts import Data, OnProgress, Preprocessing
from models.images.arrays import ArraySamples, preprocess_images
from models.images.folder import verify_images
from models.resnet50 import imagenet
from models.resnet50.facts import NETWORK_FILE
from models.resnet50.tensors import INPUT, inputs


class Resnet50Data:
    """ImageNet 2012; the mini edition holds rendered digits."""

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the rendered digits and their network, as `make_mini` listed them."""
        return Edition(
            "mini",
            listing.source(NETWORK_FILE),
            (listing.source("val.tar", "validation"), listing.source("calibration.tar", "calibration")),
            listing.sample_count,
            notes="handwritten digits rendered as colour pictures; never a result",
        )

    def make_mini(self, folder: Path, sample_count: int, on_progress: OnProgress) -> MiniListing:
        """Render the digits and copy the network; see `models.resnet50.mini.files`."""
        from models.resnet50.mini.files import make

        return make(folder, sample_count, on_progress)

    def verify(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check every image of an edition's folder or, for ImageNet, of a person's own folder."""
        images = imagenet.images_folder(folder, edition, "validation")
        if edition.licensed:
            return imagenet.verify_imagenet(images, edition.sample_count, on_progress)
        wanted = [image.name for image in imagenet.images_of(folder, edition, "validation")]
        return verify_images(images, wanted, on_progress)

    def preprocess(self, asked: Preprocessing) -> dict[str, object]:
        """Apply the official preprocessing; see `models.resnet50.imagenet`."""
        images = imagenet.images_of(asked.dataset, asked.edition, asked.subset)
        folder = imagenet.images_folder(asked.dataset, asked.edition, asked.subset)
        return preprocess_images(asked, images, folder, imagenet.OFFICIAL_STEPS, inputs(asked.precision))

    def open(self, folder: Path) -> Samples:
        """Open the array, memory-mapped."""
        return ArraySamples(folder, INPUT, imagenet.OFFICIAL_STEPS.shape)


DATA: Data = Resnet50Data()
