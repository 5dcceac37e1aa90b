"""What the tests of several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def rehearsal_file(tmp_path: Path) -> Path:
    """A copy of the rehearsal's system file, to be changed by a test."""
    path = tmp_path / "system.yaml"
    path.write_text((ROOT / "deployments" / "systems" / "rehearsal.yaml").read_text())
    return path
