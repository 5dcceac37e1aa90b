"""Section 8: the performance run (P), with the network's SUT name (N-04)."""

from __future__ import annotations

import math

import pandas as pd

from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.validation.rows_result import ResultRow
from mlperf_submission.validation.rows_run import NETWORK_SUT, RunRow
from mlperf_submission.validation.rules import Rule

_PERCENTILES = {str(Scenario.SERVER): 0.99, str(Scenario.SINGLE_STREAM): 0.9}
_AGAIN = "Correct the setting and run again."

RULES = (
    Rule(
        id="P-01",
        row=ResultRow,
        what="`performance/run_1` is there and holds exactly the summary and the detail log (and spl.txt "
        "with power); the accuracy log, the trace and results.json may lie there.",
        why="The official checker refuses the result.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: d.has_run & (d.performance_files == ""),
        message=lambda row: (
            f"performance/run_1: {row.performance_files}" if row.has_run else "performance/run_1 is missing"
        ),
    ),
    Rule(
        id="V-01",
        row=ResultRow,
        what="From v6.0, the detail logs of the performance run and the accuracy run are there.",
        why="The module crashes without them.",
        remedy="Add LoadGen's log of the run, or run again.",
        passes=lambda d: d.missing_logs == "",
        message=lambda row: f"missing: {row.missing_logs}",
        later=True,
    ),
    Rule(
        id="P-02",
        row=RunRow,
        what="LoadGen called the run VALID.",
        why="The official checker refuses the result; of token models in v4.1 see L-05. The module does not "
        "look any more (V-03), but the rules ask for it.",
        remedy="The summary says why it is not valid; tune the target and run again.",
        passes=lambda d: ~_timed(d) | d.tokens_decide | (d.validity == "VALID"),
        message=lambda row: f"result_validity is {row.validity or 'missing'}{_place(row)}",
        in_rehearsal=lambda _: "runs that LoadGen calls INVALID",
    ),
    Rule(
        id="P-03",
        row=RunRow,
        what="The log holds no message that LoadGen marks as an error.",
        why="The official checker refuses the result. The module does not reach its own check (V-04).",
        remedy="Mend what the message says and run again.",
        passes=lambda d: ~_timed(d) | ~d.errors_refuse | (d.error_count == 0),
        message=lambda row: f"{row.error_count:g} errors, the first: {row.first_error}{_place(row)}",
    ),
    Rule(
        id="P-04",
        row=RunRow,
        what="At least as many samples are loaded as the round asks for the model.",
        why="The official checker refuses the result.",
        remedy="Raise performance_sample_count_override and run again.",
        passes=lambda d: ~_timed(d) | ~(d.performance_samples < d.needed_performance_samples),
        message=lambda row: (
            f"effective_performance_sample_count is {row.performance_samples:g}, at least "
            f"{row.needed_performance_samples:g} are needed{_place(row)}"
        ),
        in_rehearsal=lambda _: "runs with fewer loaded samples than the round asks for",
    ),
    Rule(
        id="P-05",
        row=RunRow,
        what="The three effective seeds are those of the round (for TEST05 its own).",
        why="The official checker refuses the result.",
        remedy="Use the round's seeds and run again; conf files of another round have others.",
        passes=lambda d: ~_timed(d) | (d.seeds == d.expected_seeds),
        message=lambda row: (
            f"seeds (qsl, sample index, schedule) are {row.seeds}, not {row.expected_seeds}{_place(row)}"
        ),
    ),
    Rule(
        id="P-06",
        row=RunRow,
        what="The configured minimum duration is at least 600 s.",
        why="The official checker refuses the result.",
        remedy="Set min_duration to 600000 ms and run again.",
        passes=lambda d: ~_timed(d) | ~(d.min_duration_ms < d.needed_duration_ms),
        message=lambda row: (
            f"effective_min_duration_ms is {row.min_duration_ms:g}, at least "
            f"{row.needed_duration_ms:g} are needed{_place(row)}"
        ),
        in_rehearsal=lambda row: (
            f"runs of {row.min_duration_ms / 1000:g} s instead of {row.needed_duration_ms / 1000:g} s"
        ),
    ),
    Rule(
        id="P-07",
        row=RunRow,
        what="An Offline run has at least one query.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: ~_offline(d) | ~(d.min_query_count < 1),
        message=lambda row: f"effective_min_query_count is {row.min_query_count:g}{_place(row)}",
    ),
    Rule(
        id="P-08",
        row=RunRow,
        what="An Offline query has at least as many samples as the round asks for the model.",
        why="The official checker refuses the result.",
        remedy="Raise target_qps, or min_query_count, so that the query becomes larger, and run again.",
        passes=lambda d: ~_offline(d) | ~(d.samples_per_query < d.needed_samples_per_query),
        message=lambda row: (
            f"effective_samples_per_query is {row.samples_per_query:g}, at least "
            f"{row.needed_samples_per_query:g} are needed{_place(row)}"
        ),
        in_rehearsal=lambda _: "Offline queries with fewer samples than the round asks for",
    ),
    Rule(
        id="P-10",
        row=RunRow,
        what="The configured target latency of Server is not above the model's limit.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: ~_timed(d) | ~(d.target_latency_ns > d.limit_latency_ns),
        message=lambda row: (
            f"effective_target_latency_ns is {row.target_latency_ns:.0f}, at most "
            f"{row.limit_latency_ns:.0f} are allowed{_place(row)}"
        ),
    ),
    Rule(
        id="P-13",
        row=RunRow,
        what="The detail log is UTF-8, and its lines with the marker hold LoadGen's messages.",
        why="The official checker refuses the result, or crashes on the log of a first compliance test.",
        remedy="Take LoadGen's own file; it must not be edited.",
        passes=lambda d: ~_logged(d) | (d.damage == ""),
        message=lambda row: f"{row.damage}{_place(row)}",
    ),
    Rule(
        id="P-15",
        row=RunRow,
        what="The log has every key that the rules compare, as a number or name.",
        why="The official checker refuses the result (its exception is caught, P-12).",
        remedy="Run again with the round's LoadGen; a log without these keys is of a run that did not end.",
        passes=lambda d: ~_timed(d) | (d.missing == ""),
        message=lambda row: f"missing, or of another type: {row.missing}{_place(row)}",
    ),
    Rule(
        id="P-16",
        row=RunRow,
        what="The result is a positive number.",
        why="The official checker drops a zero without a word (G-05); negative numbers and NaN pass it.",
        remedy="Run longer, so that LoadGen can make an estimate; take LoadGen's own file.",
        passes=lambda d: (
            (d.kind != RunKind.PERFORMANCE)
            | ~d.exists
            | (d.damage != "")
            | (d.missing != "")
            | (d.no_token_metric != "")
            | ((d.result > 0) & (d.result < math.inf))
        ),
        message=lambda row: f"the result is {row.result:g}",
    ),
    Rule(
        id="P-17",
        row=RunRow,
        what="The log of a token model has the token metric that is its result.",
        why="The official checker refuses the result.",
        remedy="Run with use_token_latencies (gptj: token_latency_scaling_factor) of the round's LoadGen.",
        passes=lambda d: ~_timed(d) | (d.no_token_metric == ""),
        message=lambda row: f"{row.no_token_metric} is missing{_place(row)}",
    ),
    Rule(
        id="N-04",
        row=RunRow,
        what="The SUT name of a network system holds `Network SUT`.",
        why="The official checker refuses the result.",
        remedy="Give the SUT such a name and run again.",
        passes=lambda d: ~_timed(d) | ~d.network | d.sut_name.str.contains(NETWORK_SUT, regex=False),
        message=lambda row: f"sut_name is {row.sut_name!r}{_place(row)}",
    ),
    Rule(
        id="V-13",
        row=RunRow,
        what="From v5.0, the first line of a detail log is a message.",
        why="The checker of these rounds breaks off.",
        remedy="Take LoadGen's own file.",
        passes=lambda d: d.first_line_is_message,
        message=lambda _: "the log begins with a line that is no message",
        later=True,
    ),
    Rule(
        id="+early-stopping",
        row=RunRow,
        what="The early stopping condition of Server and the stream scenarios is met.",
        why="v4.1 logs an error and accepts (P-09); later rounds refuse (V-05).",
        remedy="Run longer, or lower the target.",
        passes=lambda d: ~_timed(d) | ~d.uses_early_stopping | d.early_stopping_met,
        message=lambda row: f"early_stopping_met is false{_place(row)}",
        severity="warning",
        in_rehearsal=lambda _: "runs with too few queries for early stopping",
    ),
    Rule(
        id="+later-validity",
        row=RunRow,
        what="No later line of the log takes back that the run was valid.",
        why="The checker reads the first value of a key and no other (P-14).",
        remedy="Take LoadGen's own file of one run.",
        passes=lambda d: d.later_validity.isin(["", "VALID"]) | (d.validity != "VALID"),
        message=lambda row: f"result_validity is first {row.validity}, then {row.later_validity}",
        severity="warning",
    ),
    Rule(
        id="+short-run",
        row=RunRow,
        what="The run really took 600 s.",
        why="The checker only reads the configured minimum (X-01).",
        remedy="Run again with the full length.",
        passes=lambda d: (
            ~_timed(d)
            | (d.test_mode != "PerformanceOnly")
            | ~(d.measured_duration_ms < 0.999 * d.needed_duration_ms)
            | (d.min_duration_ms < d.needed_duration_ms)
        ),
        message=lambda row: f"the run took {row.measured_duration_ms / 1000:.1f} s{_place(row)}",
        severity="warning",
        in_rehearsal=lambda _: "runs that took less than the round's minimum",
    ),
    Rule(
        id="+measured-latency",
        row=RunRow,
        what="The measured 99th percentile latency of Server is within the limit.",
        why="The checker compares the configured target only (X-02).",
        remedy="Lower target_qps and run again.",
        passes=lambda d: ~_timed(d) | ~(d.measured_latency_ns > d.limit_measured_ns),
        message=lambda row: (
            f"the 99th percentile is {row.measured_latency_ns:.0f} ns, the limit "
            f"{row.limit_measured_ns:.0f} ns{_place(row)}"
        ),
        severity="warning",
        in_rehearsal=lambda _: "runs over the latency limit",
    ),
    Rule(
        id="+target-percentile",
        row=RunRow,
        what="The target percentile is 0.99 in Server and 0.9 in SingleStream.",
        why="The checker does not look (X-03).",
        remedy=_AGAIN,
        passes=lambda d: (
            ~_timed(d)
            | d.target_percentile.isna()
            | ~d.scenario.isin([Scenario.SERVER, Scenario.SINGLE_STREAM])
            | ((d.target_percentile - d.scenario.map(_PERCENTILES).astype(float)).abs() < 1e-6)
        ),
        message=lambda row: f"effective_target_latency_percentile is {row.target_percentile:g}{_place(row)}",
        severity="warning",
    ),
    Rule(
        id="+samples-per-query",
        row=RunRow,
        what="A MultiStream query has 8 samples.",
        why="The checker does not look (X-11).",
        remedy=_AGAIN,
        passes=lambda d: ~_timed(d) | (d.scenario != Scenario.MULTI_STREAM) | (d.samples_per_query == 8),
        message=lambda row: f"effective_samples_per_query is {row.samples_per_query:g}{_place(row)}",
        severity="warning",
    ),
    Rule(
        id="+test-mode",
        row=RunRow,
        what="A timed run ran in performance mode.",
        why="The checker does not look (X-06).",
        remedy="Put the log of the performance run there.",
        passes=lambda d: ~_timed(d) | d.test_mode.isin(["", "PerformanceOnly"]),
        message=lambda row: f"effective_test_mode is {row.test_mode}{_place(row)}",
        severity="warning",
    ),
    Rule(
        id="+loadgen-modified",
        row=RunRow,
        what="LoadGen was built without local changes.",
        why="The rules forbid changes; the checker only reads the error message of some builds (X-04).",
        remedy="Build LoadGen from the round's tag and run again.",
        passes=lambda d: ~_timed(d) | ~d.modified,
        message=lambda row: f"loadgen_git_status_message is not empty{_place(row)}",
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+summary",
        row=ResultRow,
        what="The summary and the detail log of a run agree.",
        why="The checker never reads the summary (X-07).",
        remedy="Put the files of one run there.",
        passes=lambda d: d.summary_differs == "",
        message=lambda row: row.summary_differs,
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+other-runs",
        row=ResultRow,
        what="`performance` holds run_1 and, with power, the folders of the power measurement.",
        why="The checker ignores all others (P-01).",
        remedy="Delete them.",
        passes=lambda d: d.other_runs == "",
        message=lambda row: f"folders that nobody reads: {row.other_runs}",
        severity="warning",
        covers="nothing",
    ),
)


def _timed(frame: pd.DataFrame) -> pd.Series[bool]:
    """Performance runs and runs of compliance tests whose logs can be read and are judged (T-08)."""
    return _logged(frame) & (frame.damage == "")


def _logged(frame: pd.DataFrame) -> pd.Series[bool]:
    return (frame.kind != RunKind.ACCURACY) & frame.exists & (frame.judged != "warning")


def _offline(frame: pd.DataFrame) -> pd.Series[bool]:
    return _timed(frame) & (frame.scenario == Scenario.OFFLINE)


def _place(row: RunRow) -> str:
    return "" if row.kind == RunKind.PERFORMANCE else f" ({row.kind})"
