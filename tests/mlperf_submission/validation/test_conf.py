"""What the checker reads in user.conf and mlperf.conf."""

from __future__ import annotations

import pytest

from mlperf_submission.submission.files import Text
from mlperf_submission.validation.conf import equal_issue


@pytest.mark.parametrize(
    ("digits", "switch"),
    [
        ("1", True),
        ("0", False),
        ("10", False),
        ("11", False),
        ("\u0660\u0660\u0661", True),
        ("0" * 5000 + "1", True),
        ("9" * 5000, False),
    ],
)
def test_equal_issue_is_on_at_the_number_one_of_any_length(digits: str, switch: bool) -> None:
    read = equal_issue(Text(f"*.*.sample_concatenate_permutation = {digits}\n"), "resnet50", "Offline")
    assert (read.switch, read.problem) == (switch, "")
