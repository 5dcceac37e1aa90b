"""Engines are really built, for a GPU that is not there; what cannot be built is named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from mlperf_submission.benchmark.answer import StackedSamples
from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.errors import NetworkFileError, SettingError, StepTimeoutError
from mlperf_submission.harness.backends.tensorrt import build as tensorrt_build
from mlperf_submission.harness.backends.tensorrt import library as tensorrt_library
from mlperf_submission.harness.backends.tensorrt.build import build, check_operators
from mlperf_submission.harness.backends.tensorrt.cuda import GpuFacts
from mlperf_submission.harness.backends.tensorrt.library import EngineInfo, builder_identity, library_for
from mlperf_submission.process import run_module
from models.gptj.architecture import gptj
from models.network.quantization import quantize
from models.registry import get_benchmark
from models.resnet50.architecture import resnet50
from tests.mlperf_submission.harness.fake_gpu import FakeCuda
from tests.mlperf_submission.harness.test_tensorrt_state import SMALL
from tests.waiting import PATIENCE

CHILD = "mlperf_submission.harness.backends.tensorrt.build"


class Noise(StackedSamples):
    def __len__(self) -> int:
        return 4

    def rows(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        random = np.random.default_rng(0)
        return {"input_tensor:0": random.normal(0, 60, (len(indices), 3, 224, 224)).astype(np.float32)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[Precision, Path]:
    """A small residual network in each precision."""
    folder = tmp_path_factory.mktemp("networks")
    onnx.save(resnet50(stages=((1, 8), (1, 16)), stem=8, classes=11), folder / "network.onnx")
    paths: dict[Precision, Path] = {}
    precision: Precision
    for precision in ("fp32", "fp16", "int8"):
        paths[precision] = folder / f"{precision}.onnx"
        quantize(
            folder / "network.onnx",
            paths[precision],
            benchmark=get_benchmark("resnet50"),
            precision=precision,
            calibration=Noise(),
        )
    return paths


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_is_built_without_a_gpu(
    networks: dict[Precision, Path], tmp_path: Path, precision: Precision
) -> None:
    engine = tmp_path / "engine"
    figures = build(
        networks[precision],
        engine,
        precision=precision,
        max_batch_size=8,
        compute_capability="8.9",
    )
    assert figures["bytes"] == engine.stat().st_size > 10_000
    assert figures["compute_capability"] == "8.9"
    assert isinstance(figures["layers"], int) and figures["layers"] > 10
    types = figures["precisions"]
    assert isinstance(types, dict)
    assert {"fp32": "float", "fp16": "half", "int8": "int8"}[precision] in types
    info = EngineInfo.beside(engine)
    assert (info.library, info.max_batch_size, info.precision) == (library_for("8.9"), 8, precision)


def test_larger_batches_need_more_device_memory(networks: dict[Precision, Path], tmp_path: Path) -> None:
    sizes = []
    for batch in (1, 64):
        figures = build(
            networks["int8"],
            tmp_path / "engine",
            precision="int8",
            max_batch_size=batch,
            compute_capability="8.9",
        )
        assert isinstance(figures["activation_bytes"], int)
        sizes.append(figures["activation_bytes"])
    assert sizes[1] > sizes[0]


def test_the_whole_resnet50_is_built_in_a_child_process(tmp_path: Path) -> None:
    network, engine, lines = tmp_path / "resnet50.onnx", tmp_path / "engine", list[str]()
    onnx.save(resnet50(opset=11), tmp_path / "official.onnx")
    quantize(
        tmp_path / "official.onnx",
        network,
        benchmark=get_benchmark("resnet50"),
        precision="int8",
        calibration=Noise(),
    )
    request = {
        "network": str(network),
        "output": str(engine),
        "precision": "int8",
        "max_batch_size": 64,
        "compute_capability": "8.9",
    }
    figures = run_module(CHILD, request, timeout_seconds=PATIENCE, on_line=lines.append)
    assert 20e6 < figures["bytes"] < 60e6, "about a byte per weight: 25.6 million weights"
    assert figures["weights_bytes"] == pytest.approx(25.6e6, rel=0.05)
    assert all(line.startswith("TensorRT warning: ") for line in lines)


def test_the_time_limit_ends_the_build(networks: dict[Precision, Path], tmp_path: Path) -> None:
    request = {
        "network": str(networks["fp32"]),
        "output": str(tmp_path / "engine"),
        "precision": "fp32",
        "max_batch_size": 8,
        "compute_capability": "8.9",
    }
    with pytest.raises(StepTimeoutError):
        run_module(CHILD, request, timeout_seconds=0.05)
    assert not (tmp_path / "engine").exists()


def _build(network: Path, **changes: Any) -> dict[str, Any]:
    options = {"precision": "fp32", "max_batch_size": 4, "compute_capability": "8.9", **changes}
    return dict(build(network, network.with_name("engine"), **options))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"compute_capability": "9.0"}, "cannot build for compute capability 9.0"),
        ({"compute_capability": "x"}, "compute capability x"),
        ({"max_batch_size": 0}, "batches of 0"),
    ],
)
def test_impossible_settings_are_named(
    networks: dict[Precision, Path], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        _build(networks["fp32"], **changes)


def test_a_network_in_another_precision_is_named(networks: dict[Precision, Path]) -> None:
    with pytest.raises(NetworkFileError, match="is fp32, but the engine is to be int8"):
        _build(networks["fp32"], precision="int8")


def test_prompts_and_steps_have_profiles_of_their_own(tmp_path: Path) -> None:
    """Prompts are read one by one: no memory is kept for a whole batch of the longest ones.

    A stream has a context for each profile, and memory for both.
    """
    network, sizes = tmp_path / "network.onnx", []
    gptj(network, shape=SMALL)
    whole = {"profiles.N": "1:*:*", "profiles.P": "1:12:24", "profiles.S": "4:4:24"}
    prompts = {"profiles.N": "1:1:2", "profiles.P": "1:12:24", "profiles.S": "4:12:24"}
    for joined in ({}, whole, whole | {"profiles.S": "4:4:4"}, prompts):
        model = onnx.load(network)
        stated = {entry.key: entry.value for entry in model.metadata_props} | joined
        helper.set_model_props(model, stated)
        onnx.save(model, network)
        figures = _build(network, precision="fp16", max_batch_size=512)
        assert figures["profiles"] == (1 if joined else 2)
        sizes.append(figures["activation_bytes"])
    both, together, steps, prompt = sizes
    assert both == steps + prompt < together


@pytest.mark.parametrize(
    "stated",
    [
        {"profiles.S": "4:4:4 4:9:24", "profiles.N": "1:1:1"},
        {"profiles.S": "9:4:24"},
        {"profiles.S": "any"},
    ],
)
def test_profiles_that_make_no_sense_are_named(tmp_path: Path, stated: dict[str, str]) -> None:
    model = _tiny(helper.make_node("Relu", ["x"], ["y"]), ["N", "S"])
    helper.set_model_props(model, stated)
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(NetworkFileError, match="metadata state"):
        _build(tmp_path / "network.onnx")


def test_a_tensorrt_that_is_too_old_for_a_network_is_named(tmp_path: Path) -> None:
    gptj(tmp_path / "network.onnx", shape=SMALL)
    model = onnx.load(tmp_path / "network.onnx")
    with pytest.raises(
        SettingError, match=r"10\.13\.3 does not know Attention \(from 10\.14 on\), Rot.*10\.15 on"
    ):
        check_operators(model, "10.13.3", tmp_path)
    with pytest.raises(
        SettingError, match=r"10\.14\.1 does not know RotaryEmbedding \(.*, TensorScatter \(from"
    ):
        check_operators(model, "10.14.1", tmp_path)
    for version in ("10.16.1.11", "11.4.0.106"):
        check_operators(model, version, tmp_path)


def test_it_is_built_on_the_gpu_that_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further GPU for the display, first in CUDA's order, is passed over."""
    cuda = FakeCuda(
        GpuFacts("NVIDIA T4", "7.5"), GpuFacts("NVIDIA L4", "8.9"), GpuFacts("NVIDIA L40S", "8.9")
    )
    monkeypatch.setattr(tensorrt_build, "import_cuda", lambda: cuda)
    for capability, name, chosen in (("8.9", "NVIDIA L40S", 2), ("8.9", "NVIDIA L20", 1), ("7.5", "", 0)):
        tensorrt_build._choose_gpu(capability, name)
        assert cuda.here == chosen
    with pytest.raises(SettingError, match=r"9\.0 is wanted, but here are NVIDIA T4 \(7\.5\)"):
        tensorrt_build._choose_gpu("9.0", "NVIDIA H100")


