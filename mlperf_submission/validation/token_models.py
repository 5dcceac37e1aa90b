"""Sections 9 and 10: large language models (L) and inferred results (I)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.validation.frames import Runs
from mlperf_submission.validation.rules import Rule, catalogue


def _tokens(d: pd.DataFrame) -> pd.Series[bool]:
    return d.token_model & d.timed & (d.kind == RunKind.PERFORMANCE)


def _may_be_inferred(d: pd.DataFrame) -> pd.Series[bool]:
    single = d.effective_scenario == Scenario.SINGLE_STREAM
    multi = d.effective_scenario == Scenario.MULTI_STREAM
    offline = d.folder_scenario == Scenario.OFFLINE
    return (single & (offline | (d.folder_scenario == Scenario.MULTI_STREAM))) | (multi & offline)


RULES = catalogue(
    {
        "L-01": Rule(
            Runs.where(_tokens),
            "llama2-70b and mixtral-8x7b run with use_token_latencies in every scenario.",
            passes=lambda d: d.requested_use_token_latencies,
            message="requested_use_token_latencies is not on",
            remedy="Set use_token_latencies to 1 and run again.",
        ),
        "L-02": Rule(
            Runs.where(_tokens),
            "The 99th percentiles of the time to the first token and per token are below their limits.",
            passes=lambda d: (
                ~(
                    (d.result_first_token_99_00_percentile_latency_ns >= d.max_first_token_ns)
                    | (d.result_time_per_output_token_99_00_percentile_ns >= d.max_per_token_ns)
                )
            ),
            message="first token {result_first_token_99_00_percentile_latency_ns:.0f} ns (below "
            "{max_first_token_ns:.0f}), per token {result_time_per_output_token_99_00_percentile_ns:.0f} ns "
            "(below {max_per_token_ns:.0f})",
            remedy="Lower target_qps and run again.",
            in_rehearsal="runs over a latency limit of tokens",
        ),
        "+token-run-invalid": Rule(
            Runs.where(_tokens),
            "LoadGen called the run of a token model VALID.",
            passes=lambda d: ~d.tokens_decide | (d.result_validity == "VALID"),
            message=lambda row: f"result_validity is {row['result_validity'] or 'missing'}",
            why="The checker replaces LoadGen's verdict of these models by its own look at the tokens "
            "(L-05).",
            remedy="The summary says why it is not valid; tune the target and run again.",
            in_rehearsal="runs that LoadGen calls INVALID",
        ),
        "+scenario-differs": Rule(
            Runs.where(lambda d: d.readable & (d.effective_scenario != "")),
            "The log is of the scenario that its folder names, or one that the result may be inferred from.",
            passes=lambda d: (
                (d.effective_scenario == d.folder_scenario)
                | (d.inferred & (d.kind == RunKind.PERFORMANCE))
                | ((d.effective_scenario == Scenario.SERVER) & (d.folder_scenario == Scenario.INTERACTIVE))
                | ((d.kind != RunKind.PERFORMANCE) & _may_be_inferred(d))
            ),
            message="the log of {kind} is of scenario {effective_scenario}, the folder is {folder_scenario}",
            why="The checker takes any log's value as the folder's result: an Offline throughput passes as "
            "Server (I-04, X-08).",
            remedy="Put the log of the folder's own scenario there.",
        ),
        "+inferred-datacenter": Rule(
            Runs.where(lambda d: d.inferred & (d.kind == RunKind.PERFORMANCE)),
            "Only results of edge systems are inferred from another scenario.",
            passes=lambda d: d.edge,
            message="the result of {folder_scenario} is inferred from {effective_scenario}",
            why="v4.1 allows it everywhere (I-05); later rounds refuse it (V-07).",
            remedy="Run the scenario itself.",
        ),
    }
)
