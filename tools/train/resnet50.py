"""Train the network of resnet50's mini edition and write it as ONNX (a script; nothing else needs PyTorch).

    python -m tools.train.resnet50 OUTPUT.onnx [--images 8000] [--epochs 14] [--cache FOLDER]

Needs torch besides the project's own packages. Training pictures come from source digits of their own; the
validation pictures are only looked at, after the last epoch.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from models.images.jpeg import decode_bytes
from models.parallel import in_parallel
from models.resnet50.facts import SIDE
from models.resnet50.imagenet import MEANS, official_pixels
from models.resnet50.mini import digits
from tools.train.export import GraphWriter

STEM = 16
STAGES = ((16, 1), (32, 2), (64, 2))
"""Channels and stride of the residual blocks."""
OUTPUTS = digits.CLASSES + 1
"""As in the official network, class 0 is the background."""
_BACKGROUND_SHARE = 16


class Block(nn.Module):  # type: ignore[misc]
    """Two 3×3 convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(before, after, 3, stride)
        self.second = _conv(after, after, 3, 1)
        self.shortcut = _conv(before, after, 1, stride) if stride > 1 or before != after else None

    def forward(self, values: Tensor) -> Tensor:
        """Return relu(second(relu(first(x))) + shortcut(x))."""
        beside = self.shortcut(values) if self.shortcut else values
        return functional.relu(self.second(functional.relu(self.first(values))) + beside)


class Network(nn.Module):  # type: ignore[misc]
    """A small residual network: 7×7 stem with stride 4, pooling, three blocks, mean, dense."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, STEM, 7, 4)
        widths = [STEM, *(channels for channels, _ in STAGES)]
        self.blocks = nn.ModuleList(
            Block(before, after, stride) for before, (after, stride) in zip(widths, STAGES, strict=False)
        )
        self.dense = nn.Linear(widths[-1], OUTPUTS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits: batch × 11."""
        values = functional.max_pool2d(functional.relu(self.stem(pixels)), 3, 2, 1)
        for block in self.blocks:
            values = block(values)
        logits: Tensor = self.dense(values.mean((2, 3)))
        return logits


def _conv(before: int, after: int, size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def render_set(split: digits.Split, count: int, cache: Path | None) -> tuple[Tensor, Tensor]:
    """Render and preprocess; return pixels (uint8, N×3×224×224, means not subtracted) and outputs."""
    kept = cache / f"{split}-{count}.npz" if cache else None
    if kept and kept.exists():
        found = np.load(kept)
        return torch.from_numpy(found["pixels"]), torch.from_numpy(found["outputs"])
    pixels = np.empty((count, 3, SIDE, SIDE), np.uint8)
    outputs = np.empty(count, np.int64)
    means = np.array(MEANS, np.float32)[:, None, None]

    def one(index: int) -> None:
        picture = digits.render(
            split, index, background=split == "training" and index % _BACKGROUND_SHARE == 0
        )
        pixels[index] = np.rint(official_pixels(decode_bytes(picture.jpeg)) + means)
        outputs[index] = picture.label + 1

    for _ in in_parallel(one, range(count), 2):
        pass
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, pixels=pixels, outputs=outputs)
    return torch.from_numpy(pixels), torch.from_numpy(outputs)


def train(pixels: Tensor, outputs: Tensor, *, epochs: int, batch: int = 64, rate: float = 4e-3) -> Network:
    """Train with AdamW and one cycle of the learning rate; pixels are as `render_set` returns them."""
    network = Network()
    network.to(memory_format=torch.channels_last)
    steps = epochs * (len(pixels) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.2)
    started = time.monotonic()
    for epoch in range(epochs):
        network.train()
        total, right, seen = 0.0, 0, 0
        for chosen in torch.randperm(len(pixels)).split(batch):
            if len(chosen) < batch:
                continue
            logits = network(_shifted(_subtract_means(pixels[chosen])))
            loss = functional.cross_entropy(logits, outputs[chosen], label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total, seen = total + float(loss.detach()) * batch, seen + batch
            right += int((logits.detach().argmax(1) == outputs[chosen]).sum())
        spent = time.monotonic() - started
        print(
            f"epoch {epoch + 1}: loss {total / seen:.3f}, right {right / seen:.3f}, {spent:.0f} s", flush=True
        )
    network.eval()
    return network


def _subtract_means(pixels: Tensor) -> Tensor:
    values = pixels.float() - torch.tensor(MEANS)[:, None, None]
    return values.contiguous(memory_format=torch.channels_last)


def _shifted(values: Tensor) -> Tensor:
    """Shift a batch by a few pixels, so that each epoch differs."""
    down, right = torch.randint(-8, 9, (2,)).tolist()
    return torch.roll(values, (down, right), (2, 3))


def accuracy(network: Network, pixels: Tensor, outputs: Tensor) -> float:
    """Return the share of right answers, in percent."""
    with torch.inference_mode():
        parts = [network(_subtract_means(part)).argmax(1) for part in pixels.split(128)]
    return 100 * float((torch.cat(parts) == outputs).float().mean())


def to_onnx(network: Network) -> onnx.ModelProto:
    """Write the network down with its batch normalisations folded and the official names."""
    graph = GraphWriter()
    values = graph.relu(graph.conv("stem", "input_tensor:0", network.stem))
    values = graph.add("MaxPool", [values], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for number, block in enumerate(network.blocks):
        name = f"block{number}"
        beside = graph.conv(f"{name}.shortcut", values, block.shortcut) if block.shortcut else values
        inner = graph.relu(graph.conv(f"{name}.first", values, block.first))
        outer = graph.conv(f"{name}.second", inner, block.second)
        values = graph.relu(graph.add("Add", [outer, beside], f"{name}.add"))
    values = graph.add("Flatten", [graph.add("GlobalAveragePool", [values], "mean")], "features")
    kernel = graph.keep("dense.weight", network.dense.weight.detach().numpy())
    bias = graph.keep("dense.bias", network.dense.bias.detach().numpy())
    logits = graph.add("Gemm", [values, kernel, bias], "logits", transB=1)
    graph.add("ArgMax", [logits], "ArgMax:0", axis=1, keepdims=0)
    graph.add("Softmax", [logits], "softmax_tensor:0", axis=1)
    return graph.model(
        "mini_resnet50",
        {"input_tensor:0": ["N", 3, SIDE, SIDE]},
        {
            "ArgMax:0": (TensorProto.INT64, ["N"]),
            "softmax_tensor:0": (TensorProto.FLOAT, ["N", OUTPUTS]),
        },
    )


def main() -> None:
    """Train, look at the validation pictures, write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    torch.manual_seed(digits.SEED)
    torch.set_num_threads(2)
    network = train(*render_set("training", given.images, given.cache), epochs=given.epochs)
    given.output.write_bytes(to_onnx(network).SerializeToString())
    print(f"validation: {accuracy(network, *render_set('validation', 1000, given.cache)):.2f} %")


if __name__ == "__main__":
    main()
