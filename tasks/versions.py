"""Versions of the code and the libraries whose behaviour is part of a step's outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from mlperf_submission.benchmark.parts import Part
from mlperf_submission.files import files_below, sha256_of
from mlperf_submission.steps.cache import code_version
from models.registry import get_benchmark

Stage = Literal["make_mini", "preprocess", "score"]


def versions_of(*distributions: str) -> dict[str, str]:
    """Return `version_<distribution>` for each installed distribution, `absent` for the others."""
    return {f"version_{name.replace('-', '_')}": installed_version(name) for name in distributions}


def library_versions(benchmark: str, stage: Stage) -> dict[str, str]:
    """Return `version_<distribution>` of what a stage of a benchmark uses (`Libraries`).

    For the score its code comes with them: where it goes into a step, a run is scored that others measured.
    """
    chosen: tuple[str, ...] = getattr(get_benchmark(benchmark).facts.libraries, stage)
    code = {"score_version": benchmark_code(benchmark, ("score",))} if stage == "score" else {}
    return {**versions_of("numpy", *chosen), **code}


def benchmark_code(benchmark: str, parts: Sequence[Part], *modules: str) -> str:
    """Return the code version of parts of a benchmark (which are imported by name) and of other modules."""
    found = get_benchmark(benchmark)
    return code_version(*map(found.module, parts), *modules)


def files_version(folder: Path) -> str:
    """Return the SHA-256 over the files below a folder: templates and the like, which belong to the code."""
    listing = "".join(f"{path.relative_to(folder)} {sha256_of(path)}\n" for path in files_below(folder))
    return hashlib.sha256(listing.encode()).hexdigest()


@cache
def installed_version(distribution: str) -> str:
    """Return the version of a distribution, looked up once per process; `absent` if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"
