"""How large the official editions are. Their owners publish few sizes, so most follow from the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.gptj_decoder import FULL_PROMPT, GPTJ_6B


@dataclass(frozen=True)
class Sizes:
    """What the official edition of a benchmark is made of, as far as it is known.

    Attributes:
        network: bytes of what is downloaded for the network; `network_source` says from what that follows.
        converted: bytes of the network in the precision that runs, and of its engine, at most.
        sample_values: numbers in a preprocessed sample; `sample_source` says from what that follows.
        response: bytes of a response, at most; None where they vary too much to be said.
        state: bytes that the network keeps on the device for each row of a batch.
        free: the largest size of the free dimensions of its inputs and outputs, beside the batch.
    """

    network: int
    network_source: str
    converted: int
    sample_values: int
    sample_source: str
    response: int | None
    state: int = 0
    free: int = 1


_WEIGHTS = "about: its weights in FP32"
_INPUT = "the network's input"

SIZES: Mapping[str, Sizes] = {
    "resnet50": Sizes(102_000_000, _WEIGHTS, 102_000_000, 3 * 224 * 224, _INPUT, 4),
    "retinanet": Sizes(152_000_000, _WEIGHTS, 152_000_000, 3 * 800 * 800, _INPUT, None, free=9 * 264),
    "bert-99": Sizes(
        2_700_000_000, "about: two networks, FP32 and INT8", 1_350_000_000, 3 * 384, _INPUT, 2 * 384 * 4
    ),
    "3d-unet-99": Sizes(
        125_000_000, _WEIGHTS, 125_000_000, 33_000_000, "mean of the official cases", 33_000_000
    ),
    "gptj-99": Sizes(
        22_700_000_000,
        "the published checkpoint",
        12_100_000_000,
        FULL_PROMPT,
        "the longest prompt",
        128 * 4,
        state=GPTJ_6B.state_bytes,
        free=FULL_PROMPT,
    ),
}
"""Benchmark to sizes. Cases of 3d-unet and the checkpoint of gptj are as their owners state them. The network
of retinanet leaves the channels of a head open: 264 classes for each of 9 anchors."""
