"""Whether a file is an ONNX network, whole and harmless, with the inputs and outputs of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from mlperf_submission.benchmark.parts import TensorSpec
from mlperf_submission.errors import NetworkFileError, SourceError
from mlperf_submission.files import followed, inside
from models.network.folding import fold_constants

_FETCH_AGAIN = "fetch the network again from its official source and compare its checksum"
_OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
)
"""First bytes of files that are mistaken for a network."""


def check_network(
    path: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    adapt: Callable[[ModelProto], ModelProto] = lambda model: model,
) -> ModelProto:
    """Check a network file against the inputs and outputs that a benchmark needs, and return it.

    Further outputs are allowed; a further input is, if it has an initialiser (ONNX before IR version 4 lists
    weights so). A free dimension of an input, and the batch dimension of an output, must be free or symbolic
    in the file; a fixed one may be symbolic there. Constants are folded first; then `adapt` brings the file
    to the benchmark's form.

    Raises:
        NetworkFileError: the file is no ONNX network, is damaged, names data outside of its folder, or has
            other inputs or outputs; the message lists what was found and what is expected.
    """
    model = read_network(path)
    fold_constants(model)
    model = adapt(model)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    found_inputs = [value for value in graph.input if value.name not in weights]
    problems = [
        *_differences("input", found_inputs, inputs, every_free_dimension=True),
        *_differences("output", graph.output, outputs, every_free_dimension=False),
    ]
    wanted = {spec.name for spec in inputs}
    problems += [
        f"input {value.name} is not fed by the benchmark and has no initialiser"
        for value in found_inputs
        if value.name not in wanted
    ]
    if problems:
        raise NetworkFileError(
            f"{'; '.join(problems)}. Found: {_describe(found_inputs, graph.output)}. "
            f"Expected: {_listing('inputs', inputs)}; {_listing('outputs', outputs)}",
            where=path,
            remedy="use the network that the benchmark names, or export it with these inputs and outputs",
        )
    return model


def read_network(path: Path, *, with_weights: bool = True) -> ModelProto:
    """Read an ONNX file, checked by `onnx.checker`.

    Args:
        path: the file.
        with_weights: load external data too; else they are only checked, and stay where they lie.

    Raises:
        NetworkFileError: the file is missing, is no ONNX network or is damaged, or its external data lies
            outside of its folder, is missing or is too short.
    """
    model = _parse(path)
    externals = [tensor for tensor in all_tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    for tensor in externals:
        _check_external(tensor, path)
    try:
        onnx.checker.check_model(str(path))
        for tensor in externals if with_weights else ():
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise NetworkFileError(
            f"the ONNX checker refuses the network: {_first_line(error)}", where=path, remedy=_FETCH_AGAIN
        ) from error
    return model


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every constant of a network: initialisers and node attributes, in functions and subgraphs too."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def dtype_name(element_type: int) -> str:
    """Return the NumPy name of an ONNX element type, e.g. `float32`."""
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)
    except KeyError:
        return f"type {element_type}"


def dimensions(value: ValueInfoProto) -> tuple[int | str | None, ...] | None:
    """Return a value's shape: numbers, names of symbolic dimensions, None for free ones; None if unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        one.dim_value if one.HasField("dim_value") and one.dim_value >= 0 else (one.dim_param or None)
        for one in tensor.shape.dim
    )


def _parse(path: Path) -> ModelProto:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NetworkFileError(
            f"the network cannot be read: {error.strerror}", where=path, remedy=_FETCH_AGAIN
        ) from error
    kind = _other_file(content)
    if kind is None:
        try:
            model: ModelProto = ModelProto.FromString(content)
        except DecodeError as error:
            raise NetworkFileError(
                f"these {len(content)} bytes are no ONNX network, or a part of one: {_first_line(error)}",
                where=path,
                remedy=_FETCH_AGAIN,
            ) from error
        if model.ir_version and model.graph.node:
            return model
        kind = "another protocol buffer, or an ONNX network without nodes"
    raise NetworkFileError(f"the file is no ONNX network: it is {kind}", where=path, remedy=_FETCH_AGAIN)


