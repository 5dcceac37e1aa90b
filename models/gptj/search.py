"""Beam search of width 4 over a decoder with a cache: prompts of unequal length, each in a slot of its own.

The rules are those of Hugging Face's `generate` (transformers, 2023), which the reference calls with
`num_beams=4, early_stopping=True, max_new_tokens=128, min_new_tokens=30` (language/gpt-j/backend_PyTorch.py
of MLPerf Inference v4.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.benchmark.answer import Session
from models.gptj.decoder import BEAMS, STEP_SLOTS
from models.gptj.facts import NEW_TOKENS

MIN_NEW_TOKENS = 30
NEVER = -1e9
"""The score of what may not be chosen."""
_OWN = np.arange(BEAMS, dtype=np.int32)
_FIRST_SCORES = np.array([0.0, *[NEVER] * (BEAMS - 1)], np.float32)
"""All beams begin as the prompt: only the first may be continued."""
Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        end: id of the end token.
        least: tokens before the end token may come.
        most: tokens after which the search ends; at most 128.
        length_penalty: power of the length that a hypothesis' score is divided by.
        counts_prompt: whether that length includes the prompt. The transformers of spring 2023, by which the
            round's reference values were measured, count it for decoders; from version 4.36 on they do not,
            but count the end token of a hypothesis that ended, which is not done here.
    """

    end: int
    least: int = MIN_NEW_TOKENS
    most: int = NEW_TOKENS
    length_penalty: float = 1.0
    counts_prompt: bool = True


@dataclass(frozen=True)
class SearchStep:
    """What one call of the decoder brought about.

    Attributes:
        begun: the slot whose prompt was read, with the first token of its best beam; None after a step of
            the beams. A beam search may still drop that token for another.
        ended: the slots whose search is over, each with the tokens of its best hypothesis, without prompt and
            end token. They are free again.
    """

    begun: tuple[int, int] | None
    ended: tuple[tuple[int, Tokens], ...]


