"""retinanet's answers: the detections of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays, Responses, Samples, StackedAnswer
from models.retinanet.tensors import OUTPUT, SCORE, VALUES


class RetinanetAnswer(StackedAnswer):
    """Seven float32 per detection: sample index, top, left, bottom, right, score, class."""

    response_dtype = "float32"

    def respond(self, outputs: Arrays, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Put the index before each detection; an image without detections has no bytes.

        Coordinates are 0 to 1 of the image's height and width.
        """
        del samples
        found = np.asarray(outputs[OUTPUT], np.float32)
        row, place = np.nonzero(found[:, :, SCORE] > 0)
        response = np.empty((len(row), 1 + VALUES), "<f4")
        response[:, 0] = indices[row]
        response[:, 1:] = found[row, place]
        counts = np.bincount(row, minlength=len(indices))
        offsets = np.concatenate([[0], np.cumsum(counts)]) * (4 * (1 + VALUES))
        return Responses(response.reshape(-1).view(np.uint8), offsets.astype(np.int64))


ANSWER = RetinanetAnswer()
