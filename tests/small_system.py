"""A system that is measured in seconds, for tests of flows that measure more than once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml

from tests.conftest import ROOT

PREPARING = ("make_mini", "download", "preprocess", "quantize", "build_engine")


def small_system(folder: Path, name: str, *, server: bool = False) -> Path:
    """Write a system file: resnet50 for half a second, on the data of the rehearsal.

    Offline alone, at a given rate, in the open division, where one scenario is enough; or with Server,
    in the closed division, where a probe finds the rates.
    """
    content = yaml.safe_load((ROOT / "deployments" / "systems" / "rehearsal.yaml").read_text())
    content |= {"name": name, "rehearsal_seconds": 0.5}
    content["benchmarks"] = {"resnet50": content["benchmarks"]["resnet50"]}
    if not server:
        content["division"] = content["description"]["division"] = "open"
        del content["benchmarks"]["resnet50"]["Server"]
        content["benchmarks"]["resnet50"]["Offline"]["target_qps"] = 500
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def prepared_folder(work: Path, prepared: Path) -> Path:
    """Make a work folder where the networks of another one are prepared, but nothing is measured."""
    for step in PREPARING:
        shutil.copytree(
            prepared / "cache" / step,
            work / "cache" / step,
            copy_function=os.link,  # a finished file is never written again
            ignore=shutil.ignore_patterns(".*"),
        )
    return work
