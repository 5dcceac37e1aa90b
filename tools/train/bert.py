"""Train the network of bert-99's mini edition and write it as ONNX (a script; nothing else needs PyTorch).

    python -m tools.train.bert OUTPUT.onnx [--minutes 2.5] [--check N]

Needs torch besides the project's own packages. Names and paragraphs of the training are not in the
validation, which is only looked at after the last step. Two things help a network this small to learn this
fast: its first heads begin by looking for equal pieces and some pieces back, and the second layer is also
asked which pieces belong to sentences about the person asked for. Only the answers' logits are exported.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.bert.architecture import BertShape, bert
from models.bert.facts import MAX_SEQUENCE
from models.bert.features import Feature, features
from models.bert.mini import files as bert_files
from models.bert.mini import paragraphs
from models.bert.squad import Paragraph, Question
from models.bert.wordpiece import WordPiece

SHAPE = BertShape(layers=3, hidden=64, heads=4, inner=128, vocabulary=771)
"""The vocabulary's size is checked against the file when training begins."""
_TOKENS_PER_BATCH = 2048
_RATE = 2.5e-3
_LESSONS = ((0.25, 5), (0.25, 10), (0.5, 60))
"""Shares of the time, and how many facts a paragraph tells in it at most."""


@dataclass(frozen=True)
class Example:
    """One window for training; an answer outside of it is at position 0, the [CLS].

    Attributes:
        subject: bool per piece: it belongs to a sentence about the person that is asked for.
    """

    ids: NDArray[np.int32]
    window: int
    start: int
    end: int
    subject: NDArray[np.bool_]


class Layer(nn.Module):  # type: ignore[misc]
    """One encoder layer as BERT's: attention and feed-forward, each with a residual sum and a norm."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query, self.key, self.value, self.out = (nn.Linear(shape.hidden, shape.hidden) for _ in range(4))
        self.first_norm, self.second_norm = (nn.LayerNorm(shape.hidden, 1e-12) for _ in range(2))
        self.up, self.down = nn.Linear(shape.hidden, shape.inner), nn.Linear(shape.inner, shape.hidden)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return batch × length × hidden; `mask` is batch × 1 × 1 × length, True where a piece is."""
        batch, length, hidden = values.shape
        parts = (
            one(values).view(batch, length, self.heads, -1).transpose(1, 2)
            for one in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(*parts, attn_mask=mask)
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, length, hidden))
        values = self.first_norm(values + mixed)
        inner: Tensor = self.second_norm(values + self.down(functional.gelu(self.up(values))))
        return inner


class Network(nn.Module):  # type: ignore[misc]
    """A small BERT with a head for answers, and one for subjects that is used in training alone."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.segments = nn.Embedding(2, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, 1e-12)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.answer, self.subject = nn.Linear(shape.hidden, 2), nn.Linear(shape.hidden, 1)
        _arrange(self, shape)

    def forward(
        self, ids: Tensor, mask: Tensor, segments: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the answers' logits (batch × 2 × length) and the subjects' (batch × length)."""
        values = self.norm(self.tokens(ids) + self.positions(positions) + self.segments(segments))
        subject = values[..., 0]
        for number, layer in enumerate(self.layers):
            values = layer(values, mask[:, None, None])
            if number == len(self.layers) - 2:
                subject = self.subject(values)[..., 0]
        logits = self.answer(values).transpose(1, 2)
        return logits.masked_fill(~mask[:, None], -1e4), subject


_POSITION_DIMENSIONS = 24
_WAVELENGTHS = (5.0, 250.0)
"""Pieces; the short ones tell neighbours apart, the long ones keep far places from looking near."""


