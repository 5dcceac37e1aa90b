"""gptj-99's answers: the tokens of a summary for each article."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import LoopAnswer, LoopStep, Responses, Samples, Session
from models.gptj.search import BeamSlots, SearchSettings, Tokens
from models.gptj.text import PromptSamples

LEAST_TOKENS = 2
"""A shorter response is filled up with end tokens (as NVIDIA's harness of v4.1 does)."""


class GptJAnswer(LoopAnswer):
    """Searches take unequally long: a request enters as soon as another leaves (in-flight batching)."""

    response_dtype = "int32"

    def open(self, session: Session, samples: Samples) -> SummaryLoop:
        """Return a loop with a slot for each row of the session's cache."""
        return SummaryLoop(session, cast(PromptSamples, samples))


class SummaryLoop:
    """In-flight batching: a request takes a slot of the decoder's cache as soon as another has left it."""

    def __init__(self, session: Session, samples: PromptSamples) -> None:
        self._samples = samples
        self._end = samples.facts.end
        settings = SearchSettings(end=self._end)
        self._slots = BeamSlots(session, session.batch_size, settings)
        self._ids = [0] * session.batch_size

    @property
    def room(self) -> int:
        """How many slots are free."""
        return self._slots.free

    @property
    def is_idle(self) -> bool:
        """Whether all of them are."""
        return self._slots.is_idle

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Give each request a slot; its prompt is read in one of the next steps."""
        for id_, prompt in zip(ids, self._samples.prompts(indices), strict=True):
            self._ids[self._slots.enter(prompt)] = id_

    def step(self) -> LoopStep:
        """Read a prompt, or take all searches one token further."""
        step = self._slots.step()
        begun = [] if step.begun is None else [self._ids[step.begun[0]]]
        first = [] if step.begun is None else [step.begun[1]]
        return LoopStep(
            [self._ids[slot] for slot, _ in step.ended],
            responses_of([tokens for _, tokens in step.ended], self._end),
            begun,
            np.array(first, np.int32),
        )


def responses_of(summaries: Sequence[Tokens], end: int) -> Responses:
    """Return the tokens of each summary as little-endian int32, filled up with end tokens to two."""
    filler = [end] * LEAST_TOKENS
    parts = [np.append(one, filler[len(one) :]).astype("<i4") for one in summaries]
    lengths = np.array([len(one) for one in parts], np.int64)
    tokens = np.concatenate([np.empty(0, "<i4"), *parts])
    offsets = np.concatenate(([0], np.cumsum(4 * lengths))).astype(np.int64)
    return Responses(tokens.view(np.uint8), offsets, token_counts=lengths)


ANSWER = GptJAnswer()
