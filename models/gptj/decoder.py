"""GPT-J's decoder as an ONNX network with a key-value cache updated in place and the beams' choice inside.

One network serves the prompt (S tokens of a request at once) and each step (S = 4: one token per beam); an
engine has a profile for each. The cache of a request has a slot for each token of each beam at each step,
then the slots of the prompt, which the beams share. A token is written once, in place, and never moved: which
slots a beam sees is its `lineage`, the beam that its ancestor was at each step. So a change of beams reorders
a table of numbers, not the cache.

The cache has room for the longest prompt (TensorRT 10.15 and newer update one of static length only), but a
call reads no more of it than the P slots that its longest prompt has filled.

Architecture: GPT-J 6B (Wang and Komatsuzaki, 2021): attention and feed-forward in parallel behind one layer
normalisation, interleaved rotary embedding of the first part of each head, head with a bias of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from mlperf_submission.benchmark.parts import TensorSpec
from models.gptj.facts import FULL_PROMPT, LAYERS, NEW_TOKENS
from models.network.state import PAST, PRESENT

OPSET = 24
"""The first opset with TensorScatter."""
IR_VERSION = 11
BEAMS = 4
CHOICES = 2 * BEAMS
"""Candidates per step: enough for a new beam each, even if every beam ends (as in Hugging Face's search)."""
STEP_SLOTS = BEAMS * NEW_TOKENS
ROTARY_BASE = 10000.0
NORM_EPSILON = 1e-5

INPUTS = (
    TensorSpec("tokens", "int64", (None, None)),
    TensorSpec("positions", "int64", (None, None)),
    TensorSpec("prompt_seen", "int64", (None, None)),
    TensorSpec("prompt_slots", "int64", (None, None)),
    TensorSpec("lineage", "int32", (None, None, NEW_TOKENS)),
    TensorSpec("write", "int64", (None,)),
    TensorSpec("scored", "int64", (None, BEAMS)),
    TensorSpec("beam_scores", "float32", (None, BEAMS)),
    TensorSpec("end_penalty", "float32", (None,)),
)
"""Batch N × tokens S of a request in this call; prompt_slots is N × P.

tokens: ids. positions: 0-based, in the sequence. prompt_seen: how many slots of the prompt a token sees.
prompt_slots: 0 to P - 1, the slots of prompts that are read at all. lineage: for each step the beam whose
token of that step it sees, -1 for none. write: the slot of the first token. scored: the four tokens that go
on to the next choice, as places in S. beam_scores: sum of log-probabilities of each beam. end_penalty: added
to the end token's score (-1e9: it may not come yet).
"""
OUTPUTS = (
    TensorSpec("scores", "float32", (None, CHOICES)),
    TensorSpec("next_tokens", "int64", (None, CHOICES)),
    TensorSpec("parents", "int64", (None, CHOICES)),
)
"""The eight best continuations, best first: their scores, their tokens, and the beams that they go on."""


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a decoder.

    Attributes:
        layers: number of blocks.
        hidden: width of the residual stream.
        heads: of `hidden / heads` each.
        rotary: leading dimensions of a head that are rotated.
        inner: width of the feed-forward part.
        vocabulary: rows of the embedding and of the head.
        prompt: tokens of the longest prompt.
        end: id of the end token.
    """

    layers: int
    hidden: int
    heads: int
    rotary: int
    inner: int
    vocabulary: int
    prompt: int
    end: int

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads

    @property
    def slots(self) -> int:
        """Slots of the cache: 4 per step, then the prompt's."""
        return STEP_SLOTS + self.prompt

    @property
    def state_bytes(self) -> int:
        """Bytes of the cache of one request in FP16."""
        return 2 * 2 * self.layers * self.slots * self.hidden

    @property
    def weights(self) -> int:
        """How many weights the checkpoint has."""
        block = 4 * self.hidden**2 + 2 * self.hidden * self.inner + self.inner + 3 * self.hidden
        head = 2 * self.vocabulary * self.hidden + self.vocabulary + 2 * self.hidden
        return self.layers * block + head


GPTJ_6B = DecoderShape(
    layers=LAYERS,
    hidden=4096,
    heads=16,
    rotary=64,
    inner=16384,
    vocabulary=50401,
    prompt=FULL_PROMPT,
    end=50256,
)
"""The vocabulary is read from the checkpoint; MLPerf's has 50,401 rows, the base model 50,400."""


Weights = Callable[[str], NDArray[np.generic]]
"""Gives a tensor of the checkpoint by its name there, e.g. `transformer.h.0.attn.q_proj.weight`."""


def weight_names(shape: DecoderShape) -> tuple[str, ...]:
    """Return the names of all tensors of a checkpoint that the network is made of."""
    block = (
        *(f"ln_1.{part}" for part in ("weight", "bias")),
        *(f"attn.{part}_proj.weight" for part in ("q", "k", "v", "out")),
        *(f"mlp.{layer}.{part}" for layer in ("fc_in", "fc_out") for part in ("weight", "bias")),
    )
    return (
        "transformer.wte.weight",
        *(f"transformer.h.{layer}.{name}" for layer in range(shape.layers) for name in block),
        "transformer.ln_f.weight",
        "transformer.ln_f.bias",
        "lm_head.weight",
        "lm_head.bias",
    )


def initialisers(
    shape: DecoderShape, source: Weights, dtype: str
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield the network's own tensors in the order of its graph, one at a time; matrices are transposed.

    Args:
        shape: the decoder's.
        source: gives the tensors of the checkpoint, of any float type.
        dtype: `float32` or `float16`.
    """
    yield from rotary_tables(shape, dtype)
    yield "transformer.wte.weight", source("transformer.wte.weight").astype(dtype)
    for layer in range(shape.layers):
        block = f"transformer.h.{layer}"
        for name in ("weight", "bias"):
            yield f"{block}.ln_1.{name}", source(f"{block}.ln_1.{name}").astype(dtype)
        joined = [source(f"{block}.attn.{part}_proj.weight").astype(dtype).T for part in ("q", "k", "v")]
        yield f"{block}.attn.qkv", np.concatenate(joined, axis=1)
        yield f"{block}.attn.out", _transposed(source(f"{block}.attn.out_proj.weight"), dtype)
        for part in ("fc_in", "fc_out"):
            yield f"{block}.mlp.{part}", _transposed(source(f"{block}.mlp.{part}.weight"), dtype)
            yield f"{block}.mlp.{part}.bias", source(f"{block}.mlp.{part}.bias").astype(dtype)
    for name in ("weight", "bias"):
        yield f"transformer.ln_f.{name}", source(f"transformer.ln_f.{name}").astype(dtype)
    yield "lm_head", _transposed(source("lm_head.weight"), dtype)
    yield "lm_head.bias", source("lm_head.bias").astype(dtype)


def rotary_tables(shape: DecoderShape, dtype: str) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield cosines and sines, positions × half of the rotated dimensions, computed in FP64."""
    frequencies = ROTARY_BASE ** (-np.arange(0, shape.rotary, 2) / shape.rotary)
    angles = np.arange(shape.prompt + NEW_TOKENS)[:, None] * frequencies
    yield "rotary.cosines", np.cos(angles).astype(dtype)
    yield "rotary.sines", np.sin(angles).astype(dtype)


def state_names(shape: DecoderShape) -> tuple[str, ...]:
    """Return the names of the cache's tensors, without `past.` and `present.`."""
    return tuple(f"{layer}.{part}" for layer in range(shape.layers) for part in ("key", "value"))


def decoder_graph(shape: DecoderShape, dtype: str) -> tuple[GraphProto, tuple[str, ...]]:
    """Return the graph without its large tensors, and their names in the order of `initialisers`."""
    made = _Nodes(shape, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    mask = made.mask()
    value = made.add("Gather", [made.large("transformer.wte.weight"), "tokens"], "embedded")
    for layer in range(shape.layers):
        value = made.block(layer, value, mask)
    made.head(value)
    element = made.element
    sizes: list[str | int | None] = ["N", shape.heads, shape.slots, shape.head]
    state = state_names(shape)
    graph = helper.make_graph(
        made.nodes,
        "gptj",
        [
            *map(_value_info, INPUTS),
            *(helper.make_tensor_value_info(PAST + name, element, sizes) for name in state),
        ],
        [
            *map(_value_info, OUTPUTS),
            *(helper.make_tensor_value_info(PRESENT + name, element, sizes) for name in state),
        ],
        made.small,
    )
    return graph, ("rotary.cosines", "rotary.sines", *made.names)


def decoder_model(graph: GraphProto, shape: DecoderShape) -> ModelProto:
    """Return the model around a graph; its metadata say the sizes, and the profiles of an engine.

    The first profile is for steps of many requests, the second for prompts one by one.
    """
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="gptj"
    )
    sizes = {name: str(value) for name, value in asdict(shape).items()}
    longest = max(BEAMS, shape.prompt)
    usual = max(BEAMS, longest // 2)
    profiles = {
        "profiles.S": f"{BEAMS}:{BEAMS}:{BEAMS} {BEAMS}:{usual}:{longest}",
        "profiles.P": f"1:{usual}:{longest} 1:{usual}:{longest}",
        "profiles.N": "1:*:* 1:1:2",  # TensorRT for RTX 1.7 fails on a batch of 1 alone
    }
    helper.set_model_props(model, {**sizes, **profiles})
    return model


def _value_info(spec: TensorSpec) -> ValueInfoProto:
    free = iter("NP" if spec.name == "prompt_slots" else "NS")
    sizes = [next(free) if size is None else size for size in spec.shape]
    return helper.make_tensor_value_info(
        spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), sizes
    )


def _transposed(values: NDArray[np.generic], dtype: str) -> NDArray[np.generic]:
    return np.ascontiguousarray(values.astype(dtype).T)


@dataclass
class _Nodes:
    shape: DecoderShape
    element: int
    nodes: list[NodeProto] = field(default_factory=list)
    small: list[TensorProto] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def large(self, name: str) -> str:
        self.names.append(name)
        return name

    def constant(self, name: str, values: Any, dtype: str = "int64") -> str:
        if all(tensor.name != name for tensor in self.small):
            self.small.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def mask(self) -> str:
        """N × 1 × S × (512 + P), true where a token sees a slot: its ancestors' and the prompt's."""
        last = self.constant("axis.last", [-1])
        lineage = self.add("Unsqueeze", ["lineage", last], "lineage.each")
        beams = self.constant("beams", range(BEAMS), "int32")
        seen = self.add("Equal", [lineage, beams], "lineage.seen")
        flat = self.add("Reshape", [seen, self.constant("flat", [0, 0, STEP_SLOTS])], "steps.seen")
        count = self.add("Unsqueeze", ["prompt_seen", last], "prompt_seen.each")
        row = self.constant("axis.row", [1])
        prompt = self.add(
            "Less", [self.add("Unsqueeze", ["prompt_slots", row], "slots.each"), count], "prompt.seen"
        )
        length = self.add("Shape", ["prompt_slots"], "prompt.slots", start=1, end=2)
        self.add("Add", [length, self.constant("steps.slots", [STEP_SLOTS])], "seen")
        both = self.add("Concat", [flat, prompt], "mask.seen", axis=2)
        return self.add("Unsqueeze", [both, row], "mask")

    def norm(self, name: str, value: str) -> str:
        parts = [value, self.large(f"{name}.weight"), self.large(f"{name}.bias")]
        return self.add("LayerNormalization", parts, f"{name}.norm", axis=-1, epsilon=NORM_EPSILON)

    def block(self, layer: int, value: str, mask: str) -> str:
        name = f"transformer.h.{layer}"
        normed = self.norm(f"{name}.ln_1", value)
        attended = self.attention(name, layer, normed, mask)
        inner = self.dense(f"{name}.mlp.fc_in", normed)
        inner = self.add("Gelu", [inner], f"{name}.mlp.gelu", approximate="tanh")
        fed = self.dense(f"{name}.mlp.fc_out", inner)
        both = self.add("Add", [attended, fed], f"{name}.both")
        return self.add("Add", [value, both], f"{name}.output")

    def dense(self, name: str, value: str) -> str:
        product = self.add("MatMul", [value, self.large(name)], f"{name}.product")
        return self.add("Add", [product, self.large(f"{name}.bias")], f"{name}.sum")

    def attention(self, name: str, layer: int, value: str, mask: str) -> str:
        joined = self.add("MatMul", [value, self.large(f"{name}.attn.qkv")], f"{name}.attn.joined")
        parts = [f"{name}.attn.{part}" for part in ("q", "k", "v")]
        self.nodes.append(
            helper.make_node("Split", [joined], parts, f"{name}.attn.split", axis=-1, num_outputs=3)
        )
        sizes = self.constant("heads", [0, 0, self.shape.heads, self.shape.head])
        query, key, new = (
            self.add(
                "Transpose",
                [self.add("Reshape", [part, sizes], f"{part}.heads")],
                f"{part}.ready",
                perm=[0, 2, 1, 3],
            )
            for part in parts
        )
        query, key = (
            self.add(
                "RotaryEmbedding",
                [one, "rotary.cosines", "rotary.sines", "positions"],
                f"{one}.rotated",
                interleaved=1,
                rotary_embedding_dim=self.shape.rotary,
            )
            for one in (query, key)
        )
        keys, values = (
            self.add(
                "TensorScatter", [f"{PAST}{layer}.{part}", one, "write"], f"{PRESENT}{layer}.{part}", axis=2
            )
            for part, one in (("key", key), ("value", new))
        )
        keys, values = (
            self.add(
                "Slice",
                [one, self.constant("first", [0]), "seen", self.constant("axis.slots", [2])],
                f"{name}.attn.{part}.seen",
            )
            for part, one in (("keys", keys), ("values", values))
        )
        scale = float(self.shape.head**-0.5)
        found = self.add("Attention", [query, keys, values, mask], f"{name}.attn.found", scale=scale)
        found = self.add("Transpose", [found], f"{name}.attn.tokens", perm=[0, 2, 1, 3])
        width = self.constant("width", [0, 0, self.shape.hidden])
        found = self.add("Reshape", [found, width], f"{name}.attn.flat")
        return self.add("MatMul", [found, self.large(f"{name}.attn.out")], f"{name}.attn.output")

    def head(self, value: str) -> None:
        """Score the four tokens that go on, and choose the eight best continuations; all of it in FP32."""
        last = self.constant("axis.last", [-1])
        places = self.add("Unsqueeze", ["scored", last], "scored.each")
        value = self.add("GatherND", [value, places], "scored.hidden", batch_dims=1)
        logits = self.dense("lm_head", self.norm("transformer.ln_f", value))
        logits = self.add("Cast", [logits], "logits", to=TensorProto.FLOAT)
        value = self.add("LogSoftmax", [logits], "log_probabilities", axis=-1)
        value = self.add("Add", [value, self.add("Unsqueeze", ["beam_scores", last], "beams.each")], "sums")
        is_end = np.zeros(self.shape.vocabulary, "float32")
        is_end[self.shape.end] = 1
        penalty = self.add(
            "Unsqueeze", ["end_penalty", self.constant("axes.penalty", [1, 2])], "penalty.each"
        )
        penalty = self.add("Mul", [penalty, self.constant("is_end", is_end, "float32")], "penalty")
        value = self.add("Add", [value, penalty], "penalised")
        value = self.add(
            "Reshape", [value, self.constant("all", [0, BEAMS * self.shape.vocabulary])], "candidates"
        )
        self.nodes.append(
            helper.make_node(
                "TopK", [value, self.constant("top", [CHOICES])], ["scores", "choices"], "choice", axis=-1
            )
        )
        rows = self.constant("vocabulary", self.shape.vocabulary)
        parents = self.add("Div", ["choices", rows], "parents")
        before = self.add("Mul", [parents, rows], "parents.first")
        self.add("Sub", ["choices", before], "next_tokens")
