"""GPT-J and its beam search once more, plainly: NumPy in FP64, no cache, every sequence computed anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models.gptj.decoder import DecoderShape, Weights


def log_probabilities(shape: DecoderShape, source: Weights, tokens: list[int]) -> Any:
    """Return the log-probabilities of the token after each of these: tokens × vocabulary."""

    def get(name: str) -> Any:
        return source(name).astype(np.float64)

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred / spread * get(f"{name}.weight") + get(f"{name}.bias")

    def rotated(x: Any) -> Any:  # tokens × heads × width; pairs (0, 1), (2, 3), … of the first dimensions
        turned = x.copy()
        for pair in range(shape.rotary // 2):
            angle = np.arange(len(tokens)) / 10000 ** (2 * pair / shape.rotary)
            cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
            even, odd = x[..., 2 * pair], x[..., 2 * pair + 1]
            turned[..., 2 * pair] = even * cos - odd * sin
            turned[..., 2 * pair + 1] = odd * cos + even * sin
        return turned

    x = get("transformer.wte.weight")[tokens]
    for layer in range(shape.layers):
        name = f"transformer.h.{layer}"
        normed = norm(x, f"{name}.ln_1")
        q, k, v = (
            (normed @ get(f"{name}.attn.{part}_proj.weight").T).reshape(len(tokens), shape.heads, shape.head)
            for part in "qkv"
        )
        q, k = rotated(q), rotated(k)
        found = np.zeros_like(q)
        for head in range(shape.heads):
            for place in range(len(tokens)):
                weight = k[: place + 1, head] @ q[place, head] / math.sqrt(shape.head)
                weight = np.exp(weight - weight.max())
                found[place, head] = (weight / weight.sum()) @ v[: place + 1, head]
        attended = found.reshape(len(tokens), shape.hidden) @ get(f"{name}.attn.out_proj.weight").T
        inner = normed @ get(f"{name}.mlp.fc_in.weight").T + get(f"{name}.mlp.fc_in.bias")
        inner = 0.5 * inner * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        fed = inner @ get(f"{name}.mlp.fc_out.weight").T + get(f"{name}.mlp.fc_out.bias")
        x = x + attended + fed
    logits = norm(x, "transformer.ln_f") @ get("lm_head.weight").T + get("lm_head.bias")
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def beam_search(
    shape: DecoderShape, source: Weights, prompt: list[int], *, least: int, most: int, counts_prompt: bool
) -> list[int]:
    """Return the best hypothesis of a search of width 4 with early stopping."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for length in range(most):
        options = []
        for score, tokens in running:
            following = log_probabilities(shape, source, prompt + tokens)[-1]
            for token in range(shape.vocabulary):
                if token != shape.end or length >= least:
                    options.append((score + following[token], tokens, token))
        options.sort(key=lambda one: -one[0])
        running = []
        for rank, (score, tokens, token) in enumerate(options[:8]):
            if token == shape.end:
                if rank < 4:
                    ended.append((score / (len(tokens) + len(prompt) * counts_prompt), tokens))
            elif len(running) < 4:
                running.append((score, [*tokens, token]))
        if len(ended) >= 4:
            break
    else:
        ended += [(s / (len(tokens) + len(prompt) * counts_prompt), tokens) for s, tokens in running]
    return max(sorted(ended, reverse=True)[:4] if len(ended) > 4 else ended)[1]
