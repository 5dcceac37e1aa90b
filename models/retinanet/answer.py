"""retinanet's answers: the detections of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.benchmark import Arrays, Responses, Samples, StackedAnswer
from models.retinanet.boxes import BASE_SIZES, Detections, Head, detect
from models.retinanet.facts import SIDE
from models.retinanet.heads import head_names


class RetinanetAnswer(StackedAnswer):
    """Seven float32 per detection: sample index, top, left, bottom, right, score, class."""

    response_dtype = "float32"

    def respond(self, outputs: Arrays, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Return seven float32 per detection: sample index, top, left, bottom, right, score, class.

        Coordinates are 0 to 1 of the image's height and width. An image without detections has no bytes.
        """
        del samples
        maps = [(side, *head_names(side)) for side in BASE_SIZES if head_names(side)[0] in outputs]
        rows = []
        for row, index in enumerate(indices.tolist()):
            heads = {
                side: Head(
                    np.asarray(outputs[classes][row], np.float32), np.asarray(outputs[boxes][row], np.float32)
                )
                for side, classes, boxes in maps
            }
            rows.append(_as_response(index, detect(heads)))
        offsets = np.concatenate([[0], np.cumsum([part.nbytes for part in rows])]).astype(np.int64)
        data = np.ascontiguousarray(np.concatenate(rows)) if rows else np.empty((0, 7), "<f4")
        return Responses(data.reshape(-1).view(np.uint8), offsets)


def _as_response(index: int, found: Detections) -> NDArray[np.float32]:
    response = np.empty((len(found.scores), 7), "<f4")
    response[:, 0] = index
    response[:, 1:5] = found.boxes[:, [1, 0, 3, 2]] / np.float32(SIDE)
    response[:, 5] = found.scores
    response[:, 6] = found.labels
    return response


ANSWER = RetinanetAnswer()
