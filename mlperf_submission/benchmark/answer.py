"""How a benchmark answers: samples, the session of a network, batches and loops, and response bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Responses:
    """The response bytes of a batch, in the order of its sample indices, in one piece of memory.

    Attributes:
        data: uint8, contiguous.
        offsets: int64, one more than there are samples; sample i is `data[offsets[i]:offsets[i + 1]]`.
        token_counts: int64 per sample where the round counts tokens, else None.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    token_counts: NDArray[np.int64] | None = None

    @staticmethod
    def from_rows(rows: NDArray[np.generic]) -> Responses:
        """Responses of equal length: row i (any dtype, any shape) is the response of sample i."""
        rows = np.ascontiguousarray(rows)
        size = rows.nbytes // max(len(rows), 1)
        return Responses(
            rows.reshape(-1).view(np.uint8), np.arange(len(rows) + 1, dtype=np.int64) * np.int64(size)
        )


class Samples(ABC):
    """Preprocessed samples, opened read-only; memory-mapped, so opening is cheap."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @property
    def costs(self) -> NDArray[np.int64] | None:
        """What each sample costs, in any unit; None: all the same.

        Samples of like cost are batched together, e.g. sequences of like length.
        """
        return None


class StackedSamples(Samples):
    """Samples of one shape: a batch is their rows, so they can be resident where the network reads them."""

    @abstractmethod
    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Return the network's inputs for these samples, stacked along the batch dimension."""


class Session(Protocol):
    """A compiled network on one stream of one device."""

    @property
    def batch_size(self) -> int:
        """The largest batch that `infer` takes."""

    def infer(self, inputs: Arrays, first_row: int = 0) -> dict[str, NDArray[np.generic]]:
        """Run one batch; the batch is the first dimension of every input and output.

        A network's input `past.X` with an output `present.X` is a state that the session keeps from call to
        call, in one buffer of `batch_size` rows: neither is given or returned. The batch has the rows from
        `first_row` on; without a state that number does not matter.
        """


class ShapedSession(Session, Protocol):
    """A session that tells the sizes that its network fixes."""

    @property
    def input_shapes(self) -> Mapping[str, tuple[object, ...]]:
        """Shape of each input with its batch; what is no number is free."""


@dataclass(frozen=True)
class LoopStep:
    """What a step of a `SampleLoop` brought about; samples are named by their ids.

    Attributes:
        finished: samples whose answer is complete.
        responses: theirs, in the same order; may lie in memory that the next step overwrites.
        begun: samples whose first token is there now.
        first_tokens: theirs, int32.
    """

    finished: list[int]
    responses: Responses
    begun: list[int] = field(default_factory=list)
    first_tokens: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))


class SampleLoop(Protocol):
    """Answers samples on one session step by step: each enters when there is room, and leaves when done.

    Used by one thread. Answers do not depend on which samples share a step.
    """

    @property
    def room(self) -> int:
        """How many samples may enter now."""

    @property
    def is_idle(self) -> bool:
        """Whether no sample is being worked on."""

    def admit(self, ids: list[int], indices: NDArray[np.int64]) -> None:
        """Let samples enter, at most as many as there is room for; an id is any number of the caller's."""

    def step(self) -> LoopStep:
        """Do the next piece of work, about one batch of the network; not when idle."""


class BatchAnswer(ABC):
    """Samples are answered in batches that are finished together."""

    response_dtype: str
    """NumPy dtype of a response, for TEST01's comparison."""

    @abstractmethod
    def inputs(
        self, samples: Samples, indices: NDArray[np.int64], shapes: Mapping[str, tuple[object, ...]]
    ) -> Arrays:
        """Return the network's inputs for a batch; `shapes` are a session's `input_shapes`."""

    @abstractmethod
    def respond(self, outputs: Arrays, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Turn the network's outputs for a batch into response bytes."""

    def batch(self, session: ShapedSession, samples: Samples, indices: NDArray[np.int64]) -> Responses:
        """Answer one batch of samples on a session."""
        outputs = session.infer(self.inputs(samples, indices, session.input_shapes))
        return self.respond(outputs, samples, indices)


class StackedAnswer(BatchAnswer):
    """Batches of samples of one shape, whose rows are what the network takes."""

    def inputs(
        self, samples: Samples, indices: NDArray[np.int64], shapes: Mapping[str, tuple[object, ...]]
    ) -> Arrays:
        """Return the samples' rows."""
        del shapes
        return cast(StackedSamples, samples).rows(indices)


class LoopAnswer(ABC):
    """Samples are answered by a loop that they enter one by one and leave when they are done."""

    response_dtype: str
    """As of a `BatchAnswer`."""

    @abstractmethod
    def open(self, session: Session, samples: Samples) -> SampleLoop:
        """Return a loop over a session."""


Answer = BatchAnswer | LoopAnswer
