"""3d-unet-99: kidneys and their tumours in the CT volumes of KiTS19.

Facts from MLPerf Inference v4.1, vision/medical_imaging/3d-unet-kits19 (README.md, accuracy_kits.py). Offline
is the only scenario. One sample is a whole volume, its response a uint8 mask of the preprocessed shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from common.errors import LogError, SettingError
from models import unet3d_samples
from models.benchmark import (
    AccuracyEntry,
    Arrays,
    Benchmark,
    Edition,
    Libraries,
    LicensedFolder,
    LoopStep,
    MiniListing,
    OnProgress,
    Precision,
    Responses,
    Samples,
    Score,
    Session,
    Source,
    Subset,
    TensorSpec,
)
from models.unet3d_cases import (
    FOLDER,
    IMAGE,
    INFERENCE_CASES,
    LABEL,
    case_folder,
    cases_of,
    verify_cases,
)
from models.unet3d_volumes import CLASSES, INT8_SCALE, WINDOW, prepare_label, read_label
from models.unet3d_windows import INPUT, OUTPUT, WindowBatches, segment

NETWORK_FILE = "unet3d.onnx"
DATA_FILE = "kits19.tar"
MINI_CALIBRATION_CASES = 8
AGREEMENT_CASES = {"mini": 12, "full": 2}
"""Cases that a converted network is compared on: a processor takes minutes for each full one."""
_READERS = 4
"""Cases that are verified at a time; one holds up to about 2 GB."""
SMOOTHING = 1e-6
"""Added to both sides of the fraction in DICE (accuracy_kits.py)."""
_SIDES = (WINDOW, WINDOW, WINDOW)
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


class Unet3d(Benchmark):
    """3D U-Net on KiTS19; the mini edition is a small encoder and decoder on rendered volumes."""

    name = "3d-unet-99"
    inputs = (TensorSpec(INPUT, "float32", (None, 1, *_SIDES)),)
    outputs = (TensorSpec(OUTPUT, "float32", (None, CLASSES, *_SIDES)),)
    response_dtype = "uint8"
    metric = "DICE"
    libraries = Libraries(make_mini=("nibabel",), preprocess=("nibabel", "scipy"), score=("nibabel", "scipy"))
    samples_per_batch = 1
    """A volume at a time: its windows are what the network takes in batches."""
    has_loop = True
    """Volumes have unequally many windows; they share batches, so that all but the very last are full."""

    def full_edition(self) -> Edition:
        """Return the official network with a free batch, and the folder that a person has to provide."""
        return Edition("full", _NETWORK, (), len(INFERENCE_CASES), _KITS19)

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
        """Render the volumes and copy the network; see `models.mini.unet3d_files`."""
        from models.mini import unet3d_files

        return unet3d_files.make(folder, sample_count, on_progress)

    def verify_dataset(self, folder: Path, edition: Edition, on_progress: OnProgress) -> dict[str, object]:
        """Read every case of both subsets to its end; a person's own are compared with the repository's."""
        cases = [*_cases(edition, "validation"), *_cases(edition, "calibration")]
        return verify_cases(
            folder,
            cases,
            official=edition.licensed is not None,
            workers=_READERS,
            on_progress=on_progress,
        )

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
        """Apply the official preprocessing; see `models.unet3d_volumes`.

        Calibration samples are windows of the calibration cases, float32 in every precision.
        """
        validation = subset == "validation"
        return unet3d_samples.write_samples(
            dataset,
            _cases(edition, subset),
            output,
            kind="volumes" if validation else "windows",
            dtype="int8" if validation and precision == "int8" else "float32",
            workers=workers,
            on_progress=on_progress,
        )

    def open_samples(self, folder: Path) -> Samples:
        """Open the volumes (validation) or windows (calibration), memory-mapped."""
        return unet3d_samples.open_samples(folder)

    def network_inputs(self, precision: Precision) -> tuple[TensorSpec, ...]:
        """Return int8 for the INT8 network (a quarter of the bytes), else float32."""
        if precision == "int8":
            return (TensorSpec(INPUT, "int8", (None, 1, *_SIDES), scale=INT8_SCALE),)
        return self.inputs

    def agreement_samples(self, edition: Edition) -> int:
        """Return few cases, which a processor is slow at."""
        return AGREEMENT_CASES[edition.name]

    def run_batch(self, session: Session, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Segment one volume after the other; the windows of a volume go through the network in batches."""
        volumes = cast(unet3d_samples.VolumeSamples, samples)
        return _responses([segment(session, volumes.volume(index)) for index in indices.tolist()])

    def open_loop(self, session: Session, samples: Samples) -> VolumeLoop:
        """Return a loop in which volumes share the session's batches."""
        return VolumeLoop(session, cast(unet3d_samples.VolumeSamples, samples))

    def respond(self, outputs: Arrays, indices: NDArray[np.int64]) -> Responses:
        """Refuse: a response is made of many windows, see `run_batch`."""
        raise SettingError(
            f"{', '.join(outputs)} of {len(indices)} windows are no responses of {self.name}",
            remedy="report this to the project: 3d-unet answers its samples through run_batch",
        )

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute DICE as accuracy_kits.py does, in the preprocessed space; an index's first entry counts.

        The divisor is the number of distinct indices that were seen, not the size of the data set.

        Raises:
            LogError: no entry, an index outside the data set, a response of another size than the volume, or
                one with other labels than 0, 1 and 2.
            SourceError: a segmentation cannot be read.
        """
        cases = _cases(edition, "validation")
        found: dict[int, tuple[float, float]] = {}
        for entry in entries:
            if not 0 <= entry.qsl_idx < len(cases):
                raise _bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(cases)} samples")
            if entry.qsl_idx not in found:
                folder = case_folder(dataset, cases[entry.qsl_idx])
                truth = prepare_label(read_label(folder / LABEL, folder / IMAGE))
                found[entry.qsl_idx] = _dice(entry, truth)
        if not found:
            raise _bad_log("the log holds no response")
        scores = np.array(list(found.values()), np.float64)
        kidney, tumour = scores.mean(0)
        mean = f"{scores.mean(1).mean():.5f}"  # the checker reads these digits, so they are the metric
        line = f"Accuracy: mean = {mean}, kidney = {kidney:.4f}, tumor = {tumour:.4f}"
        return Score({self.metric: float(mean)}, (line,), len(found))


class VolumeLoop:
    """Batches of windows filled across volumes: one enters when those that wait no longer fill a batch."""

    def __init__(self, session: Session, samples: unet3d_samples.VolumeSamples) -> None:
        self._samples = samples
        self._batches = WindowBatches(session)
        self._most = session.batch_size

    @property
    def room(self) -> int:
        """One, if the next batch would not be full; an open volume takes much memory."""
        return int(self._batches.left < self._most)

    @property
    def is_idle(self) -> bool:
        """Whether no window waits; then every volume is complete."""
        return self._batches.left == 0

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Put the volumes' windows behind those that wait."""
        for id_, index in zip(ids, indices.tolist(), strict=True):
            self._batches.enter(id_, self._samples.volume(index))

    def step(self) -> LoopStep:
        """Run one batch of windows."""
        done = self._batches.step()
        return LoopStep([id_ for id_, _ in done], _responses([labels for _, labels in done]))


