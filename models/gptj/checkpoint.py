"""Reads a PyTorch checkpoint without PyTorch, and without running anything that it says.

A shard (`pytorch_model-00001-of-00003.bin`) is a ZIP archive with a pickle of the tensors' names and shapes,
and one uncompressed entry of plain numbers per tensor. The pickle may name nothing but the few things that a
table of tensors consists of; whatever else it names, it is refused before it is called.
"""

from __future__ import annotations

import io
import pickle
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
from models.gptj.decoder import GPTJ_6B, DecoderShape, weight_names
from models.gptj.facts import FULL_PROMPT

_STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "DoubleStorage": "<f8"}
_IGNORED = frozenset({f"{kind}Storage" for kind in ("Bool", "Byte", "Char", "Short", "Int", "Long")})
"""Of the causal masks that older versions of the model kept among its tensors."""
_LOCAL_HEADER = 30
"""Bytes of a ZIP entry's own header before name and extra field (APPNOTE.TXT, section 4.3.7)."""
_LARGEST_PICKLE = 64 << 20
_REMEDY = "fetch the checkpoint anew from its official source"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: `kind` is PyTorch's storage, the rest counts elements."""

    shard: Path
    kind: str
    key: str
    stored: int
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Checkpoint:
    """The tensors of all shards in a folder by name, read when they are asked for.

    Raises:
        SourceError: there is no shard, or one is damaged, of an older format, or names something else than
            tensors.
    """

    def __init__(self, folder: Path) -> None:
        shards = sorted(folder.rglob("pytorch_model*.bin"))
        if not shards:
            raise SourceError("there is no pytorch_model*.bin", where=folder, remedy=_REMEDY)
        self.tensors: dict[str, StoredTensor] = {}
        for shard in shards:
            self.tensors.update(_read_table(shard))

    def __call__(self, name: str) -> NDArray[np.generic]:
        """Return a tensor, memory-mapped; bfloat16 comes as float32.

        Raises:
            SourceError: there is none of this name, or it lies outside of its storage.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise SourceError(f"the checkpoint has no {name}", where=self._folder, remedy=_REMEDY)
        storage = _map_storage(tensor)
        reach = tensor.start + sum(
            (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        wrong = min((*tensor.shape, *tensor.strides, tensor.start + 1)) < 1 or reach >= len(storage)
        if wrong:
            raise SourceError(f"{name} lies outside of its storage", where=tensor.shard, remedy=_REMEDY)
        values = np.lib.stride_tricks.as_strided(
            storage[tensor.start :],
            tensor.shape,
            tuple(stride * storage.itemsize for stride in tensor.strides),
            writeable=False,
        )
        if tensor.kind == "BFloat16Storage":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values

    @property
    def _folder(self) -> Path:
        return next(iter(self.tensors.values())).shard.parent if self.tensors else Path()

    def shape(self) -> DecoderShape:
        """Return GPT-J's sizes with the layers and vocabulary rows of this checkpoint.

        Raises:
            SourceError: tensors are missing, or have other sizes than GPT-J 6B's.
        """
        layers = 1 + max(
            (int(name.split(".")[2]) for name in self.tensors if name.startswith("transformer.h.")),
            default=-1,
        )
        rows = self.tensors["lm_head.weight"].shape[0] if "lm_head.weight" in self.tensors else 0
        shape = replace(GPTJ_6B, layers=layers, vocabulary=rows, prompt=FULL_PROMPT)
        missing = [name for name in weight_names(shape) if name not in self.tensors]
        if missing:
            raise SourceError(
                f"the checkpoint lacks {len(missing)} tensors, the first is {missing[0]}",
                where=self._folder,
                remedy=_REMEDY,
            )
        self.require(shape)
        return shape

    def require(self, shape: DecoderShape) -> None:
        """Raise SourceError unless every tensor has the size that this decoder needs."""
        for name in weight_names(shape):
            wanted = expected_size(shape, name)
            if (found := self.tensors[name].shape) != wanted:
                raise SourceError(
                    f"{name} is {found}, not {wanted}", where=self.tensors[name].shard, remedy=_REMEDY
                )


def expected_size(shape: DecoderShape, name: str) -> tuple[int, ...]:
    """Return the size of a tensor of the checkpoint."""
    if name.startswith("lm_head") or "wte" in name:
        return (shape.vocabulary,) if name.endswith("bias") else (shape.vocabulary, shape.hidden)
    if ".attn." in name:
        return (shape.hidden, shape.hidden)
    if ".fc_in." in name:
        return (shape.inner,) if name.endswith("bias") else (shape.inner, shape.hidden)
    if name.endswith(".fc_out.weight"):
        return (shape.hidden, shape.inner)
    return (shape.hidden,)


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
        if module == "torch" and name in _STORAGES.keys() | _IGNORED:
            return _Storage(name)
        raise SourceError(
            f"the checkpoint names {module}.{name}, which no table of tensors needs",
            where=self._shard,
            remedy="do not use this file; fetch the checkpoint from its official source",
        )

    def persistent_load(self, pid: Any) -> StoredTensor:
        """Return the description of a storage."""
        match pid:
            case ("storage", _Storage() as kind, str() as key, str(), int() as count):
                return StoredTensor(self._shard, kind.kind, key, count, 0, (), ())
        raise self._refused("a storage that is none")

    def _tensor(self, storage: Any, start: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
        numbers = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
        if not (isinstance(storage, StoredTensor) and numbers and _all_integers((start, *shape, *strides))):
            raise self._refused("a tensor that is none")
        return replace(storage, start=start, shape=shape, strides=strides)

    def _refused(self, what: str) -> SourceError:
        return SourceError(f"the checkpoint holds {what}", where=self._shard, remedy=_REMEDY)


def _all_integers(values: Sequence[Any]) -> bool:
    return all(type(value) is int for value in values)


def _read_table(shard: Path) -> dict[str, StoredTensor]:
    try:
        with zipfile.ZipFile(shard) as archive:
            entry = next((one for one in archive.infolist() if one.filename.endswith("/data.pkl")), None)
            if entry is None or entry.file_size > _LARGEST_PICKLE:
                raise SourceError("the shard has no table of tensors", where=shard, remedy=_REMEDY)
            table = _Table(archive.read(entry), shard).load()
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"this is no checkpoint of PyTorch 1.6 or newer, or it is truncated: {error}",
            where=shard,
            remedy=_REMEDY,
        ) from error
    except SourceError:
        raise
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError) as error:
        raise SourceError(f"the shard cannot be read: {error}", where=shard, remedy=_REMEDY) from error
    if not isinstance(table, Mapping):
        raise SourceError("the shard is no table of tensors", where=shard, remedy=_REMEDY)
    return {str(name): found for name, found in table.items() if isinstance(found, StoredTensor)}


def _map_storage(tensor: StoredTensor) -> NDArray[np.generic]:
    """Map the entry of a tensor's storage where it lies in the archive."""
    if tensor.kind not in _STORAGES:
        raise SourceError(f"a {tensor.kind} holds no weights", where=tensor.shard, remedy=_REMEDY)
    dtype = np.dtype(_STORAGES[tensor.kind])
    with zipfile.ZipFile(tensor.shard) as archive, tensor.shard.open("rb") as stream:
        name = f"/data/{tensor.key}"
        entry = next((one for one in archive.infolist() if one.filename.endswith(name)), None)
        size = tensor.stored * dtype.itemsize
        if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.file_size < size:
            raise SourceError(
                f"the storage {tensor.key} is missing, packed or too short",
                where=tensor.shard,
                remedy=_REMEDY,
            )
        stream.seek(entry.header_offset)
        header = stream.read(_LOCAL_HEADER)
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        offset = entry.header_offset + _LOCAL_HEADER + name_size + extra_size
    try:
        mapped: NDArray[np.generic] = np.memmap(
            tensor.shard, dtype=dtype, mode="r", offset=offset, shape=(tensor.stored,)
        )
    except (OSError, ValueError) as error:
        raise SourceError(f"the shard is truncated: {error}", where=tensor.shard, remedy=_REMEDY) from error
    return mapped
