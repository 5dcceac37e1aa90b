"""GPT-J's decoder in ONNX with seeded random weights: same layers, shapes and costs as the official one.

It answers nothing sensible. For tests, and to rehearse building, memory and speed before data and weights are
there:

    python -m models.gptj.architecture OUTPUT.onnx [--layers 28] [--precision fp16] [--seed 0]
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Precision
from mlperf_submission.benchmark.parts import OnProgress, ignore_progress
from models.gptj.decoder import GPTJ_6B, DecoderShape, Weights
from models.gptj.export import write_network


def random_weights(shape: DecoderShape, seed: int = 0) -> Weights:
    """Return a source of random tensors (float32); each depends on its name and the seed alone."""

    def source(name: str) -> NDArray[np.generic]:
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        rows, columns = _sizes(shape, name)
        if name.endswith("bias"):
            return random.standard_normal(rows, np.float32) * np.float32(0.02)
        if columns == 0:  # a layer normalisation's weight
            return 1 + random.standard_normal(rows, np.float32) * np.float32(0.02)
        gain = 1.0 if "wte" in name else columns**-0.5
        return random.standard_normal((rows, columns), np.float32) * np.float32(gain)

    return source


def gptj(
    output: Path,
    *,
    shape: DecoderShape = GPTJ_6B,
    layers: int | None = None,
    precision: Precision = "fp16",
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, JsonValue]:
    """Write the network with random weights; the same arguments give the same bytes.

    Args:
        output: the ONNX file; large weights lie in `<output>.data` beside it.
        shape: the decoder's sizes.
        layers: blocks, in place of the shape's: a layer of 6B has 0.4 GB in FP16.
        precision: `fp16` or `fp32`.
        seed: of the weights.
        on_progress: told how many tensors are written.

    Returns:
        The figures of `models.gptj.export.write_network`.
    """
    sized = replace(shape, layers=layers or shape.layers)
    return write_network(output, sized, random_weights(sized, seed), precision, on_progress=on_progress)


def _sizes(shape: DecoderShape, name: str) -> tuple[int, int]:
    """Return rows and columns as in the checkpoint; no columns for a vector."""
    if name in ("transformer.wte.weight", "lm_head.weight"):
        return shape.vocabulary, shape.hidden
    if name == "lm_head.bias":
        return shape.vocabulary, 0
    if ".attn." in name:
        return shape.hidden, shape.hidden
    if "fc_in" in name:
        return shape.inner, 0 if name.endswith("bias") else shape.hidden
    if name.endswith("fc_out.weight"):
        return shape.hidden, shape.inner
    return shape.hidden, 0


def main() -> None:
    """Write the network that the command line asks for, and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--layers", type=int, default=GPTJ_6B.layers)
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(gptj(given.output, layers=given.layers, precision=given.precision, seed=given.seed))


if __name__ == "__main__":
    main()
