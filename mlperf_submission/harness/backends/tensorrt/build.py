"""An engine from an ONNX network, with TensorRT: on the GPU at hand, or for a named one where there is none.

As a child process (`python -m mlperf_submission.harness.backends.tensorrt.build`) it takes a `BuildRequest`
and prints TensorRT's warnings and errors.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.errors import NetworkFileError, SettingError, StepFailedError
from mlperf_submission.files import disk_full_named, write_atomic
from mlperf_submission.harness.backends.tensorrt.cuda import call, gpus_like, import_cuda, visible_gpus
from mlperf_submission.harness.backends.tensorrt.library import (
    EngineInfo,
    Messages,
    import_library,
    library_for,
)
from mlperf_submission.process import peak_bytes, serve_request
from models.network.checks import all_tensors, dimensions, read_network

_PROFILES = "profiles."
_BATCH = "N"
_RANGE = re.compile(r"(\d+):(\d+|\*):(\d+|\*)")
_MEMORY = re.compile(r"Total (Activation|Device Persistent|Weights) Memory: (\d+)")
_NEEDED = {"Attention": (10, 14), "RotaryEmbedding": (10, 15), "TensorScatter": (10, 15)}
"""Operators that the parser of `tensorrt` knows from this version on (NVIDIA/TensorRT, CHANGELOG.md); what
else our networks have is older. `tensorrt_rtx` knows them from 1.7 on."""


class BuildRequest(BaseModel):
    """What the child process is asked for; the fields are `build`'s."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: Path
    output: Path
    precision: Precision
    max_batch_size: int = Field(ge=1)
    compute_capability: str
    accelerator: str = ""
    timing_cache: Path | None = None


def build(
    network: Path,
    output: Path,
    *,
    precision: Precision,
    max_batch_size: int,
    compute_capability: str,
    accelerator: str = "",
    timing_cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, JsonValue]:
    """Build an engine, and describe it in `<output>.json`.

    The network is strongly typed: every layer runs in the precision that the network states, so the precision
    has to be in the network (models.network.quantization) and is only checked here.

    Args:
        network: an ONNX file whose only free dimension is the batch, or that states the sizes of the others
            (`_stated_profiles`).
        output: the engine file to write.
        precision: what the network was converted to.
        max_batch_size: the largest batch that the engine takes, samples; it is made fastest for that.
        compute_capability: of the GPU, e.g. `8.9`. With `tensorrt` it must be that of a GPU at hand.
        accelerator: name of the GPU, which is taken before others of its compute capability.
        timing_cache: a file that keeps measured timings of layers for the next build (`tensorrt` only).
        say: told each warning and error of TensorRT.

    Returns:
        Figures: library, version, compute_capability, precision, precisions (layer outputs by type), layers
        (before fusion), bytes, seconds, parse_seconds, max_batch_size, profiles (their number),
        peak_host_bytes (of this process), activation_bytes (of a context for each profile, as a stream has
        them) and weights_bytes (device memory as TensorRT states it, or None).

    Raises:
        NetworkFileError: no ONNX network, one that TensorRT does not understand, a free dimension that is not
            the batch, or another precision than stated.
        SettingError: no TensorRT, one that is too old for the network, or it cannot build for this compute
            capability, or impossible batch sizes.
        StepFailedError: TensorRT did not build it; the message has its reasons.
    """
    if max_batch_size < 1:
        raise SettingError(
            f"batches of {max_batch_size} are asked for", remedy="correct batch_size in the system file"
        )
    started = time.monotonic()
    model = read_network(network, with_weights=False)
    _check_precision(model, precision, network)
    model.graph.ClearField("initializer")  # the parser reads the weights anew
    library = library_for(compute_capability)
    trt = import_library(library)
    if library == "tensorrt":
        check_operators(model, str(trt.__version__), network)
        _choose_gpu(compute_capability, accelerator)
    memory: Counter[str] = Counter()
    messages = Messages(trt, say, partial(_add_memory, memory))
    builder = trt.Builder(messages.logger)
    if builder is None:
        raise _no_engine(messages, network)
    config = builder.create_builder_config()
    if library == "tensorrt_rtx":
        _aim_at(trt, config, compute_capability)
    definition = _parse(trt, builder, messages, network)
    profiles = _add_profiles(builder, config, definition, model, max_batch_size, network)
    parsed = time.monotonic()
    timings = _Timings(config, timing_cache if library == "tensorrt" else None)
    engine = builder.build_serialized_network(definition, config)
    if engine is None:
        raise _no_engine(messages, network)
    timings.keep()
    info = EngineInfo(
        library=library,
        version=str(trt.__version__),
        compute_capability=compute_capability,
        precision=precision,
        max_batch_size=max_batch_size,
    )
    content = memoryview(engine)  # no copy: an engine may have gigabytes
    with disk_full_named(output):
        write_atomic(EngineInfo.path(output), info.model_dump_json(indent=2))
        write_atomic(output, content)
    precisions: dict[str, JsonValue] = dict(_precisions(definition))
    return {
        **info.model_dump(),
        "profiles": profiles,
        "precisions": precisions,
        "layers": definition.num_layers,
        "bytes": content.nbytes,
        "seconds": round(time.monotonic() - started, 3),
        "parse_seconds": round(parsed - started, 3),
        "peak_host_bytes": peak_bytes(),
        "activation_bytes": memory["Activation"] + memory["Device Persistent"] or None,
        "weights_bytes": memory["Weights"] or None,
    }


