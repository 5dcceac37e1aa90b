"""The benchmarks by name; each is imported when it is asked for."""

from __future__ import annotations

import difflib
from importlib import import_module

from common.errors import SettingError
from models.benchmark import Benchmark

_CLASSES = {
    "resnet50": ("models.resnet50", "Resnet50"),
    "retinanet": ("models.retinanet", "Retinanet"),
    "bert-99": ("models.bert", "Bert99"),
    "3d-unet-99": ("models.unet3d", "Unet3d"),
    "gptj-99": ("models.gptj", "GptJ"),
}


def benchmark_names() -> tuple[str, ...]:
    """Return the names of all benchmarks, as the official tree spells them."""
    return tuple(_CLASSES)


def get_benchmark(name: str) -> Benchmark:
    """Return a benchmark by its name, e.g. `resnet50`.

    Raises:
        SettingError: there is none of this name; the message lists the known ones.
    """
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SettingError(
            f"unknown benchmark {name!r}", remedy=f"{hint}known benchmarks: {', '.join(benchmark_names())}"
        )
    module, cls = _CLASSES[name]
    benchmark: Benchmark = getattr(import_module(module), cls)()
    return benchmark
