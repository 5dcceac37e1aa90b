"""Sections 9 and 10: large language models (L) and inferred results (I)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.validation.frames import Runs
from mlperf_submission.validation.rules import Rule


def _tokens(d: pd.DataFrame) -> pd.Series[bool]:
    return d.token_model & d.timed & (d.kind == RunKind.PERFORMANCE)


def _may_be_inferred(d: pd.DataFrame) -> pd.Series[bool]:
    single = d.effective_scenario == Scenario.SINGLE_STREAM
    multi = d.effective_scenario == Scenario.MULTI_STREAM
    offline = d.folder_scenario == Scenario.OFFLINE
    return (single & (offline | (d.folder_scenario == Scenario.MULTI_STREAM))) | (multi & offline)


RULES = (
    Rule(
        "L-01",
        Runs,
        "llama2-70b and mixtral-8x7b run with use_token_latencies in every scenario.",
        of=_tokens,
        passes=lambda d: d.requested_use_token_latencies,
        message="requested_use_token_latencies is not on",
        remedy="Set use_token_latencies to 1 and run again.",
    ),
    Rule(
        "L-02",
        Runs,
        "The 99th percentiles of the time to the first token and per token are below their limits.",
        of=_tokens,
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
    Rule(
        "+token-run-invalid",
        Runs,
        "LoadGen called the run of a token model VALID.",
        of=_tokens,
        passes=lambda d: ~d.tokens_decide | (d.result_validity == "VALID"),
        message=lambda row: f"result_validity is {row['result_validity'] or 'missing'}",
        why="The checker replaces LoadGen's verdict of these models by its own look at the tokens (L-05).",
        remedy="The summary says why it is not valid; tune the target and run again.",
        in_rehearsal="runs that LoadGen calls INVALID",
    ),
    Rule(
        "+scenario-differs",
        Runs,
        "The log is of the scenario that its folder names, or one that the result may be inferred from.",
        of=lambda d: d.readable & (d.effective_scenario != ""),
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
    Rule(
        "+inferred-datacenter",
        Runs,
        "Only results of edge systems are inferred from another scenario.",
        of=lambda d: d.inferred & (d.kind == RunKind.PERFORMANCE),
        passes=lambda d: d.edge,
        message="the result of {folder_scenario} is inferred from {effective_scenario}",
        why="v4.1 allows it everywhere (I-05); later rounds refuse it (V-07).",
        remedy="Run the scenario itself.",
    ),
)
