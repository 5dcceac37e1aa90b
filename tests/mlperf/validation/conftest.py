"""Makes the sample submission importable, and gives it to the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sample_submission import Submission, build


@pytest.fixture
def box(tmp_path: Path) -> Submission:
    """One closed datacenter system with resnet50 in Offline and Server."""
    return build(tmp_path / "tree", "box")