def _responses(masks: Sequence[NDArray[np.uint8]]) -> Responses:
    offsets = np.concatenate(([0], np.cumsum([mask.size for mask in masks], dtype=np.int64)))
    flat = [mask.reshape(-1) for mask in masks]
    return Responses(flat[0] if len(flat) == 1 else np.concatenate([np.empty(0, np.uint8), *flat]), offsets)


def _cases(edition: Edition, subset: Subset) -> tuple[str, ...]:
    return cases_of(edition, subset, mini_calibration=MINI_CALIBRATION_CASES)


def _dice(entry: AccuracyEntry, truth: NDArray[np.uint8]) -> tuple[float, float]:
    """Return DICE of kidney and tumour: (2 |both| + 1e-6) / (|truth| + |response| + 1e-6)."""
    response = np.frombuffer(entry.data, np.uint8)
    if response.size != truth.size:
        raise _bad_log(
            f"sample {entry.qsl_idx} has {truth.size} voxels, but its response {response.size} bytes"
        )
    if response.max() >= CLASSES:
        raise _bad_log(f"the response of sample {entry.qsl_idx} holds the label {response.max()}")
    scores = []
    for label in (1, 2):
        wanted, marked = truth.reshape(-1) == label, response == label
        both, all_ = np.count_nonzero(wanted & marked), np.count_nonzero(wanted) + np.count_nonzero(marked)
        scores.append((2.0 * both + SMOOTHING) / (all_ + SMOOTHING))
    return scores[0], scores[1]


_bad_log = partial(
    LogError,
    where="mlperf_log_accuracy.json",
    remedy="repeat the accuracy run of this benchmark and scenario",
)