def supported_capabilities(trt: Any) -> dict[str, Any]:
    """Return the compute capabilities that can be built for without a GPU, e.g. `8.9` to its constant."""
    names = {
        name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")
    }
    return {f"{name[2:-1]}.{name[-1]}": value for name, value in names.items()}


def check_operators(model: ModelProto, version: str, network: Path) -> None:
    """Refuse a network with an operator that the parser of this `tensorrt` does not know yet.

    Raises:
        SettingError: names operator, needed and found version.
    """
    found = tuple(int(part) for part in version.split(".")[:2])
    kinds = {node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")}
    missing = {kind: needed for kind, needed in _NEEDED.items() if kind in kinds and found < needed}
    if missing:
        raise SettingError(
            f"tensorrt {version} does not know "
            + ", ".join(f"{kind} (from {major}.{minor} on)" for kind, (major, minor) in missing.items()),
            where=network,
            remedy="install the newest tensorrt for the driver's CUDA: pip install -e '.[tensorrt-cu12]' or "
            "'.[tensorrt-cu13]'",
        )


def _aim_at(trt: Any, config: Any, wanted: str) -> None:
    known = supported_capabilities(trt)
    if wanted not in known:
        raise SettingError(
            f"tensorrt_rtx {trt.__version__} cannot build for compute capability {wanted}",
            remedy=f"it builds for {', '.join(known)}; for others install tensorrt where the GPU is",
        )
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(known[wanted], 0):
        raise StepFailedError(
            f"tensorrt_rtx refused compute capability {wanted}",
            remedy="see its messages",
            code="engine-other-gpu",
        )


def _choose_gpu(wanted: str, accelerator: str) -> None:
    """Make a GPU of this compute capability the calling thread's, for which `tensorrt` then builds."""
    cuda = import_cuda()
    found = visible_gpus(cuda)
    fitting = gpus_like(found, wanted, accelerator)
    if not fitting:
        here = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in found)
        raise SettingError(
            f"tensorrt builds for a GPU at hand only; {wanted} is wanted, but here are {here}",
            remedy="correct accelerator.compute_capability in the system file, or build on the machine that "
            "it describes; without a GPU, uninstall tensorrt and install tensorrt-rtx",
        )
    call(cuda, "cudaSetDevice", fitting[0])


