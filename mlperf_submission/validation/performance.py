"""Section 8: the performance run (P), with the network's SUT name (N-04)."""

from __future__ import annotations

import math

import pandas as pd

from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.validation.frames import Files, Needs, Readings, Results, Runs
from mlperf_submission.validation.rules import Rule, catalogue, fits, holds_exactly, of_folder

PERCENTILES = {str(Scenario.SERVER): 0.99, str(Scenario.SINGLE_STREAM): 0.9}
EARLY_STOPPING = (Scenario.SERVER, Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
NETWORK_SUT = "Network SUT"
UNMODIFIED = ("", "NA")
"""LoadGen of a package index does not know its sources' state, and says NA."""
_AGAIN = "Correct the setting and run again."


def timed(d: pd.DataFrame) -> pd.Series[bool]:
    """Performance runs and runs of compliance tests whose logs can be read and are judged (T-08)."""
    return d.timed


def offline(d: pd.DataFrame) -> pd.Series[bool]:
    """Timed runs whose log says Offline."""
    return d.timed & (d.effective_scenario == Scenario.OFFLINE)


def server(d: pd.DataFrame) -> pd.Series[bool]:
    """Timed runs whose log says Server."""
    return d.timed & (d.effective_scenario == Scenario.SERVER)


RULES = catalogue(
    {
        "P-01": holds_exactly(
            Files.where(folder="performance"),
            "`performance/run_1` is there and holds exactly the summary and the detail log (and spl.txt "
            "with power); the accuracy log, the trace and results.json may lie there.",
            message=of_folder("performance/run_1"),
        ),
        "V-01": Rule(
            Files.where(folder="logs"),
            "From v6.0, the detail logs of the performance run and the accuracy run are there.",
            passes=fits,
            message="missing: {each}",
            why="The module crashes without them.",
            remedy="Add LoadGen's log of the run, or run again.",
            later=True,
        ),
        "P-02": Rule(
            Runs.where(timed),
            "LoadGen called the run VALID.",
            passes=lambda d: d.tokens_decide | (d.result_validity == "VALID"),
            message=lambda row: f"result_validity is {row['result_validity'] or 'missing'}{row['place']}",
            why="The official checker refuses the result; of token models in v4.1 see L-05. The module "
            "does not look any more (V-03), but the rules ask for it.",
            remedy="The summary says why it is not valid; tune the target and run again.",
            in_rehearsal="runs that LoadGen calls INVALID",
        ),
        "P-03": Rule(
            Runs.where(timed),
            "The log holds no message that LoadGen marks as an error.",
            passes=lambda d: ~d.errors_refuse | (d.error_count == 0),
            message="{error_count} errors, the first: {first_error}{place}",
            why="The official checker refuses the result. The module does not reach its own check (V-04).",
            remedy="Mend what the message says and run again.",
        ),
        "P-04": Rule(
            Runs.where(timed),
            "At least as many samples are loaded as the round asks for the model.",
            passes=lambda d: ~(d.effective_performance_sample_count < d.min_loaded_samples),
            message="effective_performance_sample_count is {effective_performance_sample_count:g}, at least "
            "{min_loaded_samples:g} are needed{place}",
            remedy="Raise performance_sample_count_override and run again.",
            in_rehearsal="runs with fewer loaded samples than the round asks for",
        ),
        "P-05": Rule(
            Runs.where(timed),
            "The three effective seeds are those of the round (for TEST05 its own).",
            passes=lambda d: d.seeds == d.expected_seeds,
            message="seeds (qsl, sample index, schedule) are {seeds}, not {expected_seeds}{place}",
            remedy="Use the round's seeds and run again; conf files of another round have others.",
        ),
        "P-06": Rule(
            Runs.where(timed),
            "The configured minimum duration is at least 600 s.",
            passes=lambda d: ~(d.effective_min_duration_ms < d.min_duration_ms),
            message="effective_min_duration_ms is {effective_min_duration_ms:g}, at least "
            "{min_duration_ms:g} are needed{place}",
            remedy="Set min_duration to 600000 ms and run again.",
            in_rehearsal=lambda row: (
                f"runs of {row['effective_min_duration_ms'] / 1000:g} s "
                f"instead of {row['min_duration_ms'] / 1000:g} s"
            ),
        ),
        "P-07": Rule(
            Runs.where(offline),
            "An Offline run has at least one query.",
            passes=lambda d: ~(d.effective_min_query_count < 1),
            message="effective_min_query_count is {effective_min_query_count:g}{place}",
            remedy=_AGAIN,
        ),
        "P-08": Rule(
            Runs.where(offline),
            "An Offline query has at least as many samples as the round asks for the model.",
            passes=lambda d: ~d.counts_samples | ~(d.effective_samples_per_query < d.min_samples_per_query),
            message="effective_samples_per_query is {effective_samples_per_query:g}, at least "
            "{min_samples_per_query:g} are needed{place}",
            remedy="Raise target_qps, or min_query_count, so that the query becomes larger, and run again.",
            in_rehearsal="Offline queries with fewer samples than the round asks for",
        ),
        "P-10": Rule(
            Runs.where(server),
            "The configured target latency of Server is not above the model's limit.",
            passes=lambda d: ~(d.effective_target_latency_ns > d.max_target_latency_ns),
            message="effective_target_latency_ns is {effective_target_latency_ns:.0f}, at most "
            "{max_target_latency_ns:.0f} are allowed{place}",
            remedy=_AGAIN,
        ),
        "P-13": Rule(
            Readings.where(role="log"),
            "The detail log is UTF-8, and its lines with the marker hold LoadGen's messages.",
            passes=lambda d: d.readable,
            message="{problem}{name}",
            why="The official checker refuses the result, or crashes on the log of a first compliance test.",
            remedy="Take LoadGen's own file; it must not be edited.",
        ),
        "P-15": Rule(
            Needs.where(lambda d: ~d.is_token_metric),
            "The log has every key that the rules compare, as a number or name.",
            passes=lambda d: d.exists,
            each="{key}",
            message="missing, or of another type: {each}{place}",
            why="The official checker refuses the result (its exception is caught, P-12).",
            remedy="Run again with the round's LoadGen; a log without these keys is of a run that did not "
            "end.",
        ),
        "P-16": Rule(
            Runs.where(lambda d: d.complete & (d.kind == RunKind.PERFORMANCE)),
            "The result is a positive number.",
            passes=lambda d: (d.result > 0) & (d.result < math.inf),
            message="the result is {result:g}",
            why="The official checker drops a zero without a word (G-05); negative numbers and NaN pass it.",
            remedy="Run longer, so that LoadGen can make an estimate; take LoadGen's own file.",
        ),
        "P-17": Rule(
            Needs.where(lambda d: d.is_token_metric),
            "The log of a token model has the token metric that is its result.",
            passes=lambda d: d.exists,
            message="{key} is missing{place}",
            remedy="Run with use_token_latencies (gptj: token_latency_scaling_factor) of the round's "
            "LoadGen.",
        ),
        "N-04": Rule(
            Runs.where(timed),
            "The SUT name of a network system holds `Network SUT`.",
            passes=lambda d: ~d.network | d.sut_name.str.contains(NETWORK_SUT, regex=False),
            message="sut_name is {sut_name!r}{place}",
            remedy="Give the SUT such a name and run again.",
        ),
        "V-13": Rule(
            Runs.where(lambda d: d.readable),
            "From v5.0, the first line of a detail log is a message.",
            passes=lambda d: d.first_line_is_message,
            message="the log begins with a line that is no message",
            why="The checker of these rounds breaks off.",
            remedy="Take LoadGen's own file.",
            later=True,
        ),
        "+early-stopping": Rule(
            Runs.where(timed),
            "The early stopping condition of Server and the stream scenarios is met.",
            passes=lambda d: d.early_stopping_met | ~d.effective_scenario.isin(EARLY_STOPPING),
            message="early_stopping_met is false{place}",
            why="v4.1 logs an error and accepts (P-09); later rounds refuse (V-05).",
            remedy="Run longer, or lower the target.",
            in_rehearsal="runs with too few queries for early stopping",
        ),
        "+later-validity": Rule(
            Runs,
            "No later line of the log takes back that the run was valid.",
            passes=lambda d: d.later_validity.isin(["", "VALID"]) | (d.result_validity != "VALID"),
            message="result_validity is first {result_validity}, then {later_validity}",
            why="The checker reads the first value of a key and no other (P-14).",
            remedy="Take LoadGen's own file of one run.",
        ),
        "+short-run": Rule(
            Runs.where(lambda d: d.timed & (d.effective_test_mode == "PerformanceOnly")),
            "The run really took 600 s.",
            passes=lambda d: (
                ~((d.end - d.begin) * 1000 < 0.999 * d.min_duration_ms)
                | (d.effective_min_duration_ms < d.min_duration_ms)
            ),
            message=lambda row: f"the run took {row['end'] - row['begin']:.1f} s{row['place']}",
            why="The checker only reads the configured minimum (X-01).",
            remedy="Run again with the full length.",
            in_rehearsal="runs that took less than the round's minimum",
        ),
        "+measured-latency": Rule(
            Runs.where(server),
            "The measured 99th percentile latency of Server is within the limit.",
            passes=lambda d: ~(d.result_99_00_percentile_latency_ns > d.max_measured_latency_ns),
            message="the 99th percentile is {result_99_00_percentile_latency_ns:.0f} ns, the limit "
            "{max_measured_latency_ns:.0f} ns{place}",
            why="The checker compares the configured target only (X-02).",
            remedy="Lower target_qps and run again.",
            in_rehearsal="runs over the latency limit",
        ),
        "+target-percentile": Rule(
            Runs.where(lambda d: d.timed & d.effective_scenario.isin(PERCENTILES)),
            "The target percentile is 0.99 in Server and 0.9 in SingleStream.",
            passes=lambda d: (
                ~(
                    (d.effective_target_latency_percentile - d.effective_scenario.map(PERCENTILES)).abs()
                    >= 1e-6
                )
            ),
            message="effective_target_latency_percentile is {effective_target_latency_percentile:g}{place}",
            why="The checker does not look (X-03).",
            remedy=_AGAIN,
        ),
        "+samples-per-query": Rule(
            Runs.where(lambda d: d.timed & (d.effective_scenario == Scenario.MULTI_STREAM)),
            "A MultiStream query has 8 samples.",
            passes=lambda d: d.effective_samples_per_query == 8,
            message="effective_samples_per_query is {effective_samples_per_query:g}{place}",
            why="The checker does not look (X-11).",
            remedy=_AGAIN,
        ),
        "+test-mode": Rule(
            Runs.where(timed),
            "A timed run ran in performance mode.",
            passes=lambda d: d.effective_test_mode.isin(["", "PerformanceOnly"]),
            message="effective_test_mode is {effective_test_mode}{place}",
            why="The checker does not look (X-06).",
            remedy="Put the log of the performance run there.",
        ),
        "+loadgen-modified": Rule(
            Runs.where(timed),
            "LoadGen was built without local changes.",
            passes=lambda d: d.loadgen_git_status_message.isin(UNMODIFIED),
            message="loadgen_git_status_message is not empty{place}",
            why="The rules forbid changes; the checker only reads the error message of some builds (X-04).",
            remedy="Build LoadGen from the round's tag and run again.",
            covers="nothing",
        ),
        "+summary": Rule(
            Results.where(lambda d: (d.summary_validity != "") & (d.result_validity != "")),
            "The summary and the detail log of a run agree.",
            passes=lambda d: d.summary_validity == d.result_validity,
            message="the summary says {summary_validity}, the log {result_validity}",
            why="The checker never reads the summary (X-07).",
            remedy="Put the files of one run there.",
            covers="nothing",
        ),
        "+other-runs": Rule(
            Files.where(folder="runs"),
            "`performance` holds run_1 and, with power, the folders of the power measurement.",
            passes=fits,
            message="folders that nobody reads: {each}",
            why="The checker ignores all others (P-01).",
            remedy="Delete them.",
            covers="nothing",
        ),
    }
)
