"""Gives the sample submission to the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mlperf_submission.validation.sample_submission import Submission, build


@pytest.fixture
def box(tmp_path: Path) -> Submission:
    """One closed datacenter system with resnet50 in Offline and Server."""
    return build(tmp_path / "tree", "box")
