from __future__ import annotations

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlperf_submission.benchmark.parts import ignore_progress
from mlperf_submission.errors import PipelineError, SourceError
from models.gptj.architecture import random_weights
from models.gptj.checkpoint import Checkpoint
from models.gptj.decoder import DecoderShape, weight_names
from models.gptj.export import weights_of, write_network
from models.registry import get_benchmark

SMALL = DecoderShape(layers=2, hidden=16, heads=2, rotary=4, inner=24, vocabulary=11, prompt=8, end=10)


class Storage:
    def __init__(self, key: str, values: np.ndarray) -> None:
        self.key, self.values = key, values


class Rebuilt:
    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Just enough of PyTorch's names for pickle to write what `torch.save` writes."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments: Any) -> None:
        """Stand for the function that builds a tensor."""

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    for name in ("FloatStorage", "HalfStorage", "BFloat16Storage", "BoolStorage"):
        setattr(module, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


KINDS = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "uint16": "BFloat16Storage",
    "bool": "BoolStorage",
}


def write_shard(path: Path, tensors: dict[str, np.ndarray], torch: Any, *, prefix: str = "archive") -> None:
    class Writer(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, Storage):
                kind = getattr(torch, KINDS[value.values.dtype.name])
                return ("storage", kind, value.key, "cpu", value.values.size)
            return None

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Rebuilt):
                return sys.modules["torch._utils"]._rebuild_tensor_v2, value.arguments
            return NotImplemented

    storages = {name: Storage(str(number), values) for number, (name, values) in enumerate(tensors.items())}
    table = OrderedDict(
        (
            name,
            Rebuilt(
                storages[name],
                0,
                values.shape,
                tuple(stride // values.itemsize for stride in values.strides),
                False,
                OrderedDict(),
            ),
        )
        for name, values in tensors.items()
    )
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(table)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{prefix}/data.pkl", stream.getvalue())
        for storage in storages.values():
            archive.writestr(f"{prefix}/data/{storage.key}", storage.values.tobytes())


def write_checkpoint(folder: Path, torch: Any, shape: DecoderShape = SMALL) -> dict[str, np.ndarray]:
    source = random_weights(shape)
    tensors = {name: source(name) for name in weight_names(shape)}
    names = list(tensors)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    for number, part in enumerate(halves, 1):
        mask = {f"transformer.h.{number - 1}.attn.bias": np.ones(4, bool)}
        write_shard(
            folder / f"pytorch_model-0000{number}-of-00002.bin",
            {**{name: tensors[name] for name in part}, **mask},
            torch,
        )
    return tensors


def test_every_tensor_of_every_shard_is_read_as_it_was_written(tmp_path: Path, torch: Any) -> None:
    tensors = write_checkpoint(tmp_path, torch)
    checkpoint = Checkpoint(tmp_path)
    for name, values in tensors.items():
        np.testing.assert_array_equal(checkpoint(name), values)
    checkpoint.require(SMALL)


def test_half_precision_and_bfloat16_are_read(tmp_path: Path, torch: Any) -> None:
    values = np.array([1.5, -2.25, 0.0078125], np.float32)
    write_shard(
        tmp_path / "pytorch_model.bin",
        {"half": values.astype(np.float16), "brain": (values.view(np.uint32) >> 16).astype(np.uint16)},
        torch,
    )
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint("half").dtype == np.float16
    np.testing.assert_array_equal(checkpoint("half"), values)
    np.testing.assert_array_equal(checkpoint("brain"), values)


def test_the_exported_network_has_the_checkpoints_weights(tmp_path: Path, torch: Any) -> None:
    tensors = write_checkpoint(tmp_path, torch)
    write_network(tmp_path / "out.onnx", SMALL, Checkpoint(tmp_path), "fp16", inline_limit=0)
    shape, source = weights_of(tmp_path / "out.onnx")
    assert shape == SMALL
    for name, values in tensors.items():
        np.testing.assert_array_equal(source(name), values.astype(np.float16))


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path, torch: Any) -> None:
    write_checkpoint(tmp_path, torch)
    with pytest.raises(SourceError, match=r"is \(11, 16\), not \(11, 4096\)"):
        Checkpoint(tmp_path).shape()
    with pytest.raises(SourceError, match="fc_in"):
        Checkpoint(tmp_path).require(replace(SMALL, hidden=16, inner=32, layers=2, heads=4, vocabulary=11))


def test_a_missing_shard_is_named(tmp_path: Path, torch: Any) -> None:
    write_checkpoint(tmp_path, torch)
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(SourceError, match="lacks"):
        Checkpoint(tmp_path).shape()
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(SourceError, match="there is no pytorch_model"):
        Checkpoint(tmp_path)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-checkpoint",)


@pytest.mark.parametrize("value", [Evil(), OrderedDict(weight=Evil()), print])
def test_a_pickle_that_names_anything_else_is_refused_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value))
    with pytest.raises(SourceError, match=r"mkdir|print"):
        Checkpoint(tmp_path)
    assert not Path("made-by-a-checkpoint").exists()


def test_a_truncated_or_foreign_file_is_refused(tmp_path: Path, torch: Any) -> None:
    write_checkpoint(tmp_path, torch)
    shard = tmp_path / "pytorch_model-00001-of-00002.bin"
    whole = shard.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\x80\x02l\x0a" * 10):
        shard.write_bytes(content)
        with pytest.raises(PipelineError):
            Checkpoint(tmp_path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path, torch: Any) -> None:
    values = np.arange(6, dtype=np.float32)
    longer = np.lib.stride_tricks.as_strided(values, (2, 3), (16, 4))
    write_shard(tmp_path / "pytorch_model.bin", {"wide": longer}, torch)
    with pytest.raises(SourceError, match="outside of its storage"):
        Checkpoint(tmp_path)("wide")


def test_the_benchmark_exports_an_unpacked_checkpoint(
    tmp_path: Path, torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does with 6B, whose sizes stand in for here by smaller ones; vocabulary and layers are read."""
    monkeypatch.setattr("models.gptj.checkpoint.GPTJ_6B", replace(SMALL, layers=99, vocabulary=99))
    monkeypatch.setattr("models.gptj.checkpoint.FULL_PROMPT", SMALL.prompt)
    folder = tmp_path / "checkpoint" / "checkpoint-final"
    folder.mkdir(parents=True)
    write_checkpoint(folder, torch)
    figures = get_benchmark("gptj-99").network.convert(
        tmp_path / "checkpoint", tmp_path / "network.onnx", "fp16", ignore_progress
    )
    assert figures and figures["weights"] == SMALL.weights
    assert weights_of(tmp_path / "network.onnx")[0] == SMALL
