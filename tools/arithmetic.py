"""What an L40S can reach at most, by the layers of the networks: `python -m tools.arithmetic` prints a table.

Operations are the multiplications and additions of convolutions and matrix products; bytes are the inputs and
outputs of these layers in INT8, once each, as if all that lies between them were fused into them and nothing
stayed in the second-level cache. Nothing here is measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from onnx import ModelProto, numpy_helper, shape_inference, version_converter

from models.bert.architecture import bert
from models.gptj.decoder import BEAMS, GPTJ_6B, STEP_SLOTS
from models.gptj.facts import FULL_PROMPT
from models.network.edits import replace
from models.network.folding import fold_constants, lay_aside
from models.registry import get_benchmark
from models.resnet50.architecture import resnet50
from models.retinanet.architecture import retinanet
from models.unet3d.architecture import unet3d

INT8, FP16, MEMORY, LINK = 733e12, 362e12, 864e9, 25e9
"""Dense operations/s in INT8 and FP16 and bytes/s of the L40S (NVIDIA's data sheet); PCIe 4.0 x16, about."""
WINDOWS = 65
"""Windows of a case of 3d-unet: an estimate, from 33 million voxels a case and half-overlapping windows."""
TOKENS = 180 / 384
"""Share of a sequence of bert that is no padding, on average of SQuAD."""
PROMPT, STEPS = 900, 95
"""Tokens of a prompt of gptj, and steps of its search: estimates."""
FOLDED_OPSET = 13
"""onnx does not compute Unsqueeze of earlier ones."""
PUBLISHED: dict[str, float] = json.loads((Path(__file__).parent / "gpu_check" / "published.json").read_text())


@dataclass(frozen=True)
class Cost:
    """What a sample takes of the device: operations, bytes of its memory, bytes over the link."""

    operations: float
    traffic: float
    link: float

    def limits(self, operations_per_second: float) -> tuple[float, float, float]:
        """Return samples/s that each of the three allows alone."""
        return operations_per_second / self.operations, MEMORY / self.traffic, LINK / self.link


def known_shapes(model: ModelProto) -> dict[str, list[int]]:
    """Return the shape of every tensor of a network of fixed inputs; what is computed of shapes is folded."""
    while True:
        graph = shape_inference.infer_shapes(model).graph
        shapes = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
            if value.type.tensor_type.HasField("shape")
            and all(size.HasField("dim_value") for size in value.type.tensor_type.shape.dim)
        } | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        told = [node for node in model.graph.node if node.op_type == "Shape" and node.input[0] in shapes]
        if not told:
            return shapes
        model.graph.initializer.extend(
            numpy_helper.from_array(np.array(shapes[node.input[0]], np.int64), node.output[0])
            for node in told
        )
        replace(model.graph.node, [node for node in model.graph.node if node not in told])
        fold_constants(model)


def products(model: ModelProto) -> Iterator[tuple[float, float]]:
    """Yield operations and values of each convolution and matrix product, for a batch of 1."""
    model, aside = lay_aside(model)
    model = version_converter.convert_version(model, max(FOLDED_OPSET, model.opset_import[0].version))
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = 1
    shapes = known_shapes(model)
    graph = model.graph
    weights = aside.keys() | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        left, right, out = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
        if node.op_type == "ConvTranspose":
            each = prod(left) * prod(right[1:])
        else:
            each = prod(out) * (prod(right[1:]) if node.op_type == "Conv" else left[-1])
        is_weight = node.input[1] in weights
        yield 2.0 * each, prod(left) + prod(out) + (0 if is_weight else prod(right))


def cost(name: str, model: ModelProto, share: float = 1.0) -> Cost:
    """Return the cost of a row of a batch in INT8; all of its inputs and outputs go over the link.

    Args:
        name: of the benchmark.
        model: its layers.
        share: of a row that counts, where samples are shorter or a sample has many rows.
    """
    network = get_benchmark(name).network
    specs = (*network.inputs("int8"), *network.outputs)
    link = sum(np.dtype(one.dtype).itemsize * prod(size or 1 for size in one.shape[1:]) for one in specs)
    found = list(products(model))
    return Cost(*(share * one for one in (sum(of for of, _ in found), sum(of for _, of in found), link)))


def main() -> None:
    """Print the table of docs/performance.md."""
    costs = {
        "resnet50": cost("resnet50", resnet50()),
        "retinanet": cost("retinanet", retinanet()),
        "bert-99": cost("bert-99", bert(sequence=384), TOKENS),
        "3d-unet-99": cost("3d-unet-99", unet3d(), WINDOWS),
    }
    print(
        "| benchmark | GOP | MB of memory | over the link | by operations | by memory | by link | published |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, one in costs.items():
        rates = " | ".join(map(_number, one.limits(INT8)))
        sizes = " | ".join(map(_number, (one.operations / 1e9, one.traffic / 1e6, one.link / 1e6)))
        print(f"| {name} | {sizes} | {rates} | {_number(PUBLISHED[name])} |")
    read = GPTJ_6B.state_bytes / GPTJ_6B.slots * (STEP_SLOTS + PROMPT)
    print_decoder(28, 2 * GPTJ_6B.weights, GPTJ_6B.state_bytes, FP16, "FP16, whole cache")
    print_decoder(28, 2 * GPTJ_6B.weights, read, FP16, "FP16, cache up to the longest prompt")
    used = GPTJ_6B.state_bytes / 2 / GPTJ_6B.slots * (PROMPT + BEAMS * STEPS / 2)
    print_decoder(100, GPTJ_6B.weights, used, INT8, "FP8, cache of the real length")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_decoder(slots: int, weights: float, cache: float, operations: float, what: str) -> None:
    """Print what a decoder reaches whose steps read the weights and all its slots."""
    step = (weights + slots * cache) / MEMORY
    prompt = 2 * GPTJ_6B.weights * PROMPT / operations
    rate = 1 / (prompt + STEPS * step / slots)
    print(
        f"gptj-99, {slots} slots, {what} (of at most {FULL_PROMPT} tokens): a step reads "
        f"{weights / 1e9:.1f} + {slots} x {cache / 1e9:.3f} GB = {1e3 * step:.1f} ms, a prompt takes "
        f"{1e3 * prompt:.1f} ms; {rate:.2f} samples/s, published {PUBLISHED['gptj-99']}; a sample takes "
        f"{2 * GPTJ_6B.weights * (PROMPT + BEAMS * STEPS) / 1e9:,.0f} GOP, and its steps read "
        f"{STEPS * (weights / slots + cache) / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
