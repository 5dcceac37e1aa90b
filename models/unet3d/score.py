"""DICE of 3d-unet-99, as accuracy_kits.py of MLPerf Inference v4.1 computes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import AccuracyEntry, Score, Scorer
from models.scoring import bad_log
from models.unet3d.cases import case_folder, cases_of
from models.unet3d.facts import IMAGE, LABEL
from models.unet3d.volumes import CLASSES, prepare_label, read_label

SMOOTHING = 1e-6
"""Added to both sides of the fraction in DICE (accuracy_kits.py)."""


class MeanDice:
    """The mean of kidney's and tumour's DICE, 0 to 1."""

    metric = "DICE"

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute DICE as accuracy_kits.py does, in the preprocessed space; an index's first entry counts.

        The divisor is the number of distinct indices that were seen, not the size of the data set.

        Raises:
            LogError: no entry, an index outside the data set, a response of another size than the volume, or
                one with other labels than 0, 1 and 2.
            SourceError: a segmentation cannot be read.
        """
        cases = cases_of(edition, "validation")
        found: dict[int, tuple[float, float]] = {}
        for entry in entries:
            if not 0 <= entry.qsl_idx < len(cases):
                raise bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(cases)} samples")
            if entry.qsl_idx not in found:
                folder = case_folder(dataset, cases[entry.qsl_idx])
                truth = prepare_label(read_label(folder / LABEL, folder / IMAGE))
                found[entry.qsl_idx] = _dice(entry, truth)
        if not found:
            raise bad_log("the log holds no response")
        scores = np.array(list(found.values()), np.float64)
        kidney, tumour = scores.mean(0)
        mean = f"{scores.mean(1).mean():.5f}"  # the checker reads these digits, so they are the metric
        line = f"Accuracy: mean = {mean}, kidney = {kidney:.4f}, tumor = {tumour:.4f}"
        return Score({self.metric: float(mean)}, (line,), len(found))


def _dice(entry: AccuracyEntry, truth: NDArray[np.uint8]) -> tuple[float, float]:
    """Return DICE of kidney and tumour: (2 |both| + 1e-6) / (|truth| + |response| + 1e-6)."""
    response = np.frombuffer(entry.data, np.uint8)
    if response.size != truth.size:
        raise bad_log(
            f"sample {entry.qsl_idx} has {truth.size} voxels, but its response {response.size} bytes"
        )
    if response.max() >= CLASSES:
        raise bad_log(f"the response of sample {entry.qsl_idx} holds the label {response.max()}")
    scores = []
    for label in (1, 2):
        wanted, marked = truth.reshape(-1) == label, response == label
        both, all_ = np.count_nonzero(wanted & marked), np.count_nonzero(wanted) + np.count_nonzero(marked)
        scores.append((2.0 * both + SMOOTHING) / (all_ + SMOOTHING))
    return scores[0], scores[1]


SCORER: Scorer = MeanDice()