class BeamSlots:
    """Searches that share the calls of a decoder; a prompt enters whenever a slot is free.

    A slot is a row of the decoder's cache and holds the four beams of one prompt. A new prompt is read by a
    call of its own on that row, so that no other search computes its padding; then all searches go on
    together, each at its own length. Nothing of a search depends on who is in the other slots.

    Args:
        session: a decoder of `models.gptj.decoder` that keeps its cache from call to call.
        count: number of slots, at most the session's batch size.
        settings: the rules of the search.
    """

    def __init__(self, session: Session, count: int, settings: SearchSettings) -> None:
        self._session = session
        self._settings = settings
        self._free = list(range(count - 1, -1, -1))
        self._unread: deque[tuple[int, NDArray[np.integer]]] = deque()
        self._running = np.zeros(count, bool)
        self._has_stepped = True
        self._lengths = np.ones(count, np.int64)
        self._generated = np.ones(count, np.int64)
        self._tokens = np.full((count, BEAMS), settings.end, np.int64)
        self._scores = np.zeros((count, BEAMS), np.float32)
        self._beams = np.zeros((count, BEAMS, NEW_TOKENS), np.int32)
        self._lineage = np.full((count, BEAMS, NEW_TOKENS), -1, np.int32)
        self._finished: list[list[tuple[float, Tokens]]] = [[] for _ in range(count)]

    @property
    def free(self) -> int:
        """How many prompts may enter."""
        return len(self._free)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is searched."""
        return not self._unread and not self._running.any()

    def enter(self, prompt: NDArray[np.integer]) -> int:
        """Give a prompt (token ids, 1 up to the decoder's longest) the lowest free slot; return that."""
        slot = self._free.pop()
        self._unread.append((slot, prompt))
        return slot

    def step(self) -> SearchStep:
        """Call the decoder once: read the next prompt, or take all searches one token further, in turn."""
        # in turn: prompts that keep coming (Server) would else hold up every search that runs
        reads = bool(self._unread) and (self._has_stepped or not self._running.any())
        self._has_stepped = not reads
        if reads:
            slot, prompt = self._unread.popleft()
            found = self._read(slot, prompt)
            slots = np.array([slot])
        else:
            slots = np.flatnonzero(self._running)
            found = self._continue(int(slots[-1]) + 1)
            found = {name: values[slots] for name, values in found.items()}
            slot = -1
        self._choose(slots, found["scores"], found["next_tokens"].astype(np.int64), found["parents"])
        begun = (slot, int(self._tokens[slot, 0])) if slot >= 0 else None
        over = [one for one in slots.tolist() if self._is_over(one)]
        return SearchStep(begun, tuple((one, self._leave(one)) for one in over))

    def _read(self, slot: int, prompt: NDArray[np.integer]) -> dict[str, NDArray[np.generic]]:
        """Write a prompt into a slot's cache and score what may follow it."""
        length = len(prompt)
        self._lengths[slot], self._generated[slot], self._running[slot] = length, 0, True
        self._lineage[slot] = -1
        tokens = np.full((1, max(length, BEAMS)), self._settings.end, np.int64)
        tokens[0, :length] = prompt
        places = np.arange(tokens.shape[1])[None]
        return self._session.infer(
            {
                "tokens": tokens,
                "positions": places,
                "prompt_seen": places + 1,
                "prompt_slots": places[:, :length],
                "lineage": np.full((*tokens.shape, NEW_TOKENS), -1, np.int32),
                "write": np.array([STEP_SLOTS]),
                "scored": np.full((1, BEAMS), length - 1),
                "beam_scores": _FIRST_SCORES[None],
                "end_penalty": self._end_penalty(slice(slot, slot + 1)),
            },
            first_row=slot,
        )

    def _continue(self, count: int) -> dict[str, NDArray[np.generic]]:
        """Score what may follow in the first `count` slots; what a free one says means nothing."""
        rows = slice(count)
        lengths, steps = self._lengths[rows], self._generated[rows] - 1
        return self._session.infer(
            {
                "tokens": self._tokens[rows],
                "positions": np.repeat((lengths + steps)[:, None], BEAMS, axis=1),
                "prompt_seen": np.repeat(lengths[:, None], BEAMS, axis=1),
                "prompt_slots": np.tile(np.arange(lengths.max(), dtype=np.int64), (count, 1)),
                "lineage": self._lineage[rows],
                "write": BEAMS * steps,
                "scored": np.tile(np.arange(BEAMS, dtype=np.int64), (count, 1)),
                "beam_scores": self._scores[rows],
                "end_penalty": self._end_penalty(rows),
            }
        )

    def _choose(
        self,
        slots: NDArray[np.int64],
        scores: NDArray[np.generic],
        tokens: NDArray[np.int64],
        parents: NDArray[np.generic],
    ) -> None:
        """Take the eight best continuations of each slot (best first) to its four beams and hypotheses."""
        ends = tokens == self._settings.end
        for row, rank in np.argwhere(ends[:, :BEAMS]).tolist():
            self._finish(int(slots[row]), float(scores[row, rank]), int(parents[row, rank]))
        kept = np.argsort(ends, axis=1, kind="stable")[:, :BEAMS]
        rows, before = slots[:, None], np.take_along_axis(parents, kept, 1).astype(np.int64)
        at = self._generated[slots]
        self._scores[slots] = np.take_along_axis(scores, kept, 1)
        self._tokens[slots] = np.take_along_axis(tokens, kept, 1)
        self._beams[slots] = self._beams[rows, before]
        self._beams[slots, :, at] = self._tokens[slots]
        self._lineage[slots] = self._lineage[rows, before]
        self._lineage[slots, :, at] = _OWN
        self._generated[slots] += 1

    def _finish(self, slot: int, score: float, beam: int) -> None:
        """Keep a hypothesis, if it is among the four best."""
        length = int(self._generated[slot])
        counted = length + (int(self._lengths[slot]) if self._settings.counts_prompt else 0)
        hypotheses = self._finished[slot]
        tokens = self._beams[slot, beam, :length].copy()
        hypotheses.append((score / max(counted, 1) ** self._settings.length_penalty, tokens))
        if len(hypotheses) > BEAMS:
            worst = min(range(len(hypotheses)), key=lambda one: hypotheses[one][0])
            del hypotheses[worst]

    def _is_over(self, slot: int) -> bool:
        """Early stopping: four hypotheses, whatever their scores; or the tokens are used up."""
        return len(self._finished[slot]) == BEAMS or int(self._generated[slot]) == self._settings.most

    def _leave(self, slot: int) -> Tokens:
        """Free a slot; return its best hypothesis. Beams that still run count as finished."""
        if len(self._finished[slot]) < BEAMS:
            for beam, score in enumerate(self._scores[slot].tolist()):
                self._finish(slot, score, beam)
        best = max(self._finished[slot], key=lambda one: one[0])[1]
        self._finished[slot] = []
        self._running[slot] = False
        self._lengths[slot] = self._generated[slot] = 1
        self._tokens[slot] = self._settings.end
        self._free.append(slot)
        self._free.sort(reverse=True)
        return best

    def _end_penalty(self, rows: slice) -> NDArray[np.float32]:
        return np.where(self._generated[rows] < self._settings.least, NEVER, 0.0).astype(np.float32)


def search(
    session: Session, prompts: Sequence[NDArray[np.integer]], settings: SearchSettings
) -> list[Tokens]:
    """Return for each prompt the tokens of the best hypothesis, without prompt and end token.

    Args:
        session: a decoder of `models.gptj.decoder` that keeps its cache from call to call.
        prompts: token ids, 1 up to the decoder's longest prompt each; they are searched together.
        settings: the rules of the search.
    """
    slots = BeamSlots(session, len(prompts), settings)
    rows = {slots.enter(prompt): row for row, prompt in enumerate(prompts)}
    found: dict[int, Tokens] = {}
    while not slots.is_idle:
        found.update({rows[slot]: tokens for slot, tokens in slots.step().ended})
    return [found[row] for row in range(len(prompts))]
