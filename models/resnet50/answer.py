"""resnet50's answers: a class each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Arrays, Responses, Samples, StackedAnswer
from models.resnet50.tensors import ARG_MAX, BACKGROUND_OUTPUTS, RESPONSE_DTYPE


class Resnet50Answer(StackedAnswer):
    """One little-endian int32 per sample."""

    response_dtype = RESPONSE_DTYPE

    def respond(self, outputs: Arrays, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Return the class of each sample, that is ArgMax less the background."""
        del samples
        classes = outputs[ARG_MAX].reshape(len(indices)).astype("<i4") - np.int32(BACKGROUND_OUTPUTS)
        return Responses.from_rows(classes)


ANSWER = Resnet50Answer()
