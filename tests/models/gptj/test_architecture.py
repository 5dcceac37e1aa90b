from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from mlperf_submission.errors import NetworkFileError
from mlperf_submission.harness.backends.tensorrt.build import build
from models.gptj.architecture import gptj
from models.gptj.decoder import GPTJ_6B, DecoderShape, decoder_graph, decoder_model, weight_names

SMALL = DecoderShape(layers=2, hidden=64, heads=2, rotary=8, inner=96, vocabulary=50, prompt=24, end=49)


def test_the_full_size_is_that_of_gptj_6b() -> None:
    """6.05 billion weights, and 448 KiB of cache per token in FP16 (28 layers, 16 heads of 256)."""
    assert 6.04e9 < GPTJ_6B.weights < 6.06e9
    assert GPTJ_6B.state_bytes / GPTJ_6B.slots == 448 * 1024
    assert len(weight_names(GPTJ_6B)) == 5 + 28 * 10


def test_the_graph_of_all_28_layers_is_a_valid_network_of_small_size() -> None:
    graph, names = decoder_graph(GPTJ_6B, "float16")
    model = decoder_model(graph, GPTJ_6B)
    assert len(names) == 7 + 28 * 8
    assert len(model.SerializeToString()) < 2_000_000
    assert {one.name for one in model.graph.input if one.name.startswith("past.")} == {
        f"past.{layer}.{part}" for layer in range(28) for part in ("key", "value")
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        gptj(tmp_path / name, shape=SMALL, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_tensorrt_builds_an_fp16_engine_for_prompts_and_steps(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    network = tmp_path / "network.onnx"
    gptj(network, shape=SMALL)
    said: list[str] = []
    figures = build(
        network,
        tmp_path / "engine",
        precision="fp16",
        max_batch_size=4,
        compute_capability="8.9",
        say=said.append,
    )
    assert figures["precision"] == "fp16" and (tmp_path / "engine").stat().st_size == figures["bytes"]
    assert trt.__version__ == figures["version"]


def test_metadata_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    network = tmp_path / "network.onnx"
    gptj(network, shape=SMALL)
    model = onnx.load(network)
    for changed in ("nothing", "4:4:4 4:4:9"):
        del model.metadata_props[:]
        model.metadata_props.add(key="profiles.S", value="4:4:24")
        model.metadata_props.add(key="profiles.T", value=changed)
        onnx.save(model, network)
        with pytest.raises(NetworkFileError, match="metadata"):
            build(network, tmp_path / "e", precision="fp16", max_batch_size=2, compute_capability="8.9")
