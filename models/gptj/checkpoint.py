"""The tensors of a GPT-J checkpoint, in safetensors files or in PyTorch's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlperf_submission.errors import SourceError
from models.gptj import pickled, safetensors
from models.gptj.decoder import GPTJ_6B, DecoderShape, weight_names
from models.gptj.facts import FULL_PROMPT
from models.gptj.stored import REMEDY, StoredTensor, require_readable

_FIRST = "transformer.wte.weight"


class Checkpoint:
    """The tensors of all shards in a folder by name, read when they are asked for.

    Safetensors files are taken where there are any, else `pytorch_model*.bin`. What a training framework puts
    before every name (`module.`, `model.`) is left out.

    Raises:
        SourceError: there is no shard, or one is damaged, of an older format, or names something else than
            tensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tensors: dict[str, StoredTensor] = {}
        for shard in (safe := safetensors.shards(folder)):
            tensors.update(safetensors.read_table(shard))
        pickles = [] if safe else sorted(folder.rglob("pytorch_model*.bin"))
        for shard in pickles:
            tensors.update(pickled.read_table(shard))
        if not safe and not pickles:
            raise SourceError(
                "there is no *.safetensors and no pytorch_model*.bin", where=folder, remedy=REMEDY
            )
        self.tensors: Mapping[str, StoredTensor] = _without_prefix(tensors)

    def __call__(self, name: str) -> NDArray[np.generic]:
        """Return a tensor, memory-mapped; bfloat16 comes as float32.

        Raises:
            SourceError: there is none of this name, it lies outside of its storage, or its numbers are of a
                kind that is not read.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise SourceError(f"the checkpoint has no {name}", where=self.folder, remedy=REMEDY)
        return tensor.read(name)

    def shape(self) -> DecoderShape:
        """Return GPT-J's sizes with the layers and vocabulary rows of this checkpoint.

        Raises:
            SourceError: tensors are missing, or have other sizes than GPT-J 6B's.
        """
        numbers = [name.split(".")[2] for name in self.tensors if name.startswith("transformer.h.")]
        layers = 1 + max((int(one) for one in numbers if one.isdecimal() and len(one) < 6), default=-1)
        head = self.tensors.get("lm_head.weight")
        rows = head.shape[0] if head and head.shape else 0
        shape = replace(GPTJ_6B, layers=layers, vocabulary=rows, prompt=FULL_PROMPT)
        missing = [name for name in weight_names(shape) if name not in self.tensors]
        if missing:
            raise SourceError(
                f"the checkpoint lacks {len(missing)} tensors, the first is {missing[0]}",
                where=self.folder,
                remedy=REMEDY,
            )
        self.require(shape)
        return shape

    def require(self, shape: DecoderShape) -> None:
        """Raise SourceError unless every tensor can be read, and has the size that this decoder needs."""
        for name in weight_names(shape):
            require_readable(self.tensors[name], name)
            wanted = expected_size(shape, name)
            if (found := self.tensors[name].shape) != wanted:
                raise SourceError(
                    f"{name} is {found}, not {wanted}", where=self.tensors[name].shard, remedy=REMEDY
                )


def _without_prefix(tensors: Mapping[str, StoredTensor]) -> Mapping[str, StoredTensor]:
    prefix = next((name.removesuffix(_FIRST) for name in tensors if name.endswith(f".{_FIRST}")), "")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


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
