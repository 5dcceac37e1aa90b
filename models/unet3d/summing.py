"""What follows 3d-unet's scores, in ONNX: windows weighted, summed up where they are, labels of the sums.

The sums of a volume are a state of the network, so that nothing but labels leaves the device. They lie in
blocks of 64 x 64 x 64 voxels. A window has two blocks along each axis. Blocks are spread over four tensors,
by whether their numbers along z and y are even or odd: of a window each tensor gets exactly one pair, of
neighbours along x, which is written in one piece. Every call tells the labels of its windows' blocks; those
that no later window touches are final.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from models.network.edits import replace
from models.network.folding import fold_constants, lay_aside, put_back
from models.network.layers import Continuation
from models.network.state import PAST, PRESENT
from models.unet3d.tensors import (
    BLOCKS_KEY,
    FRESH,
    FULL_BLOCKS,
    LABELS,
    OUTPUT,
    PARTS,
    QUARTERS,
    SIDE,
    VOXELS,
    WRITE,
)
from models.unet3d.volumes import CLASSES
from models.unet3d.windows import patch

_OPSET = 24
"""The first opset with TensorScatter."""
_PAYLOAD = CLASSES * VOXELS


def with_sums(model: ModelProto) -> ModelProto:
    """Return the network with labels in place of scores; what is added computes in FP32.

    The model's metadata may state `blocks`, how many blocks each of the four tensors has; else it is the
    number that the official cases need.
    """
    stated = {entry.key: entry.value for entry in model.metadata_props}
    blocks = int(stated.get(BLOCKS_KEY, FULL_BLOCKS))
    model = _raised(model)
    made = _Nodes(LABELS)
    weighted = made.add("Mul", [OUTPUT, made.constant(patch())])
    apart = made.reshape(weighted, 0, CLASSES, 2, SIDE, 2, SIDE, 2, SIDE)
    quarters = made.add("Transpose", [apart], perm=[0, 2, 4, 6, 1, 3, 5, 7])
    quarters = made.reshape(quarters, 0, PARTS, 2, _PAYLOAD)
    sorted_ = made.add("GatherND", [quarters, made.unsqueezed(QUARTERS, 2)], batch_dims=1)
    labels = [_part(made, number, sorted_) for number in range(PARTS)]
    found = made.add("Concat", [made.unsqueezed(one, 1) for one in labels], axis=1)
    made.add("Cast", [found], output=LABELS, to=TensorProto.UINT8)
    graph = model.graph
    made.follow(model)
    value = helper.make_tensor_value_info
    state = [f"sums.{number}" for number in range(PARTS)]
    sizes: list[str | int | None] = ["N", 1, blocks, _PAYLOAD]
    graph.input.extend(
        [
            value(QUARTERS, TensorProto.INT64, ["N", PARTS]),
            value(WRITE, TensorProto.INT64, ["N", PARTS]),
            value(FRESH, TensorProto.BOOL, ["N", PARTS, 2]),
            *(value(PAST + name, TensorProto.FLOAT, sizes) for name in state),
        ]
    )
    outputs = [value(LABELS, TensorProto.UINT8, ["N", PARTS, 2, VOXELS])]
    replace(graph.output, [*outputs, *(value(PRESENT + name, TensorProto.FLOAT, sizes) for name in state)])
    helper.set_model_props(model, {**stated, BLOCKS_KEY: str(blocks)})
    return model


def _part(made: _Nodes, number: int, quarters: str) -> str:
    """Add a window's pair of blocks to one of the four tensors; return the labels of both, N x 2 x voxels."""
    pair = made.column(quarters, number)
    write, fresh = (made.column(name, number) for name in (WRITE, FRESH))
    blocks = made.add("Add", [made.unsqueezed(write, 1), made.constant(np.arange(2))])
    past = f"{PAST}sums.{number}"
    before = made.add("GatherND", [past, _places(made, blocks)], batch_dims=1)
    added = made.add("Add", [before, pair])
    # a block that nobody wrote holds what the volume before left there, so that it is not added to
    after = made.add("Where", [made.unsqueezed(fresh, 2), pair, added])
    output = f"{PRESENT}sums.{number}"
    made.add("TensorScatter", [past, made.unsqueezed(after, 1), write], output=output, axis=2)
    return made.add("ArgMax", [made.reshape(after, 0, 0, CLASSES, VOXELS)], axis=2, keepdims=0)


def _places(made: _Nodes, blocks: str) -> str:
    """N x k block numbers to N x k x 2 places in N x 1 x blocks x payload, behind the batch."""
    number = made.unsqueezed(blocks, 2)
    return made.add("Concat", [made.add("Mul", [number, made.constant(np.array(0))]), number], axis=2)


def _raised(model: ModelProto) -> ModelProto:
    light, weights = lay_aside(model)
    raised = onnx.version_converter.convert_version(light, _OPSET)
    raised.ir_version = 11
    fold_constants(raised)
    put_back(raised, weights)
    return raised


class _Nodes(Continuation):
    def unsqueezed(self, value: str, axis: int) -> str:
        return self.add("Unsqueeze", [value, self.ints(axis)])

    def column(self, value: str, number: int) -> str:
        """N x 4 x … to N x …: what belongs to one of the four tensors."""
        return self.add("Gather", [value, self.constant(np.array(number, np.int64))], axis=1)