def _other_file(content: bytes) -> str | None:
    if not content:
        return "empty"
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (an error page or a login form is often saved in place of a download)"
    return next((what for magic, what in _OTHER_FILES if content.startswith(magic)), None)


def _check_external(tensor: TensorProto, path: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    folder = followed(path.parent)
    try:
        data = inside(folder, entries.get("location", ""))
        outside = not followed(data).is_relative_to(folder)
    except (SourceError, ValueError):
        outside = True
    if outside:
        raise NetworkFileError(
            f"the weights of {tensor.name!r} lie outside of the network's folder: "
            f"{entries.get('location')!r}",
            where=path,
            remedy="do not use this file: a network has no business reading other files",
        )
    try:
        size = data.stat().st_size
        end = int(entries.get("offset", "0")) + int(entries.get("length", "0"))
    except (OSError, ValueError) as error:
        raise NetworkFileError(
            f"the weights of {tensor.name!r} cannot be read from {data.name!r}: {error}",
            where=path,
            remedy="put the network's data file beside it",
        ) from error
    if end > size:
        raise NetworkFileError(
            f"the weights of {tensor.name!r} end at byte {end} of {data.name!r}, which has only {size} bytes",
            where=path,
            remedy=_FETCH_AGAIN,
        )


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor.values
                yield attribute.sparse_tensor.indices
            if attribute.HasField("g"):
                yield from _tensors_of_graph(attribute.g)
            for graph in attribute.graphs:
                yield from _tensors_of_graph(graph)


def _differences(
    role: str,
    found: Iterable[ValueInfoProto],
    expected: tuple[TensorSpec, ...],
    *,
    every_free_dimension: bool,
) -> Iterator[str]:
    by_name = {value.name: value for value in found}
    if not any(spec.name in by_name for spec in expected):
        yield f"none of the {role}s that the benchmark needs is there"
    for spec in expected:
        value = by_name.get(spec.name)
        if value is None:
            if not spec.optional:
                yield f"{role} {spec.name} is missing"
            continue
        dtype = dtype_name(value.type.tensor_type.elem_type)
        if dtype != spec.dtype:
            yield f"{role} {spec.name} is {dtype}, not {spec.dtype}"
        shape = dimensions(value)
        if shape is None:
            continue
        if len(shape) != len(spec.shape):
            yield f"{role} {spec.name} has {len(shape)} dimensions, not {len(spec.shape)}"
            continue
        for axis, (have, want) in enumerate(zip(shape, spec.shape, strict=True)):
            if want is None and isinstance(have, int) and axis == 0:
                yield f"the batch dimension of {role} {spec.name} is fixed to {have}, a free one is needed"
            elif want is None and isinstance(have, int) and every_free_dimension:
                yield f"dimension {axis} of {role} {spec.name} is fixed to {have}, a free one is needed"
            elif want is not None and isinstance(have, int) and have != want:
                yield f"dimension {axis} of {role} {spec.name} is {have}, not {want}"


def _describe(inputs: Iterable[ValueInfoProto], outputs: Iterable[ValueInfoProto]) -> str:
    return "; ".join(
        f"{role}s {', '.join(map(_one, values)) or 'none'}"
        for role, values in (("input", inputs), ("output", outputs))
    )


def _one(value: ValueInfoProto) -> str:
    shape = dimensions(value)
    text = (
        "of unknown shape" if shape is None else "x".join("?" if one is None else str(one) for one in shape)
    )
    return f"{value.name} {dtype_name(value.type.tensor_type.elem_type)} {text}"


def _listing(role: str, specs: tuple[TensorSpec, ...]) -> str:
    texts = [
        f"{spec.name} {spec.dtype} {'x'.join('?' if one is None else str(one) for one in spec.shape)}"
        for spec in specs
    ]
    return f"{role} {', '.join(texts)}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
