"""The facts of retinanet.

From MLPerf Inference v4.1, vision/classification_and_detection (README.md, python, tools).
"""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Edition, Facts, Libraries, LicensedFolder, Sizes, Source

SIDE = 800
"""Side of the network's input, pixels."""
CALIBRATION_LIST = "openimages_cal_images_list.txt"
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
    name=CALIBRATION_LIST,
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
FACTS = Facts(
    name="retinanet",
    full=Edition("full", _NETWORK, (_ANNOTATIONS, _CALIBRATION), 24_781, _IMAGES),
    sizes=Sizes(
        network=152_000_000,
        network_source="about: its weights in FP32",
        converted=152_000_000,
        sample_values=3 * SIDE * SIDE,
        sample_source="the network's input",
        response=None,
        mini_sample_values=3 * SIDE * SIDE,
        converting=3_300_000_000,
        converting_source="measured with random weights: INT8, calibrated picture by picture",
    ),
    libraries=Libraries(
        make_mini=("opencv-python-headless",), preprocess=("opencv-python-headless",), score=("pycocotools",)
    ),
)
