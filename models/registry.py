"""The benchmarks by name: every folder beside this file that states the facts of one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.errors import SettingError

_PLACE = Path(__file__).parent


def benchmark_names() -> tuple[str, ...]:
    """Return the names of all benchmarks, as the official tree spells them."""
    return tuple(_benchmarks())


def get_benchmark(name: str) -> Benchmark:
    """Return a benchmark by its name, e.g. `resnet50`.

    Raises:
        SettingError: there is none of this name; the message lists the known ones.
    """
    known = _benchmarks()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SettingError(
            f"unknown benchmark {name!r}", remedy=f"{hint}known benchmarks: {', '.join(known)}"
        )
    return known[name]


@cache
def _benchmarks() -> Mapping[str, Benchmark]:
    # Names are made at run time: a step's code is what it names (mlperf_submission.steps.code), and that is
    # its parts.
    package = __name__.rpartition(".")[0]
    found = [Benchmark(f"{package}.{path.parent.name}") for path in sorted(_PLACE.glob("*/facts.py"))]
    return {benchmark.name: benchmark for benchmark in found}
