"""A system that is measured in seconds, for tests of flows that measure more than once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import yaml

from mlperf_submission.steps.cache import StepCache
from mlperf_submission.steps.records import record_file
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


def prepared_folder(work: Path, prepared: Path, steps: Collection[str] = PREPARING) -> Path:
    """Make a work folder with these steps of resnet50 from another one, by default without a measurement."""
    for record in StepCache(prepared / "cache").records():
        if record.step in steps and record.label.startswith("resnet50 "):
            place = work / "cache" / record.step
            place.mkdir(parents=True, exist_ok=True)
            # A finished file is never written again.
            shutil.copytree(record.folder, place / record.key, copy_function=os.link)
            os.link(record_file(prepared / "cache", record.step, record.key), place / f"{record.key}.json")
    return work