class Timings:
    """The part of TensorRT's configuration that keeps timings; those of `here` alone are taken."""

    def __init__(self, here: bytes) -> None:
        self.here, self.cache = here, b"none"

    def create_timing_cache(self, content: bytes) -> bytes | None:
        return None if content == b"damaged" else content or self.here

    def set_timing_cache(self, cache: bytes, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache != self.here:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return None if self.cache == b"none" else SimpleNamespace(serialize=lambda: self.cache)


@pytest.mark.parametrize("kept", [None, b"damaged", b"of an L4", b"of an L40S"])
def test_timings_that_do_not_fit_are_measured_anew(tmp_path: Path, kept: bytes | None) -> None:
    """TensorRT refuses those of another GPU, and then has no cache at all."""
    path = tmp_path / "timings"
    if kept is not None:
        path.write_bytes(kept)
    timings = tensorrt_build._Timings(Timings(b"of an L40S"), path)
    timings.keep()
    assert path.read_bytes() == b"of an L40S"


def _tiny(node: Any, shape: list[Any]) -> ModelProto:
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("made.up", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            _tiny(helper.make_node("Wishful", ["x"], ["y"], name="dream", domain="made.up"), ["N", 4]),
            r"node dream \(Wishful\)",
        ),
        (_tiny(helper.make_node("Relu", ["x"], ["y"]), [2, 4]), "batch dimension of input x"),
        (_tiny(helper.make_node("Relu", ["x"], ["y"]), ["N", "M"]), "free dimension beside the batch"),
    ],
)
def test_networks_that_cannot_be_built_are_named(tmp_path: Path, model: ModelProto, says: str) -> None:
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(NetworkFileError, match=says):
        _build(tmp_path / "network.onnx")


