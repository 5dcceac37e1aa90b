"""bert-99's answers: the logits of a window, start and end in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays, BatchAnswer, Responses, Samples
from models.bert.facts import LOGITS_PER_PIECE
from models.bert.samples import SquadSamples
from models.bert.tensors import END, IDS, START


class Bert99Answer(BatchAnswer):
    """A batch is padded to its longest sample, or to 384 where the network knows no other length."""

    response_dtype = "float32"

    def inputs(
        self, samples: Samples, indices: NDArray[np.int64], shapes: Mapping[str, tuple[object, ...]]
    ) -> Arrays:
        """Return token ids, mask and segments."""
        length = shapes[IDS][1]
        return cast(SquadSamples, samples).batch(indices, length if isinstance(length, int) else None)

    def respond(self, outputs: Arrays, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Return the logits of a sample's true length, float32 (accuracy-squad.py takes shorter ones)."""
        lengths = cast(SquadSamples, samples).costs[indices]
        pairs = np.stack((outputs[START], outputs[END]), axis=-1).astype("<f4", copy=False)
        kept = np.arange(pairs.shape[1]) < lengths[:, None]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths * (LOGITS_PER_PIECE * pairs.itemsize), out=offsets[1:])
        return Responses(np.ascontiguousarray(pairs[kept]).reshape(-1).view(np.uint8), offsets)


ANSWER = Bert99Answer()
