"""Train the network of retinanet's mini edition and write it as ONNX (a script; nothing else needs PyTorch).

    python -m tools.train.retinanet OUTPUT.onnx [--images 2500] [--epochs 2] [--cache FOLDER]

Needs torch besides the project's own packages. Training pictures have numbers of their own; the validation
pictures are not looked at here.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from models.images.jpeg import decode_bytes
from models.parallel import in_parallel
from models.retinanet.anchors import ANCHORS, anchors
from models.retinanet.facts import SIDE
from models.retinanet.heads import head_names
from models.retinanet.mini import shapes
from models.retinanet.openimages import official_pixels
from models.retinanet.tensors import INPUT, MEANS, STANDARD_DEVIATIONS
from tools.train.export import GraphWriter, Shape

POOL = 4
"""The network's first layer takes means of 4×4 pixels, so that it can be trained on small pictures."""
MAPS = (50, 25, 13)
STEM = 16
STAGES = (32, 48, 64)
"""Channels of the stages; each has half the side of the one before."""
WIDTH = 32
"""Channels of the pyramid and of the heads."""
CLASSES = len(shapes.CLASSES)
_POSITIVE, _NEGATIVE = 0.5, 0.4
"""Overlap from which an anchor stands for an object, and up to which it stands for none."""
_PRIOR = 0.01
_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2.0
"""Of the focal loss (Lin et al., 2017, Focal Loss for Dense Object Detection)."""


class Block(nn.Module):  # type: ignore[misc]
    """Two 3×3 convolutions and a shortcut around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, 3, 1)
        self.second = _conv(channels, channels, 3, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return relu(second(relu(first(x))) + x)."""
        return functional.relu(self.second(functional.relu(self.first(values))) + values)


class Network(nn.Module):  # type: ignore[misc]
    """Stem, three stages, a feature pyramid over them, and two heads that all maps share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, STEM, 5, 2)
        before = (STEM, *STAGES)
        self.downs = nn.ModuleList(_conv(first, last, 3, 2) for first, last in zip(before, STAGES))  # noqa: B905
        self.blocks = nn.ModuleList(Block(channels) for channels in STAGES)
        self.laterals = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in STAGES)
        self.smooth = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in STAGES[:1])
        self.towers = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(WIDTH, ANCHORS * outputs, 1) for outputs in (CLASSES, 4))
        for layer in (*self.laterals, *self.smooth, *self.towers, *self.heads):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
        nn.init.constant_(self.heads[0].bias, -float(np.log((1 - _PRIOR) / _PRIOR)))

    def forward(self, values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return logits and offsets of each map; `values` are normalised, N × 3 × 200 × 200."""
        values = functional.relu(self.stem(values))
        features = []
        for down, block in zip(self.downs, self.blocks, strict=True):
            values = block(functional.relu(down(values)))
            features.append(values)
        fine, middle, coarse = (lateral(one) for lateral, one in zip(self.laterals, features, strict=True))
        fine = self.smooth[0](fine + functional.interpolate(middle, scale_factor=2.0, mode="nearest"))
        return [
            (
                self.heads[0](functional.relu(self.towers[0](one))),
                self.heads[1](functional.relu(self.towers[1](one))),
            )
            for one in (fine, middle, coarse)
        ]


def _conv(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


@dataclass(frozen=True)
class Objects:
    """The objects of a picture: corners in pixels of the network's input (n × 4), and classes (n)."""

    corners: Tensor
    labels: Tensor


def render_set(count: int, cache: Path | None) -> tuple[Tensor, list[Objects]]:
    """Render and preprocess training pictures; return pooled pixels (uint8, N×3×200×200) and objects."""
    kept = cache / f"training-{count}.npz" if cache else None
    side = SIDE // POOL
    pixels = np.empty((count, 3, side, side), np.uint8)
    pictures = [shapes.render("training", index) for index in range(count)]

    def one(index: int) -> None:
        values = official_pixels(decode_bytes(pictures[index].jpeg))
        pooled = values.reshape(3, side, POOL, side, POOL).mean((2, 4))
        pixels[index] = np.rint(pooled * 255)

    if kept and kept.exists():
        pixels = np.load(kept)["pixels"]
    else:
        for _ in in_parallel(one, range(count), 2):
            pass
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, pixels=pixels)
    objects = []
    for picture in pictures:
        scale = np.array([SIDE / picture.width, SIDE / picture.height] * 2)
        corners = np.concatenate([picture.boxes[:, :2], picture.boxes[:, :2] + picture.boxes[:, 2:]], 1)
        objects.append(
            Objects(torch.from_numpy((corners * scale).astype(np.float32)), torch.from_numpy(picture.labels))
        )
    return torch.from_numpy(pixels), objects


