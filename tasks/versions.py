"""Versions of the code and the libraries whose behaviour is part of a step's outcome."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from common.files import files_below, sha256_of
from models.registry import get_benchmark
from storage.steps.cache import code_version

Stage = Literal["make_mini", "preprocess", "score"]


def versions_of(*distributions: str) -> dict[str, str]:
    """Return `version_<distribution>` for each installed distribution, `absent` for the others."""
    return {f"version_{name.replace('-', '_')}": _version(name) for name in distributions}


def library_versions(benchmark: str, stage: Stage) -> dict[str, str]:
    """Return `version_<distribution>` of what a stage of a benchmark uses (`models.benchmark.Libraries`)."""
    libraries = get_benchmark(benchmark).libraries
    chosen = {
        "make_mini": libraries.make_mini,
        "preprocess": libraries.preprocess,
        "score": libraries.score,
    }
    return versions_of("numpy", *chosen[stage])


def benchmark_code(benchmark: str, *modules: str) -> str:
    """Return the code version of a benchmark's module (which is imported by name) and of other modules."""
    return code_version(type(get_benchmark(benchmark)).__module__, *modules)


def files_version(folder: Path) -> str:
    """Return the SHA-256 over the files below a folder: templates and the like, which belong to the code."""
    listing = "".join(f"{path.relative_to(folder)} {sha256_of(path)}\n" for path in files_below(folder))
    return hashlib.sha256(listing.encode()).hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"
