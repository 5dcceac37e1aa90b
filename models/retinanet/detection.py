"""What follows retinanet's heads, in ONNX: the best candidates of each map, boxes, suppression per class.

The steps are the reference's (torchvision's RetinaNet, as MLPerf Inference v4.1 exports it) for any batch. A
map has up to 24 million scores, of which 1,000 go on. They are among the 1,000 anchors whose best class is
best, so that a maximum over the classes comes first, and only those anchors are sorted by class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from mlperf_submission.errors import NetworkFileError
from models.network.edits import drop_unneeded, replace
from models.network.layers import Continuation
from models.retinanet.anchors import (
    ANCHORS,
    BASE_SIZES,
    CANDIDATES,
    DETECTIONS,
    LARGEST_LOG_SIZE,
    OVERLAP,
    SCORE_THRESHOLD,
    anchors,
)
from models.retinanet.facts import SIDE
from models.retinanet.heads import head_names
from models.retinanet.tensors import OUTPUT, VALUES

_TILES = 17
"""Boxes of different classes are moved apart, so that they do not overlap: to a place in a square of so many
by so many, which holds 289 classes and costs the coordinates only four binary digits."""
_COMPARED = 2048
"""Best candidates of an image that are compared with each other; the reference compares all of up to 5,000.
What is worse than these could only be a detection if fewer than 300 of these were, and mAP counts the best
100."""
_PER_CLASS = 64
"""Of a network with few classes fewer are compared, or a processor would spend most of its time on it."""
_ROUNDS = 12
"""A box is settled after as many rounds as there are boxes in a chain, each of which overlaps the next."""


def with_detections(model: ModelProto) -> ModelProto:
    """Return the network with `detections` in place of its heads; what is added computes in FP32.

    Scores and places are gathered from the heads in the heads' own type; what goes on is a few thousand
    numbers.
    """
    graph = model.graph
    present = {value.name for value in graph.output}
    made = _Nodes(model)
    parts = [_candidates(made, side) for side in BASE_SIZES if head_names(side)[0] in present]
    logits, labels, offsets, places = (
        made.add("Concat", [part.values[number] for part in parts], axis=1) for number in range(4)
    )
    count = min(_COMPARED, _PER_CLASS * made.classes, sum(part.count for part in parts))
    logits, order = made.top(logits, count)
    labels = made.add("GatherElements", [labels, order], axis=1)
    boxes = made.rows(_boxes(made, offsets, places), order)
    kept = _suppressed(made, boxes, made.add("Sigmoid", [logits]), labels, count)
    best, order = made.top(kept, min(DETECTIONS, count))
    chosen = made.add("Gather", [made.rows(boxes, order), made.constant(np.array([1, 0, 3, 2]))], axis=2)
    labels = made.add("GatherElements", [labels, order], axis=1)
    columns = [made.add("Div", [chosen, made.number(SIDE)])]
    columns += [made.add("Unsqueeze", [one, made.ints(2)]) for one in (best, made.floats(labels))]
    made.add("Concat", columns, output=OUTPUT, axis=2)
    made.follow(model)
    shape: list[str | int | None] = ["N", DETECTIONS, VALUES]
    replace(graph.output, [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)])
    drop_unneeded(model)
    return model


@dataclass(frozen=True)
class _Candidates:
    """Logits and labels (N x count), offsets and anchors (N x count x 4) of a map's best pairs."""

    count: int
    values: tuple[str, str, str, str]


def _candidates(made: _Nodes, side: int) -> _Candidates:
    """Choose a map's best pairs of anchor and class."""
    scores, offsets = (made.behind_cast(name) for name in head_names(side))
    cells, classes = side * side, made.channels(scores) // ANCHORS
    made.classes = classes
    rows = min(CANDIDATES, cells * ANCHORS)
    apart = made.reshape(scores, 0, ANCHORS, classes, cells)
    best = made.add("ReduceMax", [apart, made.ints(2)], keepdims=0)
    best = made.reshape(made.add("Transpose", [best], perm=[0, 2, 1]), 0, cells * ANCHORS)
    _, row = made.top(made.floats(best), rows)

    cell, anchor = made.divided(row, ANCHORS)
    first = made.sum(made.times(anchor, classes * cells), cell)
    every = made.sum(made.add("Unsqueeze", [first, made.ints(2)]), made.constant(np.arange(classes) * cells))
    flat = made.reshape(scores, 0, ANCHORS * classes * cells)
    logits = made.add("GatherElements", [flat, made.reshape(every, 0, rows * classes)], axis=1)
    best, place = made.top(made.floats(logits), min(CANDIDATES, rows * classes))

    rank, label = made.divided(place, classes)
    row = made.add("GatherElements", [row, rank], axis=1)
    cell, anchor = made.divided(row, ANCHORS)
    first = made.sum(made.times(anchor, 4 * cells), cell)
    four = made.sum(made.add("Unsqueeze", [first, made.ints(2)]), made.constant(np.arange(4) * cells))
    count = min(CANDIDATES, rows * classes)
    flat = made.reshape(offsets, 0, ANCHORS * 4 * cells)
    chosen = made.add("GatherElements", [flat, made.reshape(four, 0, 4 * count)], axis=1)
    chosen = made.reshape(made.floats(chosen), 0, count, 4)
    table = made.add("Gather", [made.constant(anchors(side)), row], axis=0)
    return _Candidates(count, (best, label, chosen, table))


