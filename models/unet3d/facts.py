"""The facts of 3d-unet-99: its cases in order, and where the rest comes from.

From MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19 (README.md, meta/inference_cases.json and
calibration_cases.json). Offline is the only scenario.
"""

from __future__ import annotations

from mlperf_submission.benchmark.facts import Edition, Facts, Libraries, LicensedFolder, Sizes, Source

NETWORK_FILE = "unet3d.onnx"
DATA_FILE = "kits19.tar"
MINI_CALIBRATION_CASES = 1
FOLDER = "kits19"
"""Where the data set appears in an edition's folder: a copy of the repository, or its folder `data`."""
IMAGE, LABEL = "imaging.nii.gz", "segmentation.nii.gz"
COPIED, ORIGINAL = "case_00400", "case_00185"
"""The reference copies a case under a new name, so that there are 43; where it was not copied it is read."""
_INFERENCE = (
    "00000 00003 00005 00006 00012 00024 00034 00041 00044 00049 00052 00056 00061 00065 00066 00070 00076 "
    "00078 00080 00084 00086 00087 00092 00111 00112 00125 00128 00138 00157 00160 00161 00162 00169 00171 "
    "00176 00185 00187 00189 00198 00203 00206 00207 00400"
)
_CALIBRATION = (
    "00047 00050 00053 00073 00081 00090 00091 00100 00117 00130 00136 00141 00144 00147 00148 00149 00150 "
    "00172 00183 00196"
)
INFERENCE_CASES = tuple(f"case_{number}" for number in _INFERENCE.split())
"""In the order of the QSL indices."""
CALIBRATION_CASES = tuple(f"case_{number}" for number in _CALIBRATION.split())
_KITS19 = LicensedFolder(
    key=FOLDER,
    title="KiTS19 (https://github.com/neheller/kits19; CC BY-NC-SA 4.0, not for commercial use): clone the "
    "repository, run `python3 -m starter_code.get_imaging` in it",
)
_NETWORK = Source(
    name="3dunet_kits19_128x128x128_dynbatch.onnx",
    urls=("https://zenodo.org/record/5597155/files/3dunet_kits19_128x128x128_dynbatch.onnx",),
    digest="md5:82f0618fde78f9839e7c712274019b4a",
    size=None,
)
FACTS = Facts(
    name="3d-unet-99",
    full=Edition("full", _NETWORK, (), len(INFERENCE_CASES), _KITS19),
    sizes=Sizes(
        network=125_000_000,
        network_source="about: its weights in FP32",
        converted=125_000_000,
        sample_values=33_000_000,
        sample_source="mean of the official cases",
        response=33_000_000,
        mini_sample_values=None,
        converting=6_400_000_000,
        converting_source="measured with random weights: INT8, calibrated window by window",
        state=4 * 128 * 3 * 64**3 * 4,  # FP32 sums of 3 classes (models.unet3d.tensors)
    ),
    libraries=Libraries(make_mini=("nibabel",), preprocess=("nibabel", "scipy"), score=("nibabel", "scipy")),
)
