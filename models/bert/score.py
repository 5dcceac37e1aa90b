"""Exact match and F1, as language/bert/accuracy-squad.py of MLPerf Inference v4.1 computes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import AccuracyEntry, Score, Scorer
from models.bert.facts import LOGITS_PER_PIECE, MAX_SEQUENCE
from models.bert.features import Feature
from models.bert.questions import read_questions
from models.bert.spans import answers_of, evaluate
from models.scoring import bad_log


class SquadScorer:
    """F1 over the questions, in percent."""

    metric = "F1"

    def score(self, entries: Iterable[AccuracyEntry], dataset: Path, edition: Edition) -> Score:
        """Compute exact match and F1 as accuracy-squad.py does: the last entry of an index counts.

        The divisor is the number of questions, whether they were answered or not.

        Raises:
            LogError: no entry, an index outside the data set, or a response that is no pairs of logits.
            SourceError: questions or vocabulary cannot be read.
        """
        found, questions, tokenizer = read_questions(dataset, edition)
        responses: dict[int, NDArray[np.float32]] = {}
        for entry in entries:
            if not 0 <= entry.qsl_idx < len(found):
                raise bad_log(f"sample {entry.qsl_idx} is not in the data set of {len(found)} samples")
            size = len(entry.data)
            if size % 8 or size > 8 * MAX_SEQUENCE or not size:
                raise bad_log(
                    f"the response of sample {entry.qsl_idx} has {size} bytes, not 8 for each of up to "
                    f"{MAX_SEQUENCE} positions"
                )
            responses[entry.qsl_idx] = np.frombuffer(entry.data, "<f4").reshape(-1, LOGITS_PER_PIECE)
        if not responses:
            raise bad_log("the log holds no response")
        answers = answers_of(_answered(found, responses), tokenizer)
        result = evaluate(questions, answers)
        line = json.dumps({"exact_match": result.exact_match, "f1": result.f1})
        metrics = {self.metric: result.f1, "exact_match": result.exact_match}
        return Score(metrics, (line,), len(responses))


def _answered(
    found: list[Feature], responses: dict[int, NDArray[np.float32]]
) -> Iterator[tuple[Feature, NDArray[np.float32], NDArray[np.float32]]]:
    for index in sorted(responses):
        logits = responses[index]
        yield found[index], logits[:, 0], logits[:, 1]


SCORER: Scorer = SquadScorer()
