"""The rounds of MLPerf Inference as data: seeds, durations, counts, limits, targets, audits.

Code asks a round; it never compares version strings. Values of a round are taken from its official
`mlperf.conf` and submission checker (mlcommons/inference at the round's tag).
"""

from __future__ import annotations

from collections.abc import Mapping

from mlperf_submission.errors import SettingError
from mlperf_submission.rounds.types import (
    AccuracyTarget,
    Checker,
    ModelRules,
    Round,
    RunKind,
    Scenario,
    Seeds,
    TokenLimits,
)
from mlperf_submission.rounds.v4 import V4_0, V4_1
from mlperf_submission.rounds.v5 import V5_0, V5_1
from mlperf_submission.rounds.v6 import V6_0, V6_1

__all__ = [
    "ROUNDS",
    "V4_1",
    "AccuracyTarget",
    "Checker",
    "ModelRules",
    "Round",
    "RunKind",
    "Scenario",
    "Seeds",
    "TokenLimits",
    "get_round",
]

ROUNDS: Mapping[str, Round] = {round_.name: round_ for round_ in (V4_0, V4_1, V5_0, V5_1, V6_0, V6_1)}


def get_round(name: str) -> Round:
    """Return a round by its name, e.g. `v4.1`.

    Raises:
        SettingError: the round is unknown; the message lists the known ones.
    """
    if name not in ROUNDS:
        raise SettingError(f"unknown round {name!r}", remedy=f"known rounds: {', '.join(ROUNDS)}")
    return ROUNDS[name]
