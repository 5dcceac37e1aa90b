"""The facts of resnet50.

From MLPerf Inference v4.1, vision/classification_and_detection (README.md, python/main.py, tools).
"""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Edition, Facts, Libraries, LicensedFolder, Sizes, Source

NETWORK_FILE = "resnet50.onnx"
SIDE = 224
"""Side of the network's input, pixels."""
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
FACTS = Facts(
    name="resnet50",
    full=Edition("full", _NETWORK, (_LABELS,), 50_000, _IMAGENET),
    sizes=Sizes(
        network=102_000_000,
        network_source="about: its weights in FP32",
        converted=102_000_000,
        sample_values=3 * SIDE * SIDE,
        sample_source="the network's input",
        response=4,
        mini_sample_values=3 * SIDE * SIDE,
        converting=2_300_000_000,
        converting_source="measured with random weights: INT8, calibrated in batches",
    ),
    libraries=Libraries(
        make_mini=("opencv-python-headless", "scikit-learn"), preprocess=("opencv-python-headless",)
    ),
)