def test_a_file_that_is_no_network_is_named_through_the_child(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    network.write_text("<html>404</html>")
    request = {"network": str(network), "output": str(tmp_path / "engine"), "precision": "fp32"}
    with pytest.raises(NetworkFileError, match="web page"):
        run_module(
            CHILD,
            {**request, "max_batch_size": 1, "compute_capability": "8.9"},
            timeout_seconds=PATIENCE,
        )


def test_the_builder_names_itself_without_building() -> None:
    identity = builder_identity("8.9")
    assert identity["library"] == library_for("8.9")
    assert json.loads(json.dumps(identity)) == identity
    import tensorrt_rtx

    assert identity["version"] == tensorrt_rtx.__version__


@pytest.mark.parametrize(("at_hand", "chosen"), [("8.9", "json"), ("9.0", "csv"), (None, "csv")])
def test_another_gpu_than_the_one_at_hand_is_built_for_by_the_library_that_can(
    monkeypatch: pytest.MonkeyPatch, at_hand: str | None, chosen: str
) -> None:
    """Modules that are always there stand in for `tensorrt` and `tensorrt_rtx`, in this order."""
    gpus = (GpuFacts("a display", "6.1"), GpuFacts("a GPU", at_hand)) if at_hand else ()
    monkeypatch.setattr(tensorrt_library, "gpu_facts", lambda: (None, gpus))
    monkeypatch.setattr(tensorrt_library, "LIBRARIES", ("json", "csv"))
    assert str(library_for("8.9")) == chosen
    monkeypatch.setattr(tensorrt_library, "LIBRARIES", ("json",))
    assert str(library_for("8.9")) == "json"


def test_it_is_said_when_no_tensorrt_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_library, "LIBRARIES", ("tensorrt_that_nobody_has",))
    with pytest.raises(SettingError, match="neither tensorrt nor tensorrt_rtx is installed") as caught:
        builder_identity("8.9")
    assert "pip install" in caught.value.remedy


def test_an_engine_without_its_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no such engine"):
        EngineInfo.beside(tmp_path / "engine")
    (tmp_path / "engine").write_bytes(b"engine")
    with pytest.raises(SettingError, match="description cannot be read"):
        EngineInfo.beside(tmp_path / "engine")
    EngineInfo.path(tmp_path / "engine").write_text('{"library": "guess"}')
    with pytest.raises(SettingError, match="description cannot be read"):
        EngineInfo.beside(tmp_path / "engine")
