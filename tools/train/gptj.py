"""Train tokenizer and decoder of gptj's mini edition (a script; nothing else needs PyTorch).

    python -m tools.train.gptj [--articles 12000] [--epochs 1] [--folder models/mini]

Needs torch besides the project's own packages. Writes `gptj_vocab.json`, `gptj_merges.txt` and `gptj.onnx`.
Training articles are a split of their own; the validation articles are only looked at, after the last step.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.gptj.decoder import DecoderShape
from models.gptj.export import write_network
from models.gptj.mini import articles
from models.gptj.mini.files import PROMPT_LIMIT, news_item
from models.gptj.text import END_OF_TEXT, prompt_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 768
SHAPE = DecoderShape(
    layers=2,
    hidden=96,
    heads=3,
    rotary=8,
    inner=384,
    vocabulary=VOCABULARY,
    prompt=PROMPT_LIMIT,
    end=VOCABULARY - 1,
)
_IGNORED = -100


class Block(nn.Module):  # type: ignore[misc]
    """Attention and feed-forward in parallel behind one normalisation."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.ln_1 = nn.LayerNorm(shape.hidden)
        self.attn = nn.ModuleDict(
            {
                f"{part}_proj": nn.Linear(shape.hidden, shape.hidden, bias=False)
                for part in ("q", "k", "v", "out")
            }
        )
        self.mlp = nn.ModuleDict(
            {
                "fc_in": nn.Linear(shape.hidden, shape.inner),
                "fc_out": nn.Linear(shape.inner, shape.hidden),
            }
        )

    def forward(self, values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Return x + attention + feed-forward."""
        normed = self.ln_1(values)
        query, key, new = (
            self.attn[f"{part}_proj"](normed)
            .unflatten(-1, (self.shape.heads, self.shape.head))
            .transpose(1, 2)
            for part in "qkv"
        )
        query, key = (self._rotated(one, cosines, sines) for one in (query, key))
        found = functional.scaled_dot_product_attention(query, key, new, is_causal=True)
        attended = self.attn["out_proj"](found.transpose(1, 2).flatten(2))
        fed = self.mlp["fc_out"](functional.gelu(self.mlp["fc_in"](normed), approximate="tanh"))
        return values + attended + fed

    def _rotated(self, values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        turned, rest = values.split((self.shape.rotary, self.shape.head - self.shape.rotary), -1)
        even, odd = turned[..., ::2], turned[..., 1::2]
        both = torch.stack((even * cosines - odd * sines, odd * cosines + even * sines), -1)
        return torch.cat((both.flatten(-2), rest), -1)


class Network(nn.Module):  # type: ignore[misc]
    """GPT-J's architecture with the names of the official checkpoint."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(shape.vocabulary, shape.hidden),
                "h": nn.ModuleList(Block(shape) for _ in range(shape.layers)),
                "ln_f": nn.LayerNorm(shape.hidden),
            }
        )
        self.lm_head = nn.Linear(shape.hidden, shape.vocabulary)
        nn.init.normal_(self.transformer["wte"].weight, std=0.3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last hidden state behind its normalisation: batch × tokens × hidden."""
        places = torch.arange(tokens.shape[1])[:, None]
        pairs = torch.arange(0, self.shape.rotary, 2)
        angles = places / 10000 ** (pairs / self.shape.rotary)
        values = self.transformer["wte"](tokens)
        for block in self.transformer["h"]:
            values = block(values, angles.cos(), angles.sin())
        normed: Tensor = self.transformer["ln_f"](values)
        return normed


def train_tokenizer(folder: Path, count: int) -> Tokenizer:
    """Learn a byte-level BPE from training articles; write vocabulary and merges as GPT-2 has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (
        f"{prompt_of(item)} {item.output}" for item in map(news_item, articles.articles("training", count))
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = {**tokenizer.get_vocab(), END_OF_TEXT: VOCABULARY - 1}
    state = json.loads(tokenizer.to_str())["model"]
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    ordered = dict(sorted(vocabulary.items(), key=lambda one: one[1]))
    (folder / "gptj_vocab.json").write_text(json.dumps(ordered, ensure_ascii=False))
    (folder / "gptj_merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]))
    if len(vocabulary) != VOCABULARY:
        raise SystemExit(f"the vocabulary has {len(vocabulary)} entries; give more articles")
    return tokenizer


def encode(tokenizer: Tokenizer, count: int) -> list[tuple[list[int], int]]:
    """Return the tokens of prompt, highlights and end of each training article, and the prompt's length."""
    made = []
    for item in map(news_item, articles.articles("training", count)):
        prompt = tokenizer.encode(prompt_of(item)).ids
        if len(prompt) <= PROMPT_LIMIT:
            answer = tokenizer.encode(f" {item.output}").ids
            made.append(([*prompt, *answer, SHAPE.end], len(prompt)))
    return made


def train(
    samples: list[tuple[list[int], int]], *, epochs: int, batch: int, rate: float, seconds: float
) -> Network:
    """Train on the highlights with AdamW and one cycle of the learning rate, for at most `seconds`."""
    network = Network(SHAPE)
    steps = epochs * (len(samples) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    started, done, mean = time.process_time(), 0, 0.0
    random = np.random.default_rng(articles.SEED)
    for _ in range(epochs):
        order = random.permutation(len(samples))
        for first in range(0, len(order) - batch + 1, batch):
            chosen = [samples[index] for index in order[first : first + batch]]
            width = max(len(tokens) for tokens, _ in chosen)
            tokens = torch.full((batch, width), SHAPE.end)
            wanted = torch.full((batch, width), _IGNORED)
            for row, (ids, prompt) in enumerate(chosen):
                tokens[row, : len(ids)] = torch.tensor(ids)
                wanted[row, prompt - 1 : len(ids) - 1] = torch.tensor(ids[prompt:])
            answers = wanted != _IGNORED
            loss = functional.cross_entropy(network.lm_head(network(tokens)[answers]), wanted[answers])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            mean = loss.item() if math.isclose(mean, 0) else 0.95 * mean + 0.05 * loss.item()
            spent = time.process_time() - started
            if done % 25 == 0:
                print(f"step {done} of {steps}: loss {mean:.3f}, {spent:.0f} s of processor", flush=True)
            if spent > seconds:
                raise SystemExit("out of time; give fewer articles")
    return network


def main() -> None:
    """Train both and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--articles", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--folder", type=Path, default=Path("models/mini"))
    given = parser.parse_args()
    torch.manual_seed(articles.SEED)
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(given.folder, 2000)
    samples = encode(tokenizer, given.articles)
    lengths = [len(tokens) for tokens, _ in samples]
    print(
        f"{len(samples)} samples, {np.mean(lengths):.0f} tokens on average, {max(lengths)} at most",
        flush=True,
    )
    network = train(samples, epochs=given.epochs, batch=given.batch, rate=given.rate, seconds=given.seconds)
    state = network.state_dict()

    def source(name: str) -> NDArray[np.generic]:
        values: NDArray[np.generic] = state[name].numpy()
        return values

    print(write_network(given.folder / "gptj.onnx", SHAPE, source, "fp32"))


if __name__ == "__main__":
    main()
