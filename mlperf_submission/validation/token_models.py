"""Sections 9 and 10: large language models (L) and inferred results (I)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.validation.rows_run import RunRow
from mlperf_submission.validation.rules import Rule

RULES = (
    Rule(
        id="L-01",
        row=RunRow,
        what="llama2-70b and mixtral-8x7b run with use_token_latencies in every scenario.",
        why="The official checker refuses the result.",
        remedy="Set use_token_latencies to 1 and run again.",
        passes=lambda d: ~_token(d) | d.token_latencies_on,
        message=lambda _: "requested_use_token_latencies is not on",
    ),
    Rule(
        id="L-02",
        row=RunRow,
        what="The 99th percentiles of the time to the first token and per token are below their limits.",
        why="The official checker refuses the result.",
        remedy="Lower target_qps and run again.",
        passes=lambda d: (
            ~_token(d)
            | ~((d.first_token_ns >= d.limit_first_token_ns) | (d.per_token_ns >= d.limit_per_token_ns))
        ),
        message=lambda row: (
            f"first token {row.first_token_ns:.0f} ns (below {row.limit_first_token_ns:.0f}), "
            f"per token {row.per_token_ns:.0f} ns (below {row.limit_per_token_ns:.0f})"
        ),
        in_rehearsal=lambda _: "runs over a latency limit of tokens",
    ),
    Rule(
        id="+token-run-invalid",
        row=RunRow,
        what="LoadGen called the run of a token model VALID.",
        why="The checker replaces LoadGen's verdict of these models by its own look at the tokens (L-05).",
        remedy="The summary says why it is not valid; tune the target and run again.",
        passes=lambda d: ~_token(d) | ~d.tokens_decide | (d.validity == "VALID"),
        message=lambda row: f"result_validity is {row.validity or 'missing'}",
        severity="warning",
        in_rehearsal=lambda _: "runs that LoadGen calls INVALID",
    ),
    Rule(
        id="+scenario-differs",
        row=RunRow,
        what="The log is of the scenario that its folder names, or one that the result may be inferred from.",
        why="The checker takes any log's value as the folder's result: an Offline throughput passes as "
        "Server (I-04, X-08).",
        remedy="Put the log of the folder's own scenario there.",
        passes=lambda d: (
            (d.damage != "")
            | ~d.exists
            | (d.scenario == "")
            | (d.scenario == d.directory_scenario)
            | (d.inferred & (d.kind == RunKind.PERFORMANCE))
            | ((d.scenario == Scenario.SERVER) & (d.directory_scenario == Scenario.INTERACTIVE))
            | ((d.kind != RunKind.PERFORMANCE) & _may_be_inferred(d))
        ),
        message=lambda row: (
            f"the log of {row.kind} is of scenario {row.scenario}, the folder is {row.directory_scenario}"
        ),
        severity="warning",
    ),
    Rule(
        id="+inferred-datacenter",
        row=RunRow,
        what="Only results of edge systems are inferred from another scenario.",
        why="v4.1 allows it everywhere (I-05); later rounds refuse it (V-07).",
        remedy="Run the scenario itself.",
        passes=lambda d: ~d.inferred | d.edge | (d.kind != RunKind.PERFORMANCE),
        message=lambda row: f"the result of {row.directory_scenario} is inferred from {row.scenario}",
        severity="warning",
    ),
)


def _token(frame: pd.DataFrame) -> pd.Series[bool]:
    return (frame.kind == RunKind.PERFORMANCE) & frame.token_model & frame.exists & (frame.damage == "")


def _may_be_inferred(frame: pd.DataFrame) -> pd.Series[bool]:
    single = frame.scenario == Scenario.SINGLE_STREAM
    multi = frame.scenario == Scenario.MULTI_STREAM
    offline = frame.directory_scenario == Scenario.OFFLINE
    return (single & (offline | (frame.directory_scenario == Scenario.MULTI_STREAM))) | (multi & offline)
