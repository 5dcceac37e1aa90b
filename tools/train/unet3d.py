"""Train the network of 3d-unet's mini edition and write it as ONNX (a script; nothing else needs PyTorch).

    python -m tools.train.unet3d OUTPUT.onnx [--volumes 80] [--steps 1500]

Needs torch besides the project's own packages. Training volumes are of a split of their own; validation
volumes are never looked at here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from models.unet3d.mini import rendering as volumes
from models.unet3d.tensors import BLOCKS_KEY, INPUT, OUTPUT
from models.unet3d.volumes import CLASSES, WINDOW, Scan, prepare_image, prepare_label
from models.unet3d.windows import patch
from tools.train.export import GraphWriter, Shape

WIDTHS = (8, 16, 32)
"""Channels at a half, a quarter and an eighth of the resolution."""
CROP = 96
"""Side of a training crop, voxels."""
_ON_KIDNEY = 0.8
"""Share of the crops that lie around a voxel of a kidney or tumour."""
_CLASS_WEIGHTS = (1.0, 1.5, 2.5)
_BLOCKS = 8
"""Blocks in each of the four tensors of sums: as many as the largest rendered volumes have."""


class Network(nn.Module):  # type: ignore[misc]
    """An encoder with strides and a decoder with transposed convolutions, joined by sums."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = WIDTHS
        self.enter = _conv(1, half, 3, 2)
        self.down1 = nn.ModuleList([_conv(half, quarter, 3, 2), _conv(quarter, quarter, 3, 1)])
        self.down2 = nn.ModuleList(
            [_conv(quarter, eighth, 3, 2), _conv(eighth, eighth, 3, 1), _conv(eighth, eighth, 3, 1)]
        )
        self.up1 = nn.ConvTranspose3d(eighth, quarter, 2, 2)
        self.after1 = _conv(quarter, quarter, 3, 1)
        self.up2 = nn.ConvTranspose3d(quarter, half, 2, 2)
        self.after2 = _conv(half, half, 1, 1)
        self.leave = nn.ConvTranspose3d(half, CLASSES, 2, 2)

    def forward(self, values: Tensor) -> Tensor:
        """Return the scores: batch × 3 × the input's shape."""
        half = functional.relu(self.enter(values))
        quarter = half
        for layer in self.down1:
            quarter = functional.relu(layer(quarter))
        eighth = quarter
        for layer in self.down2:
            eighth = functional.relu(layer(eighth))
        values = functional.relu(self.after1(functional.relu(self.up1(eighth) + quarter)))
        values = functional.relu(self.after2(functional.relu(self.up2(values) + half)))
        scores: Tensor = self.leave(values)
        return scores


def _conv(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv3d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(after))


class Case:
    """A prepared training volume."""

    def __init__(self, image: NDArray[np.float16], label: NDArray[np.uint8]) -> None:
        self.image, self.label = image, label
        self.marked = np.flatnonzero(label)


def prepared(split: volumes.Split, count: int) -> list[Case]:
    """Render volumes and apply the official preprocessing."""
    cases = []
    for index in range(count):
        volume = volumes.render(split, index)
        image = prepare_image(Scan(volume.image.astype(np.float32), volume.spacing))
        label = prepare_label(Scan(volume.label, volume.spacing))
        cases.append(Case(image.astype(np.float16), label))
    return cases


