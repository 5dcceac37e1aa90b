"""Section 12: the compliance tests of closed and network (T). Their runs also keep section 8 (T-06)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.rounds import RunKind
from mlperf_submission.validation.rows_accuracy import AuditRow
from mlperf_submission.validation.rows_result import ResultRow
from mlperf_submission.validation.rows_run import RunRow
from mlperf_submission.validation.rules import Rule

_AGAIN = "Run the test and its verification script again."

RULES = (
    Rule(
        id="T-02",
        row=ResultRow,
        what="A model with compliance tests has its compliance folder, in the same spelling.",
        why="The official checker refuses the result.",
        remedy="Run the tests.",
        passes=lambda d: ~d.needs_compliance | d.has_compliance,
        message=lambda _: "there is no compliance folder for this result",
    ),
    Rule(
        id="T-03",
        row=AuditRow,
        what="Every test of the model has its folder.",
        why="The official checker refuses the result.",
        remedy="Run the test.",
        passes=lambda d: d.exists,
        message=lambda row: f"{row.test} is missing",
    ),
    Rule(
        id="T-04",
        row=AuditRow,
        what="verify_performance.txt says TEST PASS.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: ~(d.exists & d.has_performance) | (d.verify_performance == "passes"),
        message=lambda row: (
            f"{row.test}: verify_performance.txt "
            f"{'is missing' if row.verify_performance == 'missing' else 'does not say TEST PASS'}"
        ),
        in_rehearsal=lambda _: "audits of runs that are INVALID, or faster or slower than their result",
    ),
    Rule(
        id="T-05",
        row=AuditRow,
        what="The test's `performance/run_1` holds exactly the summary and the detail log.",
        why="The official checker refuses the result.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: ~(d.exists & d.has_performance) | (d.has_run & (d.run_files == "")),
        message=lambda row: f"{row.test}: performance/run_1 {row.run_files if row.has_run else 'is missing'}",
    ),
    Rule(
        id="T-09",
        row=AuditRow,
        what="TEST01 and TEST06 have verify_accuracy.txt (TEST09 of v6.0 and later: verify_output_len.txt).",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: ~d.exists | (d.verify_accuracy != "missing"),
        message=lambda row: f"{row.test}: {row.accuracy_problem}",
    ),
    Rule(
        id="T-10",
        row=AuditRow,
        what="TEST01's `accuracy` holds exactly the accuracy log and accuracy.txt, and, if the bitwise check "
        "failed, both accuracies of the fallback.",
        why="The official checker refuses the result.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: ~d.exists | (d.accuracy_files == ""),
        message=lambda row: f"{row.test}: accuracy: {row.accuracy_files}",
    ),
    Rule(
        id="T-11",
        row=AuditRow,
        what="If TEST01 is not bit-exact, its accuracy differs from the baseline by at most 1% (99.9: 0.1%), "
        "and the files of both are there.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: (
            ~d.exists
            | (d.test != RunKind.TEST01)
            | (d.verify_accuracy != "fails")
            | (d.accuracy_problem == "")
        ),
        message=lambda row: f"{row.test}: {row.accuracy_problem}",
    ),
    Rule(
        id="T-12",
        row=AuditRow,
        what="TEST06 passed: first token (or skipped), end of sequence, sample length.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: (
            ~d.exists
            | (d.test != RunKind.TEST06)
            | (d.verify_accuracy == "missing")
            | (d.accuracy_problem == "")
        ),
        message=lambda row: f"{row.test}: {row.accuracy_problem}",
    ),
    Rule(
        id="V-43",
        row=AuditRow,
        what="From v6.0, verify_accuracy.txt of TEST07 and TEST08 and verify_output_len.txt of TEST09 say "
        "TEST PASS.",
        why="The checker of these rounds refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: (
            ~d.exists
            | ~d.test.isin([RunKind.TEST07, RunKind.TEST08, RunKind.TEST09])
            | (d.verify_accuracy != "fails")
        ),
        message=lambda row: f"{row.test}: {row.accuracy_problem}",
        later=True,
    ),
    Rule(
        id="+audit-unreadable",
        row=RunRow,
        what="The log of every compliance test can be read and has the keys that the rules compare.",
        why="After an exception the checker uses the verdict of the test before (T-08).",
        remedy="Take LoadGen's own file, or run the test again.",
        passes=lambda d: d.judged != "warning",
        message=lambda row: f"{row.kind}: {row.damage or row.missing or row.no_token_metric or 'no log'}",
        severity="warning",
    ),
    Rule(
        id="+audit-errors",
        row=RunRow,
        what="The log of a compliance test holds no message that LoadGen marks as an error.",
        why="Up to v5.1 this is P-03; the module does not look (V-04), and published results have some.",
        remedy="Mend what the message says and run the test again.",
        passes=lambda d: (d.kind == RunKind.ACCURACY) | d.errors_refuse | (d.error_count == 0),
        message=lambda row: f"{row.kind}: {row.error_count:g} errors, the first: {row.first_error}",
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+audit-not-applied",
        row=RunRow,
        what="The log of a test shows its audit settings: TEST01 logs accuracy, TEST04 issues one sample.",
        why="The checker does not look (T-14).",
        remedy="Put audit.config into the working directory of the run, and run the test again.",
        passes=lambda d: (d.damage != "") | ~d.exists | ~_lacks_settings(d),
        message=lambda row: f"{row.kind} ran without its audit settings",
        severity="warning",
    ),
    Rule(
        id="+first-token-skipped",
        row=AuditRow,
        what="TEST06 checks the first token in Server.",
        why="The checker accepts the word Skipped in every scenario (T-12).",
        remedy=_AGAIN,
        passes=lambda d: ~(d.first_token_skipped & (d.scenario == "Server")),
        message=lambda _: "TEST06 skipped the first token check in Server",
        severity="warning",
        covers="nothing",
    ),
)


def _lacks_settings(frame: pd.DataFrame) -> pd.Series[bool]:
    no_log = ~(frame.accuracy_log_probability > 0) & ~(frame.accuracy_log_target > 0)
    return ((frame.kind == RunKind.TEST01) & no_log) | (
        (frame.kind == RunKind.TEST04) & ~frame.issue_same & ~frame.issue_unique
    )
