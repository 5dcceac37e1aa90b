"""What only shows between the runs of a submission: overlaps, copies, audits of something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mlperf_submission.rounds import RunKind
from mlperf_submission.submission.times import RESOLUTION
from mlperf_submission.validation.frames import Neighbours, Pairs
from mlperf_submission.validation.rules import Rule, catalogue

TARGET_TOLERANCE = 0.1
"""How far the target of a compliance run may lie from the result's, as a share of it."""
_ACCURACY_IN_NAME = re.compile(r"-[\d.]+$")
_OF_ONE_LOG = (
    *("begin", "end", "effective_target_qps", "seeds", "effective_scenario"),
    "result_99_00_percentile_latency_ns",
)
_COMPARED = (
    *("effective_scenario", "effective_target_qps", "sut_name", "qsl_reported_total_count"),
    *("begin", "end", "result"),
)


def pairs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return every compliance run beside the performance run of its result."""
    kept = runs[["scope", "kind", *_COMPARED]].assign(path=runs.folder)
    results = kept[kept.kind == RunKind.PERFORMANCE].drop(columns=["kind", "path"])
    audits = kept[~kept.kind.isin([RunKind.PERFORMANCE, RunKind.ACCURACY])]
    return audits.merge(results, on="scope", suffixes=("", "_result"))


def neighbours(runs: pd.DataFrame) -> pd.DataFrame:
    """Return every run whose time is known, beside the one before it and the first one with its log."""
    runs = runs[runs.begin.notna() & runs.end.notna()]
    d = runs[["scope", "begin", "end"]].assign(
        path=runs.folder, log=runs.path, first_path=runs.folder, is_twin=True
    )
    d["system"] = d.scope.str.split("/").str[:3].str.join("/")
    own = runs[(runs.kind == RunKind.PERFORMANCE) & ~runs.inferred]
    same = own.assign(
        family=own.model.str.replace(_ACCURACY_IN_NAME, "", regex=True), system=d.system
    ).groupby(list(_OF_ONE_LOG), dropna=False, sort=False)
    d.loc[own.index, "first_path"] = same.folder.transform("first")
    family, system = (same[name].transform("first") == same.obj[name] for name in ("family", "system"))
    d.loc[own.index, "is_twin"] = family & system
    d = d.sort_values(["system", "begin", "end"], kind="stable", ignore_index=True)
    before = d.groupby("system").end.cummax().groupby(d.system).shift()
    last = d.index.to_series().where(~(d.end <= before)).groupby(d.system).ffill().groupby(d.system).shift()
    for name in ("log", "begin", "end"):
        d[f"earlier_{name}"] = d[name].reindex(last).array
    return d.drop(columns="system").fillna({"earlier_log": ""})


def _other_system(row: Mapping[str, Any]) -> str:
    if row["sut_name"] != row["sut_name_result"]:
        return f"{row['kind']}: SUT {row['sut_name']!r}, the result {row['sut_name_result']!r}"
    samples, expected = row["qsl_reported_total_count"], row["qsl_reported_total_count_result"]
    return f"{row['kind']}: a library of {samples:g} samples, the result {expected:g}"


RULES = catalogue(
    {
        "+overlap": Rule(
            Neighbours,
            "The runs of one system do not overlap in time.",
            passes=lambda d: (
                ~(d.begin + RESOLUTION.total_seconds() < d.earlier_end)
                | ((d.begin == d.earlier_begin) & (d.end == d.earlier_end))
            ),
            each="{log}",
            message=lambda row: (
                f"{row['log']} began {row['earlier_end'] - row['begin']:.0f} s before {row['earlier_log']} "
                "ended"
            ),
            why="Two measurements of one machine disturb each other; the checker does not look (X-17). "
            "Runs on several machines of one kind are named too.",
            remedy="Run one after the other, or say in the README that these were several machines.",
            covers="nothing",
        ),
        "+audit-target": Rule(
            Pairs.where(
                lambda d: (d.effective_scenario == "Server") & (d.effective_scenario_result == "Server")
            ),
            "Compliance runs of Server have the result's target, within 10%.",
            passes=lambda d: (
                (d.effective_target_qps_result == 0)
                | ~((d.effective_target_qps / d.effective_target_qps_result - 1).abs() > TARGET_TOLERANCE)
            ),
            each="{kind}: {effective_target_qps:g} queries/s, the result {effective_target_qps_result:g}",
            joint="; ",
            message="{each}",
            why="The checker does not compare them (T-14).",
            remedy="Run the tests with the target of the result.",
        ),
        "+audit-system": Rule(
            Pairs.where(lambda d: (d.sut_name != "") & (d.sut_name_result != "")),
            "Compliance runs are of the SUT and data set of the result.",
            passes=lambda d: (
                (d.sut_name == d.sut_name_result)
                & ~((d.qsl_reported_total_count - d.qsl_reported_total_count_result).abs() > 0)
            ),
            each=_other_system,
            joint="; ",
            message="{each}",
            why="The checker does not compare them (T-14).",
            remedy="Run the tests on the system of the result.",
        ),
        "+audit-copy": Rule(
            Pairs,
            "A compliance run is a run of its own.",
            passes=lambda d: (
                (d.begin != d.begin_result) | (d.end != d.end_result) | (d.result != d.result_result)
            ),
            each="{kind}",
            joint="; ",
            message="the log of the result stands there as {each}",
            why="The checker accepts the result's own log as a compliance run (T-14).",
            remedy="Run the test.",
        ),
        "+same-log": Rule(
            Neighbours,
            "A log stands for one result (the accuracies of a model, as 99 and 99.9, may share theirs).",
            passes=lambda d: (d.first_path == d.path) | d.is_twin,
            message="the log of {first_path} is the same",
            why="The checker does not look (X-14).",
            remedy="Run each result itself.",
            covers="nothing",
        ),
    }
)
