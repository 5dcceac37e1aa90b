"""Section 12: the compliance tests of closed and network (T). Their runs also keep section 8 (T-06)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mlperf_submission.rounds import RunKind
from mlperf_submission.validation.frames import Audits, Checks, Fallback, Files, Results, Runs
from mlperf_submission.validation.rules import Rule, catalogue, holds_exactly

_LATER_TESTS = (RunKind.TEST07, RunKind.TEST08, RunKind.TEST09)
_AGAIN = "Run the test and its verification script again."


def _test(row: Mapping[str, Any]) -> str:
    return str(row["path"].rsplit("/", 1)[-1])


def _change(row: Mapping[str, Any]) -> float:
    return float(abs(1 - row["baseline"] / row["compliance"]) * 100)


def _differs(row: Mapping[str, Any]) -> str:
    if row["problem"]:
        return f"accuracy: {row['problem']}"
    if (
        not row["baseline"]
        or not row["compliance"]
        or row["baseline"] + row["compliance"] != row["baseline"] + row["compliance"]
    ):
        return f"{row['metric']} cannot be read from both files"
    return f"{row['metric']} differs by {_change(row):.3g}% (at most {row['allowed_percent']:g}%)"


def _lacks_settings(d: pd.DataFrame) -> pd.Series[bool]:
    logs = (d.effective_accuracy_log_probability > 0) | (d.effective_accuracy_log_sampling_target > 0)
    one_sample = d.effective_performance_issue_same | d.effective_performance_issue_unique
    return ((d.kind == RunKind.TEST01) & ~logs) | ((d.kind == RunKind.TEST04) & ~one_sample)


RULES = catalogue(
    {
        "T-02": Rule(
            Results.where(lambda d: d.needs_compliance),
            "A model with compliance tests has its compliance folder, in the same spelling.",
            passes=lambda d: d.has_compliance,
            message="there is no compliance folder for this result",
            remedy="Run the tests.",
        ),
        "T-03": Rule(
            Audits,
            "Every test of the model has its folder.",
            passes=lambda d: d.exists,
            message="{test} is missing",
            remedy="Run the test.",
        ),
        "T-04": Rule(
            Checks.where(kind="performance"),
            "verify_performance.txt says TEST PASS.",
            passes=lambda d: d.passes,
            message="{test}: verify_performance.txt {problem}",
            remedy=_AGAIN,
            in_rehearsal="audits of runs that are INVALID, or faster or slower than their result",
        ),
        "T-05": holds_exactly(
            Files.where(folder="test run"),
            "The test's `performance/run_1` holds exactly the summary and the detail log.",
            message=lambda row: f"{_test(row)}: performance/run_1 {row['each'] or 'is missing'}",
        ),
        "T-09": Rule(
            Checks.where(lambda d: d.kind != "performance"),
            "TEST01 and TEST06 have verify_accuracy.txt (TEST09 of v6.0 and later: verify_output_len.txt).",
            passes=lambda d: d.found,
            each="{kind}",
            message="{test}: {file}: {problem}",
            remedy=_AGAIN,
        ),
        "T-10": holds_exactly(
            Files.where(folder="test accuracy"),
            "TEST01's `accuracy` holds exactly the accuracy log and accuracy.txt, and, if the bitwise check "
            "failed, both accuracies of the fallback.",
            message=lambda row: f"{_test(row)}: accuracy: {row['each'] or 'the folder is missing'}",
        ),
        "T-11": Rule(
            Fallback,
            "If TEST01 is not bit-exact, its accuracy differs from the baseline by at most 1% (99.9: 0.1%), "
            "and the files of both are there.",
            passes=lambda d: (
                (d.problem == "")
                & (d.baseline != 0)
                & ((1 - d.baseline / d.compliance).abs() * 100 <= d.allowed_percent)
            ),
            each=_differs,
            joint="; ",
            message="{test}: {each}",
            remedy=_AGAIN,
        ),
        "T-12": Rule(
            Checks.where(lambda d: d.found & (d.test == RunKind.TEST06)),
            "TEST06 passed: first token (or skipped), end of sequence, sample length.",
            passes=lambda d: d.passes,
            each="{kind}",
            message="{test}: not passed: {each}",
            remedy=_AGAIN,
        ),
        "V-43": Rule(
            Checks.where(lambda d: d.found & (d.kind == "accuracy") & d.test.isin(_LATER_TESTS)),
            "From v6.0, verify_accuracy.txt of TEST07 and TEST08 and verify_output_len.txt of TEST09 say "
            "TEST PASS.",
            passes=lambda d: d.passes,
            message="{test}: {file}: {problem}",
            why="The checker of these rounds refuses the result.",
            remedy=_AGAIN,
            later=True,
        ),
        "+audit-unreadable": Rule(
            Runs,
            "The log of every compliance test can be read and has the keys that the rules compare.",
            passes=lambda d: d.overlooked == "",
            message="{kind}: {overlooked}",
            why="After an exception the checker uses the verdict of the test before (T-08).",
            remedy="Take LoadGen's own file, or run the test again.",
        ),
        "+audit-errors": Rule(
            Runs.where(lambda d: ~d.errors_refuse & (d.kind != RunKind.ACCURACY)),
            "The log of a compliance test holds no message that LoadGen marks as an error.",
            passes=lambda d: d.error_count == 0,
            message="{kind}: {error_count} errors, the first: {first_error}",
            why="Up to v5.1 this is P-03; the module does not look (V-04), and published results have some.",
            remedy="Mend what the message says and run the test again.",
            covers="nothing",
        ),
        "+audit-not-applied": Rule(
            Runs.where(lambda d: d.readable),
            "The log of a test shows its audit settings: TEST01 logs accuracy, TEST04 issues one sample.",
            passes=lambda d: ~_lacks_settings(d),
            message="{kind} ran without its audit settings",
            why="The checker does not look (T-14).",
            remedy="Put audit.config into the working directory of the run, and run the test again.",
        ),
        "+first-token-skipped": Rule(
            Audits.where(scenario="Server"),
            "TEST06 checks the first token in Server.",
            passes=lambda d: ~d.first_token_skipped,
            message="TEST06 skipped the first token check in Server",
            why="The checker accepts the word Skipped in every scenario (T-12).",
            remedy=_AGAIN,
            covers="nothing",
        ),
    }
)
