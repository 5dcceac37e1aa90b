"""What the terminal shows of a verdict."""

from __future__ import annotations

import io

from rich.console import Console

from cli.judge import show_verdict
from mlperf_submission.validation import Failure, Severity, Verdict


def _failures(rule: str, severity: Severity, count: int) -> list[Failure]:
    return [
        Failure(rule=rule, severity=severity, path=f"run_{index}", message=f"wrong {rule}", remedy="mend it")
        for index in range(count)
    ]


def test_each_rule_that_failed_is_shown_however_many_failures_the_others_have() -> None:
    failures = (
        *_failures("P-09", "error", 200),
        *_failures("P-06", "error", 1),
        *_failures("A-1", "warning", 5),
    )
    output = io.StringIO()
    show_verdict(
        Console(file=output, width=120), Verdict(round="v4.1", ok=False, results=(), failures=failures)
    )
    text = output.getvalue()
    for rule, shown in (("P-09", 3), ("P-06", 1), ("A-1", 3)):
        assert text.count(f"wrong {rule}") == shown
    assert "… and 197 more of P-09" in text and "… and 2 more of A-1" in text
    assert "201 errors, 5 warnings" in text
