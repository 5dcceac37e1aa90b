"""The seeded BERT has the official network's sizes, inputs and outputs, and pays no heed to padding."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.bert.architecture import LARGE, BertShape, bert
from models.network.checks import dimensions, dtype_name

SMALL = BertShape(layers=2, hidden=16, heads=2, inner=32, vocabulary=40, positions=64)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bert(SMALL).SerializeToString(), providers=["CPUExecutionProvider"])


def inputs(length: int, padding: int = 0) -> dict[str, NDArray[np.int64]]:
    ids = np.random.default_rng(length).integers(1, 40, (3, length))
    mask, segments = np.ones_like(ids), (np.arange(length) > 3) + 0 * ids
    found = {"input_ids": ids, "input_mask": mask, "segment_ids": segments.astype(np.int64)}
    return {name: np.pad(values, ((0, 0), (0, padding))) for name, values in found.items()}


def test_its_inputs_outputs_and_layers() -> None:
    graph = bert(SMALL).graph
    found = [
        (one.name, dtype_name(one.type.tensor_type.elem_type), dimensions(one))
        for one in (*graph.input, *graph.output)
    ]
    shape = ("N", "sequence")
    assert found == [
        *((name, "int64", shape) for name in ("input_ids", "input_mask", "segment_ids")),
        *((name, "float32", shape) for name in ("output_start_logits", "output_end_logits")),
    ]
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Softmax") == SMALL.layers
    assert kinds.count("Sqrt") == 2 * SMALL.layers + 1, "layer normalisations are written out"
    assert kinds.count("MatMul") == 8 * SMALL.layers + 1


def test_large_has_the_size_of_bert_large() -> None:
    """Devlin et al., 2019: 340 million with the pooler; the head for answers in its place has 2050."""
    large = LARGE
    layer = 4 * (large.hidden + 1) * large.hidden + 2 * large.hidden * large.inner
    layer += large.inner + large.hidden + 4 * large.hidden
    tables = (large.vocabulary + large.positions + large.segments) * large.hidden + 2 * large.hidden
    assert tables + large.layers * layer + 2 * (large.hidden + 1) == 334_094_338
    small = sum(int(np.prod(one.dims)) for one in bert(SMALL).graph.initializer if "." in one.name)
    layer = 4 * 17 * 16 + 2 * 16 * 32 + 32 + 16 + 64
    assert small == 2 * layer + 2 * 17 + 2 * 16


@pytest.mark.parametrize("length", [1, 7, 64])
def test_padding_does_not_matter(session: onnxruntime.InferenceSession, length: int) -> None:
    alone = session.run(None, inputs(length))
    padded = session.run(None, inputs(length, 64 - length))
    for one, other in zip(alone, padded, strict=True):
        assert one.shape == (3, length)
        np.testing.assert_allclose(other[:, :length], one, rtol=1e-4, atol=1e-5)


def test_each_input_matters(session: onnxruntime.InferenceSession) -> None:
    plain = session.run(None, inputs(20))
    for name in ("input_ids", "input_mask", "segment_ids"):
        changed = inputs(20)
        changed[name][:, 11] = 0
        assert not np.allclose(session.run(None, changed)[0][:, :5], plain[0][:, :5])


def test_the_length_may_be_fixed() -> None:
    assert dimensions(bert(SMALL, sequence=48).graph.input[0]) == ("N", 48)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_network(seed: int) -> None:
    assert bert(SMALL, seed=seed).SerializeToString() == bert(SMALL, seed=seed).SerializeToString()
    assert bert(SMALL, seed=seed).SerializeToString() != bert(SMALL, seed=seed + 1).SerializeToString()
