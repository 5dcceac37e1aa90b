"""KiTS19 on disk: which cases count, in which order, where they lie, and whether a folder is whole.

Sources: MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19/meta/inference_cases.json and
calibration_cases.json; the tree of the repository neheller/kits19 (identities of the segmentations).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from common.errors import PipelineError, SourceError
from models.benchmark import Edition, OnProgress, Progress, Subset
from models.parallel import in_parallel
from models.unet3d_volumes import read_image, read_label

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
_IDENTITIES = Path(__file__).with_name("unet3d_segmentations.txt")
"""Git's SHA-1 of each `segmentation.nii.gz`; KiTS19 publishes no checksum of the images."""
_NAMED = 20
_REMEDY = (
    "clone https://github.com/neheller/kits19, run `python3 -m starter_code.get_imaging` in it, and name its "
    "folder in the system file"
)


def cases_of(edition: Edition, subset: Subset, *, mini_calibration: int) -> tuple[str, ...]:
    """Return the names of a subset's cases in order; a small mini edition has the first of them."""
    if subset == "calibration":
        return CALIBRATION_CASES if edition.licensed else CALIBRATION_CASES[:mini_calibration]
    return INFERENCE_CASES[: edition.sample_count]


def case_folder(dataset: Path, case: str) -> Path:
    """Return the folder of a case; that of the original where its copy was not made."""
    root = dataset / FOLDER
    if (root / "data").is_dir():
        root = root / "data"
    folder = root / case
    return root / ORIGINAL if case == COPIED and not folder.exists() else folder


def verify_cases(
    dataset: Path, cases: Sequence[str], *, official: bool, workers: int, on_progress: OnProgress
) -> dict[str, object]:
    """Read every file of the cases to its end; compare segmentations with the repository's where official.

    Returns:
        Figures: cases, voxels, bytes, and how many segmentations were compared.

    Raises:
        SourceError: cases are missing, damaged, or not the official ones; all are counted, the first named.
    """
    identities = _identities() if official else {}
    voxels = size = 0
    problems: list[str] = []

    def check(case: str) -> tuple[int, int] | str:
        folder = case_folder(dataset, case)
        try:
            image = read_image(folder / IMAGE)
            read_label(folder / LABEL, folder / IMAGE)
        except PipelineError as error:
            return f"{case}/{Path(error.where).name}: {error.what}"
        wanted = identities.get(ORIGINAL if case == COPIED else case)
        if wanted and git_identity(folder / LABEL) != wanted:
            return f"{case}/{LABEL}: not the segmentation that the repository holds"
        return image.values.size, sum((folder / name).stat().st_size for name in (IMAGE, LABEL))

    results = in_parallel(lambda number: check(cases[number]), range(len(cases)), workers)
    for done, found in enumerate(results, 1):
        if isinstance(found, str):
            problems.append(found)
        else:
            voxels, size = voxels + found[0], size + found[1]
        on_progress(Progress(done, len(cases), "cases"))
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise SourceError(
            f"{len(problems)} of {len(cases)} cases cannot be used: {'; '.join(problems[:_NAMED])}{more}",
            where=dataset / FOLDER,
            remedy=_REMEDY if official else "remove the folder and start the same command again",
        )
    return {"cases": len(cases), "voxels": voxels, "bytes": size, "compared": len(identities)}


def git_identity(path: Path) -> str:
    """Return the name that Git gives a file's content: the SHA-1 over a short header and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _identities() -> dict[str, str]:
    lines = _IDENTITIES.read_text(encoding="utf-8").splitlines()
    return dict(line.split() for line in lines)
