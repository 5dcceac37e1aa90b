"""Copies of this project that tests add to, as a newcomer does."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import ROOT

SHIPPED = ("cli", "deployments", "flows", "mlperf_submission", "models", "tasks")


def copy_project(target: Path, rooms: Iterable[str] = SHIPPED, *ignored: str) -> Path:
    """Copy folders of the project (by default what is shipped), without files of the `ignored` patterns."""
    for room in rooms:
        shutil.copytree(ROOT / room, target / room, ignore=shutil.ignore_patterns("__pycache__", *ignored))
    return target
