"""Samples for tests of what does not look at them."""

from __future__ import annotations

from mlperf_submission.benchmark.answer import Samples


class Nothing(Samples):
    """No samples."""

    def __len__(self) -> int:
        return 0
