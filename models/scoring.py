"""What the accuracy scripts share: how a log that cannot be scored is refused."""

from __future__ import annotations

from mlperf_submission.errors import LogError


def bad_log(what: str) -> LogError:
    """Return the error of an accuracy log that this benchmark's harness cannot have written."""
    return LogError(
        what,
        where="mlperf_log_accuracy.json",
        remedy="repeat the accuracy run of this benchmark and scenario",
    )
