"""Writes GPT-J as an ONNX network: tensor by tensor, large weights outside of the file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import OnProgress, Progress, ignore_progress
from mlperf_submission.errors import NetworkFileError
from mlperf_submission.files import disk_full_named, require_free_space, write_atomic
from models.gptj.decoder import (
    DecoderShape,
    Weights,
    decoder_graph,
    decoder_model,
    initialisers,
    weight_names,
)

DTYPES: Mapping[str, str] = {"fp32": "float32", "fp16": "float16"}
LARGEST_INLINE = 1 << 30
"""Bytes of weights that are kept in the ONNX file itself; a protocol buffer holds at most 2 GiB."""
_ALIGNMENT = 4096
"""Of each tensor in the weights' file, so that it can be mapped (ONNX, external data)."""


def write_network(
    path: Path,
    shape: DecoderShape,
    source: Weights,
    precision: Precision,
    *,
    inline_limit: int = LARGEST_INLINE,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, JsonValue]:
    """Write the network; the same weights give the same bytes.

    One tensor (and the matrix that it becomes) is in memory at a time, unless all fit into the ONNX file.

    Args:
        path: the ONNX file. Large weights go into `<path>.data` beside it.
        shape: the decoder's sizes.
        source: gives the checkpoint's tensors.
        precision: `fp32` or `fp16`.
        inline_limit: bytes of weights up to which they lie in the ONNX file.
        on_progress: told how many tensors are written.

    Returns:
        Figures: precision, opset, nodes, bytes, seconds, weights.

    Raises:
        NetworkFileError: a tensor has another shape than the decoder's, or the precision is INT8.
        DiskFullError: there is not enough space.
    """
    started = time.monotonic()
    if precision not in DTYPES:
        raise NetworkFileError(
            f"there is no {precision} network of GPT-J", where=path, remedy="choose fp16 (or fp32)"
        )
    dtype = DTYPES[precision]
    size = shape.weights * np.dtype(dtype).itemsize
    require_free_space(path.parent, size, "the network")
    graph, names = decoder_graph(shape, dtype)
    outside = path.with_name(f"{path.name}.data") if size > inline_limit else None
    tensors: dict[str, TensorProto] = {}
    with disk_full_named(path):
        if outside:
            outside.write_bytes(b"")
        for name, values in initialisers(shape, source, dtype):
            tensors[name] = (
                _append(outside, name, values) if outside else numpy_helper.from_array(values, name)
            )
            on_progress(Progress(len(tensors), len(names), "tensors"))
    graph.initializer.extend(tensors[name] for name in names)
    model = decoder_model(graph, shape)
    with disk_full_named(path):
        write_atomic(path, model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=outside is None)
    return {
        "precision": precision,
        "opset": model.opset_import[0].version,
        "nodes": len(graph.node),
        "bytes": path.stat().st_size + (outside.stat().st_size if outside else 0),
        "weights": shape.weights,
        "seconds": round(time.monotonic() - started, 3),
    }


def read_shape(model: ModelProto, where: Path) -> DecoderShape:
    """Return the sizes that a network of `write_network` states.

    Raises:
        NetworkFileError: it states none.
    """
    stated = {entry.key: entry.value for entry in model.metadata_props}
    try:
        return DecoderShape(**{name: int(stated[name]) for name in DecoderShape.__dataclass_fields__})
    except (KeyError, ValueError) as error:
        raise NetworkFileError(
            f"the network does not state its {error}",
            where=where,
            remedy="use a network that this project exported",
        ) from error


def weights_of(path: Path) -> tuple[DecoderShape, Weights]:
    """Return the sizes of a network that `write_network` wrote, and its weights by their checkpoint's names.

    Raises:
        NetworkFileError: it is no such network.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # the protocol buffer's classes differ from version to version
        raise NetworkFileError(
            f"this is no ONNX network: {str(error)[:200]}", where=path, remedy="fetch the network anew"
        ) from error
    shape = read_shape(model, path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def read(name: str) -> NDArray[np.generic]:
        found = tensors.get(name)
        if found is None:
            raise NetworkFileError(f"the network lacks {name}", where=path, remedy="export it again")
        return numpy_helper.to_array(found, str(path.parent))

    def source(name: str) -> NDArray[np.generic]:
        stored = read(_stored(name))
        if stored.ndim < 2 or "wte" in name:
            return stored
        if _stored(name).endswith(".qkv"):
            first = "qkv".index(name[-len("q_proj.weight")]) * shape.hidden
            stored = stored[:, first : first + shape.hidden]
        return stored.T

    missing = [name for name in weight_names(shape) if _stored(name) not in tensors]
    if missing:
        raise NetworkFileError(
            f"the network lacks {', '.join(missing[:3])}", where=path, remedy="export it again"
        )
    return shape, source


def _stored(name: str) -> str:
    """Return the network's tensor that a tensor of the checkpoint is in."""
    block, is_attention, part = name.rpartition(".attn.")
    if is_attention:
        return f"{block}.attn.out" if part == "out_proj.weight" else f"{block}.attn.qkv"
    if name == "lm_head.weight" or (".mlp." in name and name.endswith(".weight")):
        return name.removesuffix(".weight")
    return name


def _append(path: Path, name: str, values: NDArray[np.generic]) -> TensorProto:
    content = np.ascontiguousarray(values)
    with path.open("ab") as stream:
        stream.write(b"\0" * (-stream.tell() % _ALIGNMENT))
        offset = stream.tell()
        content.tofile(stream)
    tensor = TensorProto(
        name=name, data_type=helper.np_dtype_to_tensor_dtype(content.dtype), dims=content.shape
    )
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", path.name), ("offset", offset), ("length", content.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
