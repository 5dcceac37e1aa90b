from __future__ import annotations

import io
import json
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
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
    for name in ("FloatStorage", "HalfStorage", "BFloat16Storage", "BoolStorage", "UntypedStorage"):
        setattr(module, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


KINDS = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "uint16": "BFloat16Storage",
    "bool": "BoolStorage",
    "uint8": "UntypedStorage",
}


def write_shard(
    path: Path,
    tensors: dict[str, np.ndarray],
    torch: Any,
    *,
    prefix: str = "archive",
    beside: Callable[[Any], Any] = lambda table: table,
) -> None:
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
    Writer(stream, protocol=2).dump(beside(table))
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
    with pytest.raises(SourceError, match=r"there is no \*.safetensors"):
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


# As others store it

SAFE = {
    "float32": "F32",
    "float16": "F16",
    "float64": "F64",
    "uint16": "BF16",
    "bool": "BOOL",
    "uint8": "F8_E4M3",
}


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, values in tensors.items():
        begin, content = len(content), content + values.tobytes()
        header[name] = {
            "dtype": SAFE[values.dtype.name],
            "shape": values.shape,
            "data_offsets": [begin, len(content)],
        }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def all_tensors() -> dict[str, np.ndarray]:
    source = random_weights(SMALL)
    return {name: np.ascontiguousarray(source(name)) for name in weight_names(SMALL)}


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_safetensors_are_read_in_one_file_or_several(tmp_path: Path, shards: int) -> None:
    tensors = all_tensors()
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        write_safetensors(tmp_path / file, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    if shards == 3:
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        (tmp_path / "training.safetensors").write_bytes(b"another file")
    (tmp_path / "pytorch_model.bin").write_bytes(b"the same once more")
    checkpoint = Checkpoint(tmp_path)
    checkpoint.require(SMALL)
    for name, values in tensors.items():
        np.testing.assert_array_equal(checkpoint(name), values)


def test_each_kind_of_number_in_safetensors_is_read_or_refused(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.25, 0.0078125]], np.float32)
    write_safetensors(
        tmp_path / "model.safetensors",
        {
            "odd": np.ones(3, bool),  # the next ones lie at no multiple of their size
            "half": values.astype(np.float16),
            "brain": (values.view(np.uint32) >> 16).astype(np.uint16),
            "double": values.astype(np.float64),
            "eight": np.ones((1, 3), np.uint8),
        },
    )
    checkpoint = Checkpoint(tmp_path)
    for name in ("half", "brain", "double"):
        np.testing.assert_array_equal(checkpoint(name), values)
    with pytest.raises(SourceError, match="eight is stored as F8_E4M3") as caught:
        checkpoint("eight")
    assert "FP8" in caught.value.remedy


def test_fp8_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    tensors = all_tensors()
    name = "transformer.h.1.mlp.fc_in.weight"
    write_safetensors(tmp_path / "model.safetensors", tensors | {name: tensors[name].astype(np.uint8)})
    with pytest.raises(SourceError, match=f"{name} is stored as F8_E4M3"):
        Checkpoint(tmp_path).require(SMALL)


def test_a_shard_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(SourceError, match=r"lacks model-00001-of-00002\.safetensors"):
        Checkpoint(tmp_path)
    index.write_text("[]")
    with pytest.raises(SourceError, match="the index is none"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        (1 << 62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a":1}  ',
        b"<\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(60),
        b"<\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}'.ljust(60) + b"8" * 8,
        b"<\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}'.ljust(60) + b"8" * 8,
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SourceError):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("beside", "prefix"),
    [
        (lambda table: {"state_dict": table, "epoch": 3}, "model."),
        (lambda table: {"model": table, "optimizer": {"state": {}}}, ""),
        (lambda table: {"model": {"state_dict": table}}, "module."),
        (lambda table: table, "_orig_mod.module."),
    ],
)
def test_tensors_are_found_where_training_puts_them(
    tmp_path: Path, torch: Any, beside: Callable[[Any], Any], prefix: str
) -> None:
    tensors = all_tensors()
    named = {f"{prefix}{name}": values for name, values in tensors.items()}
    write_shard(tmp_path / "pytorch_model.bin", named, torch, beside=beside)
    checkpoint = Checkpoint(tmp_path)
    checkpoint.require(SMALL)
    for name, values in tensors.items():
        np.testing.assert_array_equal(checkpoint(name), values)


def test_fp8_of_pytorch_is_named(tmp_path: Path, torch: Any) -> None:
    """As `torch.save` writes what has no storage of its own: `_rebuild_tensor_v3`, with its dtype."""

    class Eight:
        def __reduce__(self) -> Any:
            tensor: tuple[Any, ...] = (
                Storage("0", np.ones(3, np.uint8)),
                0,
                (3,),
                (1,),
                False,
                OrderedDict(),
                dtype,
            )
            return sys.modules["torch._utils"]._rebuild_tensor_v3, tensor

    class Dtype:
        def __reduce__(self) -> Any:
            return "float8_e4m3fn"

    def rebuild(*arguments: Any) -> None:
        """Stand for the function that builds a tensor of a dtype."""

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v3"
    sys.modules["torch._utils"]._rebuild_tensor_v3 = rebuild  # type: ignore[attr-defined]
    dtype = Dtype()
    dtype.__module__, torch.float8_e4m3fn = "torch", dtype
    write_shard(tmp_path / "pytorch_model.bin", {}, torch, beside=lambda _: {"weight": Eight()})
    with pytest.raises(SourceError, match="weight is stored as float8_e4m3fn"):
        Checkpoint(tmp_path)("weight")


def test_a_pickle_that_asks_for_endless_memory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(SourceError, match="endless memory"):
        Checkpoint(tmp_path)
