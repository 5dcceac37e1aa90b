"""Reads a PyTorch checkpoint without PyTorch, and without running anything that it says.

A shard (`pytorch_model-00001-of-00003.bin`) is a ZIP archive with a pickle of the tensors' names and shapes,
and one uncompressed entry of plain numbers per tensor. The pickle may name nothing but the few things that a
table of tensors consists of; whatever else it names, it is refused before it is called.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import SourceError
from models.gptj.stored import READABLE, REMEDY, Place, require_readable

_KINDS = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
}
_IGNORED = frozenset({f"{kind}Storage" for kind in ("Bool", "Byte", "Char", "Short", "Int", "Long")})
"""Of the causal masks that older versions of the model kept among its tensors."""
_NESTED = ("state_dict", "model_state_dict", "model", "module")
"""Where those who train keep the tensors, beside the state of the training."""
_LOCAL_HEADER = 30
"""Bytes of a ZIP entry's own header before name and extra field (APPNOTE.TXT, section 4.3.7)."""
_LARGEST_PICKLE = 64 << 20
_REMEMBERS = ("PUT", "LONG_BINPUT")
"""Operations that name the place of an object in a list, which becomes as long as that."""


@dataclass(frozen=True)
class PickledTensor:
    """Where a tensor lies: `kind` is that of its numbers, the rest counts elements."""

    shard: Path
    kind: str
    key: str
    stored: int
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, name: str) -> NDArray[np.generic]:
        """Return it, as `StoredTensor.read` says."""
        require_readable(self, name)
        place = self._place(name)
        storage = place.mapped(name)
        reach = self.start + sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        if min((*self.shape, *self.strides, self.start + 1)) < 1 or reach >= len(storage):
            raise SourceError(f"{name} lies outside of its storage", where=self.shard, remedy=REMEDY)
        values = np.lib.stride_tricks.as_strided(
            storage[self.start :],
            self.shape,
            tuple(stride * storage.itemsize for stride in self.strides),
            writeable=False,
        )
        return place.widened(values)

    def _place(self, name: str) -> Place:
        """Return where the entry of its storage lies in the archive."""
        with zipfile.ZipFile(self.shard) as archive, self.shard.open("rb") as stream:
            ending = f"/data/{self.key}"
            entry = next((one for one in archive.infolist() if one.filename.endswith(ending)), None)
            size = self.stored * np.dtype(READABLE[self.kind]).itemsize
            if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.file_size < size:
                raise SourceError(
                    f"the storage {self.key} of {name} is missing, packed or too short",
                    where=self.shard,
                    remedy=REMEDY,
                )
            stream.seek(entry.header_offset)
            header = stream.read(_LOCAL_HEADER)
            name_size, extra_size = struct.unpack("<HH", header[26:30])
            offset = entry.header_offset + _LOCAL_HEADER + name_size + extra_size
        return Place(self.shard, self.kind, offset, self.stored)


class _Storage:
    """Stands for PyTorch's class of a storage; never made."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Table(pickle.Unpickler):
    """Reads a table of tensors. Only what this class hands out can be called by the pickle."""

    def __init__(self, content: bytes, shard: Path) -> None:
        super().__init__(io.BytesIO(content))
        self._shard = shard

    def find_class(self, module: str, name: str) -> Any:
        """Return our stand-in for one of the few names that a table of tensors uses."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return self._tensor_of_kind
        if module == "torch" and name in _KINDS.keys() | _IGNORED:
            return _Storage(_KINDS.get(name, name))
        if module in ("torch", "torch.storage") and name == "UntypedStorage":
            return _Storage("bytes")
        if module == "torch" and name.startswith(("float", "uint", "bfloat")):
            return _Storage(name)
        raise SourceError(
            f"the checkpoint names {module}.{name}, which no table of tensors needs",
            where=self._shard,
            remedy="do not use this file; fetch the checkpoint from its official source",
        )

    def persistent_load(self, pid: Any) -> PickledTensor:
        """Return the description of a storage."""
        match pid:
            case ("storage", _Storage() as kind, str() as key, str(), int() as count):
                return PickledTensor(self._shard, kind.kind, key, count, 0, (), ())
        raise self._refused("a storage that is none")

    def _tensor(self, storage: Any, start: Any, shape: Any, strides: Any, *_: Any) -> PickledTensor:
        numbers = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
        if not (isinstance(storage, PickledTensor) and numbers and _all_integers((start, *shape, *strides))):
            raise self._refused("a tensor that is none")
        return replace(storage, start=start, shape=shape, strides=strides)

    def _tensor_of_kind(
        self, storage: Any, start: Any, shape: Any, strides: Any, *rest: Any
    ) -> PickledTensor:
        """Return a tensor of a kind that has no storage of its own, as FP8."""
        kind = rest[2] if len(rest) > 2 else None  # after two of no use here
        if not isinstance(kind, _Storage):
            raise self._refused("a tensor of no kind")
        return replace(self._tensor(storage, start, shape, strides), kind=kind.kind)

    def _refused(self, what: str) -> SourceError:
        return SourceError(f"the checkpoint holds {what}", where=self._shard, remedy=REMEDY)


def _all_integers(values: Sequence[Any]) -> bool:
    return all(type(value) is int for value in values)


def read_table(shard: Path) -> Mapping[str, PickledTensor]:
    """Return the tensors of a shard by name, also where they lie below `state_dict` or the like.

    Raises:
        SourceError: it is damaged, of an older format, or names something else than tensors.
    """
    try:
        with zipfile.ZipFile(shard) as archive:
            entry = next((one for one in archive.infolist() if one.filename.endswith("/data.pkl")), None)
            if entry is None or entry.file_size > _LARGEST_PICKLE:
                raise SourceError("the shard has no table of tensors", where=shard, remedy=REMEDY)
            content = archive.read(entry)
            places = [arg or 0 for op, arg, _ in pickletools.genops(content) if op.name in _REMEMBERS]
            if max(places, default=0) > len(content):
                raise SourceError("the table of tensors asks for endless memory", where=shard, remedy=REMEDY)
            table = _Table(content, shard).load()
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"this is no checkpoint of PyTorch 1.6 or newer, or it is truncated: {error}",
            where=shard,
            remedy=REMEDY,
        ) from error
    except SourceError:
        raise
    except Exception as error:  # there is no way in which a damaged pickle does not fail
        raise SourceError(f"the shard cannot be read: {error}", where=shard, remedy=REMEDY) from error
    if not isinstance(table, Mapping):
        raise SourceError("the shard is no table of tensors", where=shard, remedy=REMEDY)
    while inner := next((table[name] for name in _NESTED if isinstance(table.get(name), Mapping)), None):
        table = inner
    return {str(name): found for name, found in table.items() if isinstance(found, PickledTensor)}
