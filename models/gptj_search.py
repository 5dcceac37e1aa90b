"""Beam search of width 4 over a decoder with a cache, for a batch of prompts of unequal length.

The rules are those of Hugging Face's `generate` (transformers, 2023), which the reference calls with
`num_beams=4, early_stopping=True, max_new_tokens=128, min_new_tokens=30` (language/gpt-j/backend_PyTorch.py
of MLPerf Inference v4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.benchmark import Session
from models.gptj_decoder import BEAMS, NEW_TOKENS, STEP_SLOTS

MIN_NEW_TOKENS = 30
NEVER = -1e9
"""The score of what may not be chosen."""


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        end: id of the end token.
        least: tokens before the end token may come.
        most: tokens after which the search ends; at most 128.
        length_penalty: power of the length that a hypothesis' score is divided by.
        counts_prompt: whether that length includes the prompt. The transformers of spring 2023, by which the
            round's reference values were measured, count it for decoders; from version 4.36 on they do not.
    """

    end: int
    least: int = MIN_NEW_TOKENS
    most: int = NEW_TOKENS
    length_penalty: float = 1.0
    counts_prompt: bool = True


@dataclass
class _Request:
    """One prompt's search: four running beams and at most four finished hypotheses."""

    prompt: int
    settings: SearchSettings
    beams: list[list[int]] = field(default_factory=lambda: [[] for _ in range(BEAMS)])
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    done: bool = False

    def advance(
        self, scores: NDArray[np.generic], tokens: NDArray[np.generic], beams: NDArray[np.generic]
    ) -> tuple[list[int], list[float]]:
        """Take the eight best continuations (best first); return the parents and scores of the new beams."""
        parents: list[int] = []
        kept: list[float] = []
        longer: list[list[int]] = []
        options = zip(scores.tolist(), tokens.tolist(), beams.tolist(), strict=True)
        for rank, (score, token, parent) in enumerate(options):
            if token == self.settings.end:
                if rank < BEAMS:
                    self._finish(score, self.beams[parent])
                continue
            parents.append(parent)
            kept.append(score)
            longer.append([*self.beams[parent], token])
            if len(longer) == BEAMS:
                break
        self.beams = longer
        self.done = len(self.finished) == BEAMS  # early stopping: four hypotheses, whatever their scores
        return parents, kept

    def best(self, scores: Sequence[float]) -> list[int]:
        """Return the best hypothesis; beams that still run when the tokens are used up count as finished."""
        if not self.done:
            for score, beam in zip(scores, self.beams, strict=True):
                self._finish(score, beam)
        return max(self.finished, key=lambda one: one[0])[1]

    def _finish(self, score: float, beam: list[int]) -> None:
        length = len(beam) + (self.prompt if self.settings.counts_prompt else 0)
        self.finished.append((score / max(length, 1) ** self.settings.length_penalty, beam))
        if len(self.finished) > BEAMS:
            self.finished.remove(min(self.finished, key=lambda one: one[0]))


def search(
    session: Session, prompts: Sequence[NDArray[np.integer]], settings: SearchSettings
) -> list[NDArray[np.int32]]:
    """Return for each prompt the tokens of the best hypothesis, without prompt and end token.

    Args:
        session: a decoder of `models.gptj_decoder` that keeps its cache from call to call.
        prompts: token ids, 1 up to the decoder's longest prompt each.
        settings: the rules of the search.
    """
    count = len(prompts)
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    requests = [_Request(int(length), settings) for length in lengths]
    tokens = np.full((count, max(int(lengths.max()), BEAMS)), settings.end, np.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    scores = np.tile(np.array([0.0, *[NEVER] * (BEAMS - 1)], np.float32), (count, 1))
    found = session.infer(
        {
            "tokens": tokens,
            "positions": places,
            "prompt_seen": places + 1,
            "lineage": np.full((*tokens.shape, NEW_TOKENS), -1, np.int32),
            "write": np.full(count, STEP_SLOTS, np.int64),
            "scored": np.repeat(lengths[:, None] - 1, BEAMS, axis=1),
            "beam_scores": scores,
            "end_penalty": _end_penalty(settings, count, 0),
        }
    )
    lineage = np.full((count, BEAMS, NEW_TOKENS), -1, np.int32)
    own = np.arange(BEAMS, dtype=np.int32)
    tokens = np.full((count, BEAMS), settings.end, np.int64)
    for step in range(settings.most):
        for row, request in enumerate(requests):
            if not request.done:
                parents, scores[row] = request.advance(
                    found["scores"][row], found["next_tokens"][row], found["parents"][row]
                )
                tokens[row] = [beam[-1] for beam in request.beams]
                lineage[row] = lineage[row, parents]
        if step + 1 == settings.most or all(request.done for request in requests):
            break
        lineage[:, :, step] = own
        found = session.infer(
            {
                "tokens": tokens,
                "positions": np.repeat(lengths[:, None] + step, BEAMS, axis=1),
                "prompt_seen": np.repeat(lengths[:, None], BEAMS, axis=1),
                "lineage": lineage,
                "write": np.full(count, BEAMS * step, np.int64),
                "scored": np.tile(np.arange(BEAMS, dtype=np.int64), (count, 1)),
                "beam_scores": scores,
                "end_penalty": _end_penalty(settings, count, step + 1),
            }
        )
    return [np.array(request.best(scores[row].tolist()), np.int32) for row, request in enumerate(requests)]


def _end_penalty(settings: SearchSettings, count: int, generated: int) -> NDArray[np.float32]:
    return np.full(count, NEVER if generated < settings.least else 0.0, np.float32)
