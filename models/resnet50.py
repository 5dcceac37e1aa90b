"""resnet50: image classification on ImageNet.

Facts from MLPerf Inference v4.1, vision/classification_and_detection (README.md, python/main.py, tools).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import LogError
from models import imagenet, imagenet_folder
from models.benchmark import (
    AccuracyEntry,
    Arrays,
    Benchmark,
    Edition,
    EditionName,
    Libraries,
    LicensedFolder,
    MiniListing,
    OnProgress,
    Precision,
    Responses,
    Samples,
    Score,
    Source,
    Subset,
    TensorSpec,
)

INPUT = "input_tensor:0"
ARG_MAX = "ArgMax:0"
NETWORK_FILE = "resnet50.onnx"
CLASSES: Mapping[EditionName, int] = {"full": 1000, "mini": 10}
"""Classes of an edition; its network has one output more, the background, which comes first."""
_BACKGROUND_OUTPUTS = 1
_IMAGENET_SAMPLES = 50_000
_IMAGENET = LicensedFolder(
    key="imagenet",
    title="the ILSVRC2012 validation images (ILSVRC2012_img_val.tar, 50,000 JPEG files, 6.7 GB, md5 "
    "29b22e2961454d5413ddabcf34fc5622) from https://image-net.org after registration, in one folder",
)
_NETWORK = Source(
    name=NETWORK_FILE,
    urls=(
        "https://zenodo.org/record/4735647/files/resnet50_v1.onnx",
        "https://armi.in/files/resnet50_v1_op11/resnet50_v1.onnx",
        "https://storage.googleapis.com/resnet50_assets/resnet50_v1.onnx",
    ),
    digest="md5:f6a4da60cd5f084d97efc2c1ddb10beb",
    size=None,
)
_LABELS = Source(
    name="caffe_ilsvrc12.tar.gz",
    urls=("http://dl.caffe.berkeleyvision.org/caffe_ilsvrc12.tar.gz",),
    digest="md5:f963098ea0e785a968ca1eb634003a90",
    size=None,
    unpack="labels",
)


class Resnet50(Benchmark):
    """ResNet-50 v1.5 on ImageNet 2012; the mini edition is a small residual network on rendered digits."""

    name = "resnet50"
    inputs = (TensorSpec(INPUT, "float32", (None, 3, imagenet.SIDE, imagenet.SIDE)),)
    outputs = (TensorSpec(ARG_MAX, "int64", (None,)),)
    response_dtype = "int32"
    metric = "acc"
    libraries = Libraries(
        make_mini=("opencv-python-headless", "scikit-learn"), preprocess=("opencv-python-headless",)
    )

    def full_edition(self) -> Edition:
        """Return the official network (opset 11), labels, and the folder that a person has to provide."""
        return Edition("full", _NETWORK, (_LABELS,), _IMAGENET_SAMPLES, _IMAGENET)

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
        """Render the digits and copy the network; see `models.mini.resnet50_files`."""
        from models.mini import resnet50_files

        return resnet50_files.make(folder, sample_count, on_progress)

    def verify_dataset(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check every image of an edition's folder or, for ImageNet, of a person's own folder."""
        images = imagenet_folder.images_folder(folder, edition, "validation")
        if edition.licensed:
            return imagenet_folder.verify_imagenet(images, edition.sample_count, on_progress)
        wanted = [image.name for image in self._images(folder, edition, "validation")]
        return imagenet_folder.verify_images(images, wanted, on_progress)

    def preprocess(
        self,
        dataset: Path,
        output: Path,
        *,
        edition: Edition,
        subset: Subset,
        precision: Precision,
        workers: int,
        on_progress: OnProgress,
    ) -> dict[str, object]:
        """Apply the official preprocessing; see `models.imagenet`.

        Calibration samples are float32 in every precision: the network that is calibrated takes float32.
        """
        images = self._images(dataset, edition, subset)
        dtype = "float32" if subset == "calibration" else self.network_inputs(precision)[0].dtype
        path = imagenet.preprocess_images(
            images,
            imagenet_folder.images_folder(dataset, edition, subset),
            output,
            dtype=dtype,
            workers=workers,
            on_progress=on_progress,
        )
        shape = [len(images), 3, imagenet.SIDE, imagenet.SIDE]
        return {"count": len(images), "shape": shape, "dtype": dtype, "bytes": path.stat().st_size}

    def open_samples(self, folder: Path) -> Samples:
        """Open the array, memory-mapped."""
        return imagenet.ArraySamples(folder, INPUT)

    def network_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return int8 for the INT8 network (a quarter of the bytes), else float32."""
        shape = (None, 3, imagenet.SIDE, imagenet.SIDE)
        if precision == "int8":
            return (TensorSpec(INPUT, "int8", shape, scale=imagenet.INT8_SCALE),)
        return (TensorSpec(INPUT, "float32", shape),)

    def respond(self, outputs: Arrays, indices: NDArray[np.int64]) -> Responses:
        """Return one little-endian int32 per sample: the class, that is ArgMax less the background."""
        classes = outputs[ARG_MAX].reshape(len(indices)).astype("<i4") - np.int32(_BACKGROUND_OUTPUTS)
        return Responses.from_rows(classes)

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute top-1 as tools/accuracy-imagenet.py does: the first entry of an index counts.

        The divisor is the number of distinct indices that were seen, not the size of the data set.

        Raises:
            LogError: no entry, an index outside the data set, or a response that is not four bytes.
            SourceError: the labels cannot be read.
        """
        labels = [image.label for image in self._images(dataset, edition, "validation")]
        seen: set[int] = set()
        good = 0
        for entry in entries:
            if not 0 <= entry.qsl_idx < len(labels):
                raise _bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(labels)} samples")
            if len(entry.data) != np.dtype(self.response_dtype).itemsize:
                raise _bad_log(f"the response of sample {entry.qsl_idx} has {len(entry.data)} bytes, not 4")
            if entry.qsl_idx not in seen:
                seen.add(entry.qsl_idx)
                good += int.from_bytes(entry.data, "little", signed=True) == labels[entry.qsl_idx]
        if not seen:
            raise _bad_log("the log holds no response")
        printed = f"{100.0 * good / len(seen):.3f}"  # the checker reads these digits, so they are the metric
        line = f"accuracy={printed}%, good={good}, total={len(seen)}"
        return Score({self.metric: float(printed)}, (line,), len(seen))

    def _images(self, dataset: Path, edition: Edition, subset: Subset) -> list[imagenet_folder.LabelledImage]:
        classes = CLASSES[edition.name]
        if subset == "calibration":
            return imagenet_folder.calibration_images(dataset, edition, classes=classes)
        path = imagenet_folder.labels_file(dataset, edition)
        return imagenet_folder.read_list(path, classes=classes, count=edition.sample_count)


_bad_log = partial(
    LogError,
    where="mlperf_log_accuracy.json",
    remedy="repeat the accuracy run of this benchmark and scenario",
)