def _arrange(network: Network, shape: BertShape) -> None:
    """Give a beginner what takes a small network longest to find: equal pieces, and pieces just before.

    Words, segments and positions begin in dimensions of their own. One head of the first layer looks for its
    own piece, rather in the question; the others and those of the second layer look some pieces back.
    """
    words = shape.hidden - _POSITION_DIMENSIONS - 1
    pairs = _POSITION_DIMENSIONS // 2
    first, last = (2 * math.pi / length for length in _WAVELENGTHS)
    rates = torch.exp(torch.linspace(math.log(first), math.log(last), pairs))
    angles = torch.arange(shape.positions)[:, None] * rates
    sines = slice(words + 1, words + 1 + pairs)
    cosines = slice(words + 1 + pairs, shape.hidden)
    size = shape.hidden // shape.heads
    with torch.no_grad():
        for table in (network.tokens, network.positions, network.segments):
            table.weight.zero_()
        network.tokens.weight[:, :words].normal_()
        network.segments.weight[:, words] = torch.tensor([2.0, -2.0])
        network.positions.weight[:, sines] = 1.4 * angles.sin()
        network.positions.weight[:, cosines] = 1.4 * angles.cos()
        for number, offsets in enumerate(((None, 1, -1, 3), (2, 4, 6, 9))):
            layer = network.layers[number]
            chosen = slice(0, size // 2) if number == 0 else slice(pairs - size // 2, pairs)
            for head, offset in enumerate(offsets):
                rows = slice(head * size, (head + 1) * size)
                query, key = torch.zeros(2, size, shape.hidden)
                if offset is None:
                    turned, _ = torch.linalg.qr(torch.randn(words, size - 1))
                    query[:-1, :words] = key[:-1, :words] = 1.5 * turned.T
                    key[-1, words] = 1.0
                    layer.query.bias[rows][-1] = 4.0
                else:
                    back = offset * rates[chosen]
                    where = torch.arange(size // 2)
                    low, high = sines.start + chosen.start, cosines.start + chosen.start
                    key[where, low + where] = key[size // 2 + where, high + where] = 1.4
                    query[where, low + where] = query[size // 2 + where, high + where] = 1.4 * back.cos()
                    query[where, high + where] = -1.4 * back.sin()
                    query[size // 2 + where, low + where] = 1.4 * back.sin()
                layer.query.weight[rows], layer.key.weight[rows] = query, key


def examples(
    split: paragraphs.Split, first: int, count: int, tokenizer: WordPiece, longest: int
) -> list[Example]:
    """Return the windows of `count` paragraphs, answers marked."""
    found: list[Example] = []
    for number in range(first, first + count):
        told = paragraphs.paragraph(split, number, longest=longest)
        for asked in told.asked:
            question = Question(str(number), asked.question, (asked.answer,))
            parts = features([Paragraph(told.context, (question,))], tokenizer)
            found += [_example(part, told.context, asked) for part in parts]
    return found


def _example(part: Feature, text: str, asked: paragraphs.Asked) -> Example:
    words = part.context.words
    starts, at = [], 0
    for word in words:
        at = text.index(word, at)
        starts.append(at)
        at += len(word)
    begin = np.array(starts)
    first = int(np.searchsorted(begin, asked.start, "right")) - 1
    last = int(np.searchsorted(begin, asked.start + len(asked.answer) - 1, "right")) - 1
    pieces = np.arange(part.start, part.start + len(part.max_context))
    word_of = part.context.word_of[pieces]
    answer = np.flatnonzero((word_of >= first) & (word_of <= last))
    name = next(one for one in paragraphs.FIRST_NAMES if f" {one} " in f"{asked.question}")
    who = asked.question.split(name + " ")[1].split(" ")[0].strip("?,.")
    told, open_ = np.zeros(len(words), bool), False
    for index, word in enumerate(words):
        open_ = open_ or (word == name and words[index + 1].startswith(who))
        told[index] = open_
        open_ = open_ and not word.endswith(".")
    subject = np.zeros(len(part.ids), bool)
    subject[part.window : part.window + len(pieces)] = told[word_of]
    everywhere = part.context.word_of
    if len(answer) < np.count_nonzero((everywhere >= first) & (everywhere <= last)):
        return Example(part.ids, part.window, 0, 0, subject)
    # Punctuation that touches the answer is in its words, but not of it.
    inside = [index for index in part.window + answer if _TOKENS[part.ids[index]] not in _MARKS]
    return Example(part.ids, part.window, int(inside[0]), int(inside[-1]), subject)


_MARKS = frozenset("“”().,;")
_TOKENS: tuple[str, ...] = ()


def batches(found: list[Example], random: np.random.Generator) -> Iterator[list[Example]]:
    """Yield every example once, in batches of like length, the batches in random order."""
    noise = random.random(len(found))
    order = sorted(range(len(found)), key=lambda index: len(found[index].ids) + 12 * noise[index])
    made: list[list[Example]] = [[]]
    for index in order:
        if made[-1] and len(found[index].ids) * (len(made[-1]) + 1) > _TOKENS_PER_BATCH:
            made.append([])
        made[-1].append(found[index])
    random.shuffle(made)
    yield from made


def tensors(chosen: list[Example], random: np.random.Generator | None) -> tuple[Tensor, ...]:
    """Return ids, mask, segments, positions, starts and ends, subjects; windows moved along at random."""
    length = max(len(one.ids) for one in chosen)
    ids = np.zeros((len(chosen), length), np.int64)
    mask, subject = (np.zeros((len(chosen), length), bool) for _ in range(2))
    segments = np.zeros_like(ids)
    positions = np.tile(np.arange(length), (len(chosen), 1))
    for row, one in enumerate(chosen):
        used = len(one.ids)
        ids[row, :used], mask[row, :used], subject[row, :used] = one.ids, True, one.subject
        segments[row, one.window : used] = 1
        if random is not None and random.random() < 0.6:
            positions[row, one.window :] += random.integers(0, MAX_SEQUENCE - length + 1)
    targets = np.array([[one.start, one.end] for one in chosen])
    return tuple(map(torch.from_numpy, (ids, mask, segments, positions, targets, subject)))


def train(
    network: Network, pools: list[tuple[float, list[Example]]], seconds: float, most_seconds: float
) -> None:
    """Train with AdamW on one pool of examples after the other; each has its share of the time.

    The time is over after `seconds` of the processor or `most_seconds` on the clock, whichever comes first.
    """
    random = np.random.default_rng(paragraphs.SEED)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    started, clock, said, step, until = time.thread_time(), time.monotonic(), 0.0, 0, 0.0
    losses: list[tuple[float, float, float]] = []
    for share, pool in pools:
        until += share
        source: Iterator[list[Example]] = iter(())
        while True:
            spent = time.thread_time() - started
            progress = max(spent / seconds, (time.monotonic() - clock) / most_seconds)
            if progress >= until:
                break
            chosen = next(source, None)
            if chosen is None:
                source = batches(pool, random)
                continue
            rate = (
                _RATE
                * min(1.0, (step + 1) / 150)
                * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress)))
            )
            for group in optimiser.param_groups:
                group["lr"] = rate
            ids, mask, segments, positions, targets, subject = tensors(chosen, random)
            logits, subjects = network(ids, mask, segments, positions)
            answer = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
            told = functional.binary_cross_entropy_with_logits(subjects[mask], subject[mask].float())
            loss = answer + 2 * told * (1 - progress)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            step += 1
            right = (logits.detach().argmax(2) == targets).all(1).float().mean()
            losses.append((float(answer.detach()), float(told.detach()), float(right)))
            if spent - said > 8:
                mean = np.mean(losses, axis=0)
                print(f"{spent:4.0f} s, step {step}: answer {mean[0]:.3f}, subject {mean[1]:.3f}, "
                      f"right {mean[2]:.3f}", flush=True)  # fmt: skip
                said, losses = spent, []


def exact(network: Network, found: list[Example]) -> float:
    """Return the share of windows whose answer is found, in percent."""
    right = 0
    with torch.inference_mode():
        for chosen in batches(found, np.random.default_rng(0)):
            ids, mask, segments, positions, targets, _ = tensors(chosen, None)
            logits, _ = network(ids, mask, segments, positions)
            right += int((logits.argmax(2) == targets).all(1).sum())
    return 100 * right / len(found)


def to_onnx(network: Network, shape: BertShape) -> bytes:
    """Return the network with its answers' logits as ONNX, by the builder of the full architecture."""
    names = {"tokens": "tokens.weight", "positions": "positions.weight", "segments": "segments.weight"}
    found = {name: values.detach().numpy() for name, values in network.state_dict().items()}
    weights = {name: found[source] for name, source in names.items()}
    for name, values in found.items():
        if name.startswith(("norm.", "answer.", "layers.")):
            for old, new in _RENAMED:
                name = name.replace(old, new)
            weights[name.removeprefix("_")] = values.T if values.ndim == 2 else values
    return bytes(bert(shape, weights=weights).SerializeToString(deterministic=True))


_RENAMED = (
    ("layers.", "layer"),
    (".query", ".attention.query"),
    (".key", ".attention.key"),
    (".value", ".attention.value"),
    (".out", ".attention.out"),
    (".first_norm", ".attention.norm"),
    (".second_norm", ".norm"),
)


def main() -> None:
    """Train, write the file, look at the validation."""
    global _TOKENS
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--most-minutes", type=float, default=60)
    parser.add_argument("--paragraphs", type=int, default=4000)
    parser.add_argument("--check", type=int, default=500)
    given = parser.parse_args()
    torch.manual_seed(paragraphs.SEED)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bert_files.write_vocabulary(Path(folder, "vocab.txt"))
        tokenizer = WordPiece(Path(folder, "vocab.txt"))
    _TOKENS = tokenizer.tokens
    if len(_TOKENS) != SHAPE.vocabulary:
        parser.error(f"SHAPE says {SHAPE.vocabulary} pieces, the vocabulary has {len(_TOKENS)}")
    pools = [
        (share, examples("training", number * given.paragraphs, given.paragraphs, tokenizer, longest))
        for number, (share, longest) in enumerate(_LESSONS)
    ]
    print(f"{[len(pool) for _, pool in pools]} windows", flush=True)
    network = Network(SHAPE)
    train(network, pools, 60 * given.minutes, 60 * given.most_minutes)
    given.output.write_bytes(to_onnx(network, SHAPE))
    share = exact(network, examples("validation", 0, given.check, tokenizer, 60))
    print(f"validation: {share:.2f} % of windows")


if __name__ == "__main__":
    main()
