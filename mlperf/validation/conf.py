"""Conf files as the official checker reads them, and beside the log of the run that they describe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlperf.rounds import ModelRules
from mlperf.validation.tree import Text, lines

_LOG_KEYS: Mapping[str, str] = {
    "target_qps": "effective_target_qps",
    "target_latency": "effective_target_latency_ns",
    "target_latency_percentile": "effective_target_latency_percentile",
    "min_duration": "effective_min_duration_ms",
    "max_duration": "effective_max_duration_ms",
    "min_query_count": "effective_min_query_count",
    "max_query_count": "effective_max_query_count",
    "performance_sample_count_override": "effective_performance_sample_count",
    "qsl_rng_seed": "effective_qsl_rng_seed",
    "sample_index_rng_seed": "effective_sample_index_rng_seed",
    "schedule_rng_seed": "effective_schedule_rng_seed",
    "sample_concatenate_permutation": "effective_sample_concatenate_permutation",
    "performance_issue_unique": "effective_performance_issue_unique",
    "performance_issue_same": "effective_performance_issue_same",
}
"""Keys of a conf file and the log's effective value; latencies of conf files are ms."""
_FACTORS = {"target_latency": 1e6, "target_latency_percentile": 0.01}
_RELATIVE = 1e-3


@dataclass(frozen=True)
class EqualIssue:
    """What the checker makes of a conf file for equal issue mode.

    Attributes:
        switch: on, off, or None where the file does not say.
        problem: the line that it stumbles over; empty if none.
    """

    switch: bool | None
    problem: str


def equal_issue(text: Text, model_directory: str, scenario_folder: str) -> EqualIssue:
    """Read `sample_concatenate_permutation` by the checker's rules (E-10, E-12): the first line counts."""
    name = model_directory.replace("-99.9", "").replace("-99", "")
    if text.problem:
        return EqualIssue(None, text.problem)
    for raw in lines(text.content):
        line = raw.replace(" ", "")
        if not line or line.startswith("#"):
            continue
        parts = line.split("=")
        key = parts[0].split(".")
        if len(parts) != 2 or len(key) != 3:
            return EqualIssue(None, f"line {raw[:80]!r}")
        fits = key[0] in (name, "*") and key[1] in (scenario_folder, "*")
        if fits and key[2] == "sample_concatenate_permutation" and parts[1].isnumeric():
            if not parts[1].isdecimal():
                return EqualIssue(None, f"line {raw[:80]!r}")
            return EqualIssue(int(parts[1]) == 1, "")
    return EqualIssue(None, "")


def differences(text: Text, names: frozenset[str], scenario: str, log: Mapping[str, Any]) -> str:
    """Return where a user.conf and the log of its run disagree, as text; empty if they agree.

    Args:
        text: the user.conf.
        names: model names that its lines may use for this model, besides `*`.
        scenario: the logged scenario.
        log: values of the detail log.
    """
    settings: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for raw in lines(text.content):
        key, _, value = raw.partition("#")[0].partition("=")
        parts = key.strip().rsplit(".", 2)
        if len(parts) != 3 or not value.strip():
            continue
        model, line_scenario, name = (part.strip() for part in parts)
        if model not in names | {"*"} or line_scenario not in (scenario, "*"):
            continue
        rank = 2 * (line_scenario != "*") + (model != "*")
        if rank >= ranks.get(name, 0):
            settings[name], ranks[name] = value.strip(), rank
    found = []
    for name, value in settings.items():
        logged = log.get(_LOG_KEYS.get(name, ""))
        asked = _number(value) * _FACTORS.get(name, 1.0)
        if isinstance(logged, bool):
            logged = float(logged)
        if name == "target_latency" and scenario not in ("Server", "SingleStream", "MultiStream"):
            continue
        if not isinstance(logged, int | float) or math.isnan(asked):
            continue
        if not math.isclose(asked, float(logged), rel_tol=_RELATIVE, abs_tol=1e-9):
            found.append(f"{name} is {value} in user.conf and {logged:g} in the log")
    return "; ".join(found)


def conf_names(model: ModelRules, directory: str) -> frozenset[str]:
    """Return the names that stand for a model in conf files: e.g. `resnet50` for `resnet`."""
    short = model.name.removesuffix("-99.9").removesuffix("-99")
    more = {"resnet": "resnet50", "mixtral-8x7b": "mixtral-8x7B"}.get(short, short)
    return frozenset({model.name, short, more, directory})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