def crops(random: np.random.Generator, cases: Sequence[Case], count: int) -> tuple[Tensor, Tensor]:
    """Cut crops at random places, mirrored at random; float32 N×1×96³ and int64 N×96³."""
    images, labels = [], []
    for _ in range(count):
        case = cases[int(random.integers(len(cases)))]
        shape = np.array(case.label.shape)
        corner = random.integers(0, shape - CROP + 1)
        if random.random() < _ON_KIDNEY:
            voxel = np.unravel_index(case.marked[random.integers(len(case.marked))], case.label.shape)
            corner = np.clip(np.array(voxel) - random.integers(16, CROP - 16, 3), 0, shape - CROP)
        part = tuple(slice(one, one + CROP) for one in corner)
        flips = tuple(axis for axis in range(3) if random.random() < 0.5)
        images.append(np.flip(case.image[part], flips).astype(np.float32)[None])
        labels.append(np.flip(case.label[part], flips).astype(np.int64))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def train(cases: Sequence[Case], *, steps: int, batch: int = 2, rate: float = 8e-3) -> Network:
    """Train with AdamW and one cycle of the learning rate.

    A voxel's loss counts as much as its weight in the sum of the windows: at the border of a window the
    network may be wrong, since there the next window knows better.
    """
    random = np.random.default_rng(volumes.SEED)
    network = Network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    first = (WINDOW - CROP) // 2
    inner = slice(first, first + CROP)
    weights = torch.from_numpy(np.array(patch()[inner, inner, inner]))
    class_weights = torch.tensor(_CLASS_WEIGHTS)
    started, spent = time.monotonic(), time.process_time()
    total, seen = 0.0, 0
    network.train()
    for step in range(steps):
        images, labels = crops(random, cases, batch)
        scores = network(images)
        losses = functional.cross_entropy(scores, labels, weight=class_weights, reduction="none")
        loss = (losses * weights).sum() / weights.sum() / batch + _dice_loss(scores, labels, weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        total, seen = total + float(loss.detach()), seen + 1
        if (step + 1) % 50 == 0:
            cpu, wall = time.process_time() - spent, time.monotonic() - started
            print(f"step {step + 1}: loss {total / seen:.3f}, {cpu:.0f} s CPU, {wall:.0f} s", flush=True)
            total, seen = 0.0, 0
    network.eval()
    return network


def _dice_loss(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return 1 less the soft DICE of kidney and tumour over the whole batch."""
    shares = scores.softmax(1) * weights
    losses = []
    for label in (1, 2):
        truth = (labels == label) * weights
        both = (shares[:, label] * (labels == label)).sum()
        losses.append(1 - (2 * both + 1) / (shares[:, label].sum() + truth.sum() + 1))
    return torch.stack(losses).mean()


def to_onnx(network: Network) -> onnx.ModelProto:
    """Write the network down with its batch normalisations folded and the official names."""
    graph = GraphWriter()

    def conv(name: str, source: str, layers: nn.Module) -> str:
        return graph.relu(graph.conv(name, source, layers), f"{name}.relu")

    def up(source: str, layer: nn.Module, name: str) -> str:
        kernel, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        sources = [source, graph.keep(f"{name}.weight", kernel), graph.keep(f"{name}.bias", bias)]
        return graph.add("ConvTranspose", sources, name, kernel_shape=[2] * 3, strides=[2] * 3)

    def join(source: str, layer: nn.Module, beside: str, name: str) -> str:
        return graph.relu(graph.add("Add", [up(source, layer, f"{name}.up"), beside], f"{name}.add"), name)

    half = conv("enter", INPUT, network.enter)
    quarter = half
    for number, layers in enumerate(network.down1):
        quarter = conv(f"down1.{number}", quarter, layers)
    values = quarter
    for number, layers in enumerate(network.down2):
        values = conv(f"down2.{number}", values, layers)
    values = conv("after1", join(values, network.up1, quarter, "join1"), network.after1)
    values = conv("after2", join(values, network.up2, half, "join2"), network.after2)
    up(values, network.leave, OUTPUT)
    sides: Shape = [WINDOW] * 3
    model = graph.model(
        "mini_unet3d",
        {INPUT: ["N", 1, *sides]},
        {OUTPUT: (TensorProto.FLOAT, ["N", CLASSES, *sides])},
    )
    onnx.helper.set_model_props(model, {BLOCKS_KEY: str(_BLOCKS)})
    return model


def main() -> None:
    """Train and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--volumes", type=int, default=80)
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    torch.manual_seed(volumes.SEED)
    torch.set_num_threads(1)
    network = train(prepared("training", given.volumes), steps=given.steps)
    given.output.write_bytes(to_onnx(network).SerializeToString())


if __name__ == "__main__":
    main()
