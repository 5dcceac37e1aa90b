"""retinanet: object detection on the MLPerf subset of OpenImages.

Facts from MLPerf Inference v4.1, vision/classification_and_detection (README.md, python/main.py,
python/openimages.py, tools).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from models import imagenet, openimages
from models.benchmark import (
    AccuracyEntry,
    Arrays,
    Benchmark,
    Edition,
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
from models.retinanet_boxes import BASE_SIZES, SIDE, Detections, Head, detect
from models.retinanet_network import INPUT, INPUTS, cut_at_heads, head_names, head_outputs

_SAMPLES = 24_781
FULL_AGREEMENT_IMAGES = 50
_NETWORK = Source(
    name="resnext50_32x4d_fpn.onnx",
    urls=(
        "https://zenodo.org/record/6617879/files/resnext50_32x4d_fpn.onnx",
        "https://armi.in/files/resnext50_32x4d_fpn.onnx",
        "https://storage.googleapis.com/resnet50_assets/resnext50_32x4d_fpn.onnx",
    ),
    digest="md5:4544f4e56e0a4684215831cc937ea45c",
    size=None,
)
_ANNOTATIONS = Source(
    name="openimages-mlperf_annotations_2.1.json.zip",
    urls=(
        "https://github.com/mlcommons/inference/releases/download/v2.1/"
        "openimages-mlperf_annotations_2.1.json.zip",
    ),
    digest="md5:817fd8da3aeeb0575f1e2d2926b15e68",
    size=None,
    unpack="annotations",
    licence="CC BY 4.0",
)
"""Of v2.1: newer scripts make other annotations, which cost 0.9 points of mAP (mlcommons/inference#1332)."""
_CALIBRATION = Source(
    name=openimages.CALIBRATION_LIST,
    urls=(
        "https://raw.githubusercontent.com/mlcommons/inference/v4.1/calibration/openimages/"
        "openimages_cal_images_list.txt",
    ),
    digest="md5:5c3196ddcec4605c6a9fcf004d9615e6",
    size=None,
)
_IMAGES = LicensedFolder(
    key="openimages",
    title="the 24,781 validation images that the annotations name and the 500 images of the calibration list "
    "(CC BY 2.0, no registration): the keys validation/<id>.jpg and train/<id>.jpg of the public bucket "
    "https://open-images-dataset.s3.amazonaws.com; in one folder, as validation/data/<id>.jpg and "
    "calibration/data/<id>.jpg (`python -m tasks.fetch_openimages FOLDER` does that)",
)


class Retinanet(Benchmark):
    """RetinaNet with a ResNeXt-50 backbone on OpenImages; the mini edition finds rendered shapes."""

    name = "retinanet"
    inputs = INPUTS
    outputs = head_outputs()
    response_dtype = "float32"
    metric = "mAP"
    libraries = Libraries(
        make_mini=("opencv-python-headless",), preprocess=("opencv-python-headless",), score=("pycocotools",)
    )

    def full_edition(self) -> Edition:
        """Return the official network, annotations and calibration list; a person brings the images."""
        return Edition("full", _NETWORK, (_ANNOTATIONS, _CALIBRATION), _SAMPLES, _IMAGES)

    def mini_edition(self, listing: MiniListing) -> Edition:
        """Return the rendered shapes and their network, as `make_mini` listed them."""
        from models.mini import retinanet_files as files

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
        """Render the shapes and copy the network; see `models.mini.retinanet_files`."""
        from models.mini import retinanet_files

        return retinanet_files.make(folder, sample_count, on_progress)

    def verify_dataset(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Check both subsets' folders image by image against the annotations and the calibration list."""
        return openimages.verify_subsets(folder, edition, on_progress)

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
        """Apply the official preprocessing; see `models.openimages`.

        Calibration samples are float32 in every precision: the network that is calibrated takes float32.
        """
        images = openimages.images_of(dataset, edition, subset)
        dtype = "float32" if subset == "calibration" else self.network_inputs(precision)[0].dtype
        path = imagenet.preprocess_images(
            images,
            openimages.images_folder(dataset, edition, subset),
            output,
            dtype=dtype,
            workers=workers,
            on_progress=on_progress,
            steps=openimages.OFFICIAL_STEPS,
        )
        shape = [len(images), *openimages.OFFICIAL_STEPS.shape]
        return {"count": len(images), "shape": shape, "dtype": dtype, "bytes": path.stat().st_size}

    def open_samples(self, folder: Path) -> Samples:
        """Open the array, memory-mapped."""
        return imagenet.ArraySamples(folder, INPUT, openimages.OFFICIAL_STEPS.shape)

    def network_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return int8 for the INT8 network (a quarter of the bytes), else float32."""
        if precision == "int8":
            return (TensorSpec(INPUT, "int8", INPUTS[0].shape, scale=openimages.INT8_SCALE),)
        return INPUTS

    def adapt(self, model: ModelProto) -> ModelProto:
        """Cut the published network at its ten heads; see `models.retinanet_network`."""
        return cut_at_heads(model)

    def agreement_samples(self, edition: Edition) -> int | None:
        """Return few images of the full edition, which a processor takes seconds for each."""
        return FULL_AGREEMENT_IMAGES if edition.name == "full" else None

    def respond(self, outputs: Arrays, indices: NDArray[np.int64]) -> Responses:
        """Return seven float32 per detection: sample index, top, left, bottom, right, score, class.

        Coordinates are 0 to 1 of the image's height and width. An image without detections has no bytes.
        """
        maps = [(side, *head_names(side)) for side in BASE_SIZES if head_names(side)[0] in outputs]
        rows = []
        for row, index in enumerate(indices.tolist()):
            heads = {
                side: Head(
                    np.asarray(outputs[classes][row], np.float32), np.asarray(outputs[boxes][row], np.float32)
                )
                for side, classes, boxes in maps
            }
            rows.append(_as_response(index, detect(heads)))
        offsets = np.concatenate([[0], np.cumsum([part.nbytes for part in rows])]).astype(np.int64)
        data = np.ascontiguousarray(np.concatenate(rows)) if rows else np.empty((0, 7), "<f4")
        return Responses(data.reshape(-1).view(np.uint8), offsets)

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute mAP as tools/accuracy-openimages.py does; see `models.openimages_score`."""
        from models.openimages_score import score

        images = openimages.validation_images(dataset, edition)
        return score(entries, openimages.annotations_file(dataset), images)


def _as_response(index: int, found: Detections) -> NDArray[np.float32]:
    response = np.empty((len(found.scores), 7), "<f4")
    response[:, 0] = index
    response[:, 1:5] = found.boxes[:, [1, 0, 3, 2]] / np.float32(SIDE)
    response[:, 5] = found.scores
    response[:, 6] = found.labels
    return response
