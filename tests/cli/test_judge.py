"""What the terminal shows of a verdict."""

from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console

from cli.judge import show_verdict
from mlperf_submission.validation import Failure, ResultVerdict, Severity, Verdict


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


def test_results_stand_in_columns_whatever_the_width_of_their_names() -> None:
    def result(system: str, value: float | None) -> ResultVerdict:
        place = {"division": "closed", "submitter": "Acme", "system": system, "location": "there"}
        kind = {"benchmark": "bert-99", "model": "bert-99", "scenario": "Offline", "units": "Samples/s"}
        return ResultVerdict(**place, **kind, ok=value is not None, value=value, accuracy=None)

    output = io.StringIO()
    results = (result("a system of a long name", 1234.5), result("机器", None))
    show_verdict(Console(file=output, width=40), Verdict(round="v4.1", ok=True, results=results, failures=()))
    lines = output.getvalue().splitlines()[:3]
    assert [line.split()[-1] for line in lines] == ["accepted", "yes", "no"]
    assert "  1,234.5 Samples/s  none" in lines[1]
    assert len({cell_len(line.rpartition("  ")[0]) for line in lines}) == 1