def _parse(trt: Any, builder: Any, messages: Messages, network: Path) -> Any:
    # TensorRT 10 wants the flag; newer ones and TensorRT for RTX are always strongly typed and ignore it.
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, messages.logger)
    if not parser.parse_from_file(str(network)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        texts = [
            f"node {error.node_name() or error.node()} ({error.node_operator() or 'unknown'}): {error.desc()}"
            for error in errors[:3]
        ]
        raise NetworkFileError(
            f"TensorRT does not understand the network: {' | '.join(texts) or messages.last}",
            where=network,
            remedy="replace the named operators when exporting the network, or use backend onnxruntime",
            code="engine-not-understood",
        )
    return definition


def _add_profiles(
    builder: Any, config: Any, definition: Any, model: ModelProto, largest: int, network: Path
) -> int:
    """Add one profile, or those that the network's metadata ask for (`_stated_profiles`); return how many."""
    names = {value.name: dimensions(value) for value in model.graph.input}
    stated = _stated_profiles(model, largest, network)
    for sizes in stated:
        profile = builder.create_optimization_profile()
        for index in range(definition.num_inputs):
            name, shape = definition.get_input(index).name, tuple(definition.get_input(index).shape)
            if not shape or shape[0] != -1:
                raise NetworkFileError(
                    f"the batch dimension of input {name} {shape} is fixed, a free one is needed",
                    where=network,
                    remedy="convert the network again with models.network.quantization",
                    code="engine-not-understood",
                )
            named = names.get(name) or shape
            ranges = [
                (size, size, size) if size != -1 else sizes.get(str(axis), (-1, -1, -1))
                for size, axis in zip(shape[1:], named[1:], strict=True)
            ]
            if (-1, -1, -1) in ranges:
                raise NetworkFileError(
                    f"input {name} {shape} has a free dimension beside the batch",
                    where=network,
                    remedy="convert the network again with models.network.quantization, which fixes it",
                    code="engine-not-understood",
                )
            least, usual, most = (
                [limits[place] for limits in (sizes[_BATCH], *ranges)] for place in range(3)
            )
            profile.set_shape(name, tuple(least), tuple(usual), tuple(most))
        if config.add_optimization_profile(profile) < 0:
            raise StepFailedError(
                "TensorRT refused the batch sizes",
                where=network,
                remedy="choose a smaller batch_size",
                code="engine-not-built",
            )
    return len(stated)


def _stated_profiles(model: ModelProto, largest: int, network: Path) -> list[dict[str, tuple[int, int, int]]]:
    """Return for each profile the smallest, usual and largest size of each named free dimension.

    A network states them in its metadata: `profiles.S` = `4:4:1919` says that dimension S is 4 to 1919, and
    most often 4; several such groups make several profiles. Those of `profiles.N` are the batch, in which `*`
    stands for the largest one; without them it is 1 to the largest in each profile. So `profiles.S` =
    `4:4:4 4:900:1919` with `profiles.N` = `1:*:* 1:1:2` are steps of many beside prompts one by one (a batch
    of 1 alone is what TensorRT for RTX 1.7 fails to build with GPT-J). A network that states none has one
    profile, and the batch alone is free.
    """
    stated = {
        entry.key.removeprefix(_PROFILES): _RANGE.findall(entry.value)
        for entry in model.metadata_props
        if entry.key.startswith(_PROFILES)
    }
    counts = {len(ranges) for ranges in stated.values()}
    if len(counts) > 1 or 0 in counts:
        raise NetworkFileError(
            f"the network's metadata state profiles that cannot be read: {sorted(stated)}",
            where=network,
            remedy="export the network again",
            code="engine-not-understood",
        )
    count = counts.pop() if counts else 1
    stated.setdefault(_BATCH, [("1", "*", "*")] * count)
    return [
        {
            name: _sizes(ranges[number], largest if name == _BATCH else 0, network)
            for name, ranges in stated.items()
        }
        for number in range(count)
    ]


def _sizes(stated: tuple[str, str, str], star: int, network: Path) -> tuple[int, int, int]:
    """Return smallest, usual and largest size, with what `*` stands for."""
    low, usual, high = (star if size == "*" else int(size) for size in stated)
    if not 1 <= low <= usual <= high:
        raise NetworkFileError(
            f"the network's metadata state profiles that cannot be: {':'.join(stated)}",
            where=network,
            remedy="export the network again",
            code="engine-not-understood",
        )
    return low, usual, high


class _Timings:
    """Measured timings of layers, kept in a file between builds.

    A file that is damaged, or of another GPU or version of TensorRT, is as good as none.
    """

    def __init__(self, config: Any, path: Path | None) -> None:
        self._config, self._path = config, path
        if path is None:
            return
        kept = config.create_timing_cache(path.read_bytes()) if path.is_file() else None
        if kept is None or not config.set_timing_cache(kept, ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)

    def keep(self) -> None:
        if self._path is not None:
            write_atomic(self._path, bytes(self._config.get_timing_cache().serialize()))


def _check_precision(model: ModelProto, precision: Precision, network: Path) -> None:
    stored = Counter(tensor.data_type for tensor in all_tensors(model) if tensor.dims)
    if stored[TensorProto.INT8]:
        found = "int8"
    elif stored[TensorProto.FLOAT16] > stored[TensorProto.FLOAT]:
        found = "fp16"
    else:
        found = "fp32"
    if found != precision:
        raise NetworkFileError(
            f"the network is {found}, but the engine is to be {precision}",
            where=network,
            remedy="convert the network with models.network.quantization first",
            code="engine-not-understood",
        )


def _precisions(definition: Any) -> Counter[str]:
    return Counter(
        str(definition.get_layer(layer).get_output_type(output)).rpartition(".")[2].lower()
        for layer in range(definition.num_layers)
        for output in range(definition.get_layer(layer).num_outputs)
    )


def _add_memory(memory: Counter[str], line: str) -> None:
    """Take what a message says of memory: a context's is stated for each profile, that of weights once."""
    for what, size in _MEMORY.findall(line):
        memory[what] = int(size) + (0 if what == "Weights" else memory[what])


def _no_engine(messages: Messages, network: Path) -> StepFailedError:
    return StepFailedError(
        f"TensorRT did not build the engine: {messages.last}",
        where=network,
        remedy="its messages say why; a smaller batch_size or another precision often helps",
        code="engine-not-built",
    )


def _main(request: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    asked = BuildRequest.model_validate(request)
    options = {
        name: getattr(asked, name) for name in BuildRequest.model_fields if name not in ("network", "output")
    }
    return build(
        asked.network, asked.output, **options, say=lambda line: print(line, file=sys.stdout, flush=True)
    )


if __name__ == "__main__":
    serve_request(_main)
