"""Reads checkpoints in the safetensors format (https://github.com/huggingface/safetensors, README, "Format").

A file is the size of its header (8 bytes, little-endian), the header, a JSON object of every tensor's kind,
shape and place, and the numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from mlperf_submission.errors import SourceError
from models.gptj.stored import READABLE, REMEDY, Place, require_readable

INDEX = "*.safetensors.index.json"
_LARGEST_HEADER = 100 << 20
"""Bytes, by the format's own reader."""
_KINDS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_Natural = Annotated[int, Field(ge=0, le=1 << 62)]


class _Entry(BaseModel, strict=True):
    dtype: str
    shape: list[_Natural] = Field(max_length=16)
    data_offsets: tuple[_Natural, _Natural] = Field(strict=False)


class _Index(BaseModel):
    weight_map: dict[str, str]


_TABLE = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True)
class SafeTensor:
    """A tensor of such a file."""

    place: Place
    shape: tuple[int, ...]

    @property
    def shard(self) -> Path:
        """The file."""
        return self.place.shard

    @property
    def kind(self) -> str:
        """The kind of its numbers, by the format's own name where it is not read."""
        return self.place.kind

    def read(self, name: str) -> NDArray[np.generic]:
        """Return it, as `StoredTensor.read` says."""
        require_readable(self, name)
        return self.place.widened(self.place.mapped(name).reshape(self.shape))


def shards(folder: Path) -> list[Path]:
    """Return the files of a checkpoint below a folder: those that its index names, or all that are there.

    Raises:
        SourceError: the index is none, or names a file that is not there.
    """
    for index in sorted(folder.rglob(INDEX)):
        try:
            named = _Index.model_validate_json(index.read_bytes()).weight_map.values()
        except (OSError, ValidationError) as error:
            raise SourceError("the index is none", where=index, remedy=REMEDY) from error
        found = sorted({index.with_name(Path(name).name) for name in named})
        missing = [path.name for path in found if not path.is_file()]
        if missing:
            raise SourceError(
                f"the checkpoint lacks {', '.join(missing[:3])}, which its index names",
                where=index,
                remedy="copy the whole folder",
            )
        return found
    return sorted(folder.rglob("*.safetensors"))


def read_table(shard: Path) -> Mapping[str, SafeTensor]:
    """Return the tensors of a file by name.

    Raises:
        SourceError: it is damaged, truncated or no such file.
    """
    try:
        with shard.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if not 2 <= size <= _LARGEST_HEADER:
                raise SourceError("this is no safetensors file", where=shard, remedy=REMEDY)
            header = json.loads(stream.read(size))
            if isinstance(header, dict):
                header.pop("__metadata__", None)
            entries = _TABLE.validate_python(header)
        end = shard.stat().st_size
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"the header is no table of tensors: {str(error)[:200]}", where=shard, remedy=REMEDY
        ) from error
    return {name: _tensor(shard, name, one, 8 + size, end) for name, one in entries.items()}


def _tensor(shard: Path, name: str, entry: _Entry, base: int, end: int) -> SafeTensor:
    begin, stop = entry.data_offsets
    if not begin <= stop or base + stop > end:
        raise SourceError(f"{name} lies outside of its file", where=shard, remedy=REMEDY)
    kind = _KINDS.get(entry.dtype, entry.dtype)
    count = math.prod(entry.shape)
    if kind in READABLE and count * np.dtype(READABLE[kind]).itemsize != stop - begin:
        raise SourceError(f"{name} has another size than its shape", where=shard, remedy=REMEDY)
    return SafeTensor(Place(shard, kind, base + begin, count), tuple(entry.shape))