def _boxes(made: _Nodes, offsets: str, places: str) -> str:
    """Return boxes N x k x 4 (left, top, right, bottom in pixels), clipped to the input."""
    low, high = made.halves(places)
    shift, growth = made.halves(offsets)
    sizes = made.add("Sub", [high, low])
    half = made.scaled(sizes, 0.5)
    centres = made.sum(made.sum(low, half), made.add("Mul", [shift, sizes]))
    growth = made.add("Exp", [made.add("Min", [growth, made.number(LARGEST_LOG_SIZE)])])
    reach = made.add("Mul", [made.scaled(growth, 0.5), sizes])
    corners = [made.add("Sub", [centres, reach]), made.sum(centres, reach)]
    both = made.add("Concat", corners, axis=2)
    return made.add("Clip", [both, made.number(0), made.number(SIDE)])


def _suppressed(made: _Nodes, boxes: str, scores: str, labels: str, count: int) -> str:
    """Return the scores N x k of the boxes that no better one of their class overlaps; 0 for the others.

    Boxes come the best first. One is kept if none that is kept and better overlaps it. Begun with all of
    them, this rule settles the first box, then those that depend on settled ones, and so on: each round is
    one product of the matrix of overlaps with what is kept.
    """
    down, across = (made.scaled(made.floats(one), SIDE + 1) for one in made.divided(labels, _TILES))
    across, down = (made.add("Unsqueeze", [one, made.ints(2)]) for one in (across, down))
    low, high = made.halves(made.sum(boxes, made.add("Concat", [across, down, across, down], axis=2)))
    sides = made.add("Sub", [high, low])
    areas = made.add("ReduceProd", [sides, made.ints(2)], keepdims=0)
    shared = ""
    for axis in (0, 1):
        ends = (
            made.add("Slice", [one, *(made.ints(part) for part in (axis, axis + 1, 2))])
            for one in (low, high)
        )
        start, end = (
            made.against_each_other(one, kind) for one, kind in zip(ends, ("Max", "Min"), strict=True)
        )
        width = made.add("Relu", [made.add("Sub", [end, start])])
        shared = made.add("Mul", [shared, width]) if shared else width
    both = made.against_each_other(made.add("Unsqueeze", [areas, made.ints(2)]), "Add")
    overlaps = made.add("Greater", [made.scaled(shared, (1 + OVERLAP) / OVERLAP), both])
    better = made.constant(np.tri(count, k=-1, dtype=np.bool_))
    matrix = made.floats(made.add("And", [overlaps, better]))
    passes = made.add("Greater", [scores, made.number(SCORE_THRESHOLD)])
    possible = made.add("Unsqueeze", [made.floats(passes), made.ints(2)])
    kept = possible
    for _ in range(_ROUNDS):
        rivals = made.add("MatMul", [matrix, kept])
        kept = made.add("Mul", [made.floats(made.add("Less", [rivals, made.number(0.5)])), possible])
    return made.add("Mul", [scores, made.add("Squeeze", [kept, made.ints(2)])])


class _Nodes(Continuation):
    def __init__(self, model: ModelProto) -> None:
        super().__init__(OUTPUT)
        self.model = model
        self.classes = 0

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def floats(self, value: str) -> str:
        return self.add("Cast", [value], to=TensorProto.FLOAT)

    def sum(self, one: str, other: str) -> str:
        return self.add("Add", [one, other])

    def times(self, value: str, factor: int) -> str:
        return self.add("Mul", [value, self.ints(factor)])

    def scaled(self, value: str, factor: float) -> str:
        return self.add("Mul", [value, self.number(factor)])

    def divided(self, value: str, by: int) -> tuple[str, str]:
        """Quotient and rest of integers."""
        quotient = self.add("Div", [value, self.ints(by)])
        return quotient, self.add("Sub", [value, self.times(quotient, by)])

    def halves(self, value: str) -> tuple[str, str]:
        """The first two and the last two of four values."""
        first, last = (
            self.add("Slice", [value, self.ints(start), self.ints(start + 2), self.ints(2)])
            for start in (0, 2)
        )
        return first, last

    def rows(self, values: str, order: str) -> str:
        """Rows of N x k x 4 in this order."""
        each = self.add("Unsqueeze", [order, self.ints(2)])
        return self.add("GatherElements", [values, self.add("Concat", [each] * 4, axis=2)], axis=1)

    def against_each_other(self, value: str, kind: str) -> str:
        """N x k x 1 to N x k x k: each value with each other."""
        return self.add(kind, [value, self.add("Transpose", [value], perm=[0, 2, 1])])

    def top(self, value: str, count: int) -> tuple[str, str]:
        """The largest values along axis 1, the largest first, and their places."""
        names = f"{OUTPUT}/best_{len(self.nodes)}", f"{OUTPUT}/place_{len(self.nodes)}"
        node = helper.make_node("TopK", [value, self.ints(count)], [*names], names[0], axis=1)
        self.nodes.append(node)
        return names

    def behind_cast(self, head: str) -> str:
        """A head in the type that its convolution has."""
        made = next((node for node in self.model.graph.node if head in node.output), None)
        return made.input[0] if made is not None and made.op_type == "Cast" else head

    def channels(self, head: str) -> int:
        """How many channels a head has: as many as its convolution has biases."""
        made = next((node for node in self.model.graph.node if head in node.output), None)
        bias = made.input[2] if made is not None and made.op_type == "Conv" and len(made.input) == 3 else ""
        for tensor in self.model.graph.initializer:
            if tensor.name == bias:
                return int(tensor.dims[0])
        raise NetworkFileError(
            f"the head {head} is no convolution with biases",
            remedy="use the network that the benchmark names",
        )
