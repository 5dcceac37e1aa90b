"""The rounds of MLPerf Inference as data: seeds, durations, counts, limits, targets, audits.

Code asks a round; it never compares version strings. Values of a round are taken from its official
`mlperf.conf` and submission checker (mlcommons/inference at the round's tag).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from common.errors import SettingError


class Scenario(StrEnum):
    """LoadGen's scenarios, in the spelling of the official tree."""

    OFFLINE = "Offline"
    SERVER = "Server"
    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    INTERACTIVE = "Interactive"


class RunKind(StrEnum):
    """What one LoadGen run is for."""

    PERFORMANCE = "performance"
    ACCURACY = "accuracy"
    TEST01 = "TEST01"
    TEST04 = "TEST04"
    TEST05 = "TEST05"

    @property
    def is_audit(self) -> bool:
        """Whether the run is one of the compliance tests."""
        return self.name.startswith("TEST")


@dataclass(frozen=True)
class Seeds:
    """The three random seeds of LoadGen."""

    qsl: int
    sample_index: int
    schedule: int


@dataclass(frozen=True)
class AccuracyTarget:
    """One metric with its floor (inclusive) and, for a few, its ceiling (inclusive)."""

    metric: str
    floor: float
    ceiling: float | None = None


@dataclass(frozen=True)
class ModelRules:
    """What a round asks of one model (checker name, e.g. `resnet`, `bert-99`).

    Counts are samples, latencies nanoseconds. `offline_min_samples` and `server_target_latency_ns` are None
    where the scenario has none.
    """

    name: str
    performance_sample_count: int
    offline_min_samples: int | None
    server_target_latency_ns: int | None
    dataset_size: int
    accuracy: tuple[AccuracyTarget, ...]
    datacenter: frozenset[Scenario]
    edge: frozenset[Scenario]
    audits: tuple[RunKind, ...]
    equal_issue: bool = False
    tokens_per_sample: int | None = None
    """Factor of LoadGen's inferred tokens/s (`token_latency_scaling_factor`); None: results are in samples."""


@dataclass(frozen=True)
class Round:
    """One round: what is the same for all of its models, and its models."""

    name: str
    seeds: Seeds
    test05_seeds: Seeds | None
    min_duration_ms: int
    models: Mapping[str, ModelRules]
    aliases: Mapping[str, str]
    """Directory names that stand for a model, e.g. `resnet50` for `resnet`."""

    def model(self, name: str) -> ModelRules:
        """Return the rules of a model by its directory name or its checker name.

        Raises:
            SettingError: the round does not accept this model.
        """
        rules = self.models.get(self.aliases.get(name, name))
        if rules is None:
            raise SettingError(
                f"round {self.name} has no model {name!r}",
                remedy=f"its models are: {', '.join(sorted({*self.models, *self.aliases}))}",
            )
        return rules


_OFFLINE = frozenset({Scenario.OFFLINE})
_OFFLINE_SERVER = frozenset({Scenario.OFFLINE, Scenario.SERVER})
_SINGLE_OFFLINE = frozenset({Scenario.SINGLE_STREAM, Scenario.OFFLINE})
_EDGE_VISION = _SINGLE_OFFLINE | {Scenario.MULTI_STREAM}
_MS = 1_000_000

V4_1 = Round(
    name="v4.1",
    seeds=Seeds(3066443479025735752, 10688027786191513374, 14962580496156340209),
    test05_seeds=Seeds(16799458546791641818, 5453809927556429288, 5435552105434836064),
    min_duration_ms=600_000,
    aliases={"resnet50": "resnet"},
    models={
        rules.name: rules
        for rules in (
            ModelRules(
                name="resnet",
                performance_sample_count=1024,
                offline_min_samples=24576,
                server_target_latency_ns=15 * _MS,
                dataset_size=50_000,
                accuracy=(AccuracyTarget("acc", 76.46 * 0.99),),
                datacenter=_OFFLINE_SERVER,
                edge=_EDGE_VISION,
                audits=(RunKind.TEST01, RunKind.TEST04, RunKind.TEST05),
            ),
        )
    },
)

ROUNDS: Mapping[str, Round] = {round_.name: round_ for round_ in (V4_1,)}


def get_round(name: str) -> Round:
    """Return a round by its name, e.g. `v4.1`.

    Raises:
        SettingError: the round is unknown; the message lists the known ones.
    """
    if name not in ROUNDS:
        raise SettingError(f"unknown round {name!r}", remedy=f"known rounds: {', '.join(ROUNDS)}")
    return ROUNDS[name]