def targets(objects: Objects, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each anchor its class (-1 for none, -2 for undecided), and the offsets to its object."""
    labels = torch.full((len(places),), -1)
    offsets = torch.zeros(len(places), 4)
    if len(objects.labels) == 0:
        return labels, offsets
    overlaps = _overlaps(places, objects.corners)
    best, chosen = overlaps.max(1)
    labels[best >= _NEGATIVE] = -2
    positive = (best >= _POSITIVE) | (overlaps >= overlaps.max(0).values - 1e-4).any(1) & (best > 0.2)
    labels[positive] = objects.labels[chosen[positive]]
    boxes, mine = objects.corners[chosen[positive]], places[positive]
    sizes, wanted = mine[:, 2:] - mine[:, :2], boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + wanted / 2 - (mine[:, :2] + sizes / 2)
    offsets[positive] = torch.cat([centres / sizes, torch.log(wanted / sizes)], 1)
    return labels, offsets


def _overlaps(some: Tensor, others: Tensor) -> Tensor:
    shared = (
        (
            torch.minimum(some[:, None, 2:], others[None, :, 2:])
            - torch.maximum(some[:, None, :2], others[None, :, :2])
        )
        .clamp(min=0)
        .prod(2)
    )
    areas = (some[:, 2:] - some[:, :2]).prod(1)[:, None] + (others[:, 2:] - others[:, :2]).prod(1)[None]
    return shared / (areas - shared)


def loss_of(found: list[tuple[Tensor, Tensor]], labels: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the focal loss of the classes and the L1 loss of the boxes, per anchor that has an object."""
    logits = torch.cat([_flat(one, CLASSES) for one, _ in found], 1)
    guessed = torch.cat([_flat(one, 4) for _, one in found], 1)
    positive = labels >= 0
    count = positive.sum().clamp(min=1)
    decided = labels >= -1
    wanted = functional.one_hot(labels.clamp(min=-1) + 1, CLASSES + 1)[..., 1:].float()
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = torch.exp(-entropy)
    weights = wanted * _FOCAL_ALPHA + (1 - wanted) * (1 - _FOCAL_ALPHA)
    focal = (weights * (1 - missed) ** _FOCAL_GAMMA * entropy)[decided].sum() / count
    boxes = (
        functional.smooth_l1_loss(guessed[positive], offsets[positive], beta=0.05, reduction="sum") / count
    )
    return focal, boxes


def _flat(values: Tensor, outputs: int) -> Tensor:
    """(anchors · outputs) × side × side to (side² · anchors) × outputs."""
    count, _, height, width = values.shape
    split = values.view(count, ANCHORS, outputs, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(count, -1, outputs)


def train(
    pixels: Tensor,
    objects: list[Objects],
    *,
    epochs: int,
    batch: int = 16,
    rate: float = 4e-3,
) -> Network:
    """Train with AdamW and one cycle of the learning rate; pixels are as `render_set` returns them."""
    network = Network()
    network.to(memory_format=torch.channels_last)
    places = torch.cat([torch.from_numpy(anchors(side).copy()) for side in MAPS])
    steps = epochs * (len(pixels) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    started = time.process_time()
    for epoch in range(epochs):
        network.train()
        sums, seen = np.zeros(2), 0
        for chosen in torch.randperm(len(pixels)).split(batch):
            if len(chosen) < batch:
                continue
            made = [targets(objects[index], places) for index in chosen.tolist()]
            found = network(normalised(pixels[chosen]))
            focal, boxes = loss_of(found, *(torch.stack(part) for part in zip(*made, strict=True)))
            optimiser.zero_grad(set_to_none=True)
            (focal + boxes).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            sums += [float(focal.detach()), float(boxes.detach())]
            seen += 1
        spent = time.process_time() - started
        print(
            f"epoch {epoch + 1}: classes {sums[0] / seen:.3f}, boxes {sums[1] / seen:.3f}, {spent:.0f} s",
            flush=True,
        )
    network.eval()
    return network


def normalised(pixels: Tensor) -> Tensor:
    """Return what the network computes from pooled pixels (uint8) before its stem."""
    means = torch.tensor(MEANS)[:, None, None]
    deviations = torch.tensor(STANDARD_DEVIATIONS)[:, None, None]
    return ((pixels.float() / 255 - means) / deviations).contiguous(memory_format=torch.channels_last)


def to_onnx(network: Network) -> onnx.ModelProto:
    """Write the network down with its batch normalisations folded and the names of the full one's heads."""
    graph = GraphWriter()
    add, conv, relu = graph.add, graph.conv, graph.relu
    per_channel = [
        np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (MEANS, STANDARD_DEVIATIONS)
    ]
    centred = add("Sub", [INPUT, graph.keep("means", per_channel[0])], "centred")
    values = add("Div", [centred, graph.keep("standard_deviations", per_channel[1])], "normalised")
    values = add("AveragePool", [values], "pooled", kernel_shape=[POOL] * 2, strides=[POOL] * 2)
    values = relu(conv("stem", values, network.stem))
    laterals = []
    for number, (down, block) in enumerate(zip(network.downs, network.blocks, strict=True)):
        name = f"stage{number}"
        beside = relu(conv(f"{name}.down", values, down))
        inner = relu(conv(f"{name}.first", beside, block.first))
        outer = conv(f"{name}.second", inner, block.second)
        values = relu(add("Add", [outer, beside], f"{name}.add"))
        laterals.append(conv(f"{name}.lateral", values, network.laterals[number]))
    scales = graph.keep("twice", np.array([1, 1, 2, 2], np.float32))
    above = add(
        "Resize",
        [laterals[1], "", scales],
        "above",
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    laterals[0] = conv("smooth", add("Add", [laterals[0], above], "merged"), network.smooth[0])
    outputs: dict[str, tuple[int, Shape]] = {}
    for side, feature in zip(MAPS, laterals, strict=True):
        for kind, tower, head, output in zip(
            ("classes", "boxes"), network.towers, network.heads, head_names(side), strict=True
        ):
            inner = relu(conv(f"{kind}{side}.tower", feature, tower, weight=f"{kind}.tower"))
            conv(f"{kind}{side}.head", inner, head, output=output, weight=f"{kind}.head")
            outputs[output] = (TensorProto.FLOAT, ["N", head.out_channels, side, side])
    return graph.model("mini_retinanet", {INPUT: ["N", 3, SIDE, SIDE]}, outputs)


def main() -> None:
    """Train and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=2500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    torch.manual_seed(shapes.SEED)
    torch.set_num_threads(1)
    network = train(*render_set(given.images, given.cache), epochs=given.epochs)
    given.output.write_bytes(to_onnx(network).SerializeToString())


if __name__ == "__main__":
    main()
