"""Top-1 accuracy, in the format of the official accuracy script.

Source: MLPerf Inference v4.1, vision/classification_and_detection/tools/accuracy-imagenet.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import AccuracyEntry, Score, Scorer
from models.resnet50.imagenet import images_of
from models.resnet50.tensors import RESPONSE_DTYPE
from models.scoring import bad_log


class TopOne:
    """The share of images whose class is right, in percent."""

    metric = "acc"

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute top-1 as tools/accuracy-imagenet.py does: the first entry of an index counts.

        The divisor is the number of distinct indices that were seen, not the size of the data set.

        Raises:
            LogError: no entry, an index outside the data set, or a response that is not four bytes.
            SourceError: the labels cannot be read.
        """
        labels = [image.label for image in images_of(dataset, edition, "validation")]
        seen: set[int] = set()
        good = 0
        for entry in entries:
            if not 0 <= entry.qsl_idx < len(labels):
                raise bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(labels)} samples")
            if len(entry.data) != np.dtype(RESPONSE_DTYPE).itemsize:
                raise bad_log(f"the response of sample {entry.qsl_idx} has {len(entry.data)} bytes, not 4")
            if entry.qsl_idx not in seen:
                seen.add(entry.qsl_idx)
                good += int.from_bytes(entry.data, "little", signed=True) == labels[entry.qsl_idx]
        if not seen:
            raise bad_log("the log holds no response")
        printed = f"{100.0 * good / len(seen):.3f}"  # the checker reads these digits, so they are the metric
        line = f"accuracy={printed}%, good={good}, total={len(seen)}"
        return Score({self.metric: float(printed)}, (line,), len(seen))


SCORER: Scorer = TopOne()
