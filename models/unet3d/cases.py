"""KiTS19 on disk: which cases count, where they lie, and whether a folder is whole.

Source: the tree of the repository neheller/kits19 (identities of the segmentations).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mlperf_submission.benchmark.facts import Edition, Subset
from mlperf_submission.benchmark.parts import OnProgress, Progress
from mlperf_submission.errors import PipelineError, SourceError
from models.parallel import in_parallel
from models.unet3d.facts import (
    CALIBRATION_CASES,
    COPIED,
    FOLDER,
    IMAGE,
    INFERENCE_CASES,
    LABEL,
    MINI_CALIBRATION_CASES,
    ORIGINAL,
)
from models.unet3d.volumes import read_image, read_label

_IDENTITIES = Path(__file__).with_name("segmentations.txt")
"""Git's SHA-1 of each `segmentation.nii.gz`; KiTS19 publishes no checksum of the images."""
_NAMED = 20
_REMEDY = (
    "clone https://github.com/neheller/kits19, run `python3 -m starter_code.get_imaging` in it, and name its "
    "folder in the system file"
)


def cases_of(edition: Edition, subset: Subset) -> tuple[str, ...]:
    """Return the names of a subset's cases in order; a small mini edition has the first of them."""
    if subset == "calibration":
        return CALIBRATION_CASES if edition.licensed else CALIBRATION_CASES[:MINI_CALIBRATION_CASES]
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
            code="data-set",
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
