"""A tensor in a file of a checkpoint, where it lies and what kind of numbers it has; read by mapping it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import SourceError

REMEDY = "fetch the checkpoint anew from its official source"
READABLE: Mapping[str, str] = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
"""Kinds of numbers that weights may have, and how they are mapped."""


class StoredTensor(Protocol):
    """What a checkpoint's file says of a tensor."""

    @property
    def shard(self) -> Path:
        """The file."""

    @property
    def kind(self) -> str:
        """The kind of its numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    def read(self, name: str) -> NDArray[np.generic]:
        """Return it, memory-mapped; bfloat16 comes as float32.

        Raises:
            SourceError: it lies outside of its file, or its numbers are of a kind that is not read.
        """


def require_readable(tensor: StoredTensor, name: str) -> None:
    """Raise SourceError unless a network can be made of a tensor's numbers."""
    if tensor.kind not in READABLE:
        raise SourceError(
            f"{name} is stored as {tensor.kind}, of which no network is made",
            where=tensor.shard,
            remedy=f"store the checkpoint as one of {', '.join(READABLE)}; where scales lie beside the "
            "numbers, as with FP8, multiply by them first",
        )


@dataclass(frozen=True)
class Place:
    """So many numbers of one kind, from a byte of a file on."""

    shard: Path
    kind: str
    offset: int
    count: int

    def mapped(self, name: str) -> NDArray[np.generic]:
        """Return the numbers as they are stored; of the tensor of this name, which is readable.

        Raises:
            SourceError: the file ends before them.
        """
        dtype = np.dtype(READABLE[self.kind])
        try:
            mapped: NDArray[np.generic] = np.memmap(
                self.shard, dtype=dtype, mode="r", offset=self.offset, shape=(self.count,)
            )
        except (OSError, ValueError, OverflowError) as error:
            raise SourceError(
                f"the file ends before {name}: {error}", where=self.shard, remedy=REMEDY
            ) from error
        return mapped

    def widened(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return bfloat16 as float32, which has its upper half, and anything else as it is."""
        return (values.astype(np.uint32) << 16).view(np.float32) if self.kind == "bfloat16" else values
