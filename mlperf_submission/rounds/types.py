"""What a round, a model and a scenario are, as typed values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from mlperf_submission.errors import SettingError
from mlperf_submission.rounds.power import POWER_V4, PowerRules


class Scenario(StrEnum):
    """LoadGen's scenarios, in the spelling of the official tree."""

    OFFLINE = "Offline"
    SERVER = "Server"
    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    INTERACTIVE = "Interactive"


UNITS: Mapping[Scenario, str] = MappingProxyType(
    {
        Scenario.SINGLE_STREAM: "Latency (ms)",
        Scenario.MULTI_STREAM: "Latency (ms)",
        Scenario.OFFLINE: "Samples/s",
        Scenario.SERVER: "Queries/s",
        Scenario.INTERACTIVE: "Queries/s",
    }
)
"""Units of the results, as the official CSV names them."""


class RunKind(StrEnum):
    """What one LoadGen run is for."""

    PERFORMANCE = "performance"
    ACCURACY = "accuracy"
    TEST01 = "TEST01"
    TEST04 = "TEST04"
    TEST05 = "TEST05"
    TEST06 = "TEST06"
    TEST07 = "TEST07"
    TEST08 = "TEST08"
    TEST09 = "TEST09"

    @property
    def is_audit(self) -> bool:
        """Whether the run is one of the compliance tests."""
        return self.name.startswith("TEST")


class Checker(StrEnum):
    """The official checkers, each of which was in force in some rounds."""

    V4 = "submission_checker.py of v4.0 and v4.1"
    V5 = "submission_checker.py of v5.0 and v5.1"
    MODULE = "the module submission_checker of 2026"


@dataclass(frozen=True)
class Seeds:
    """The three random seeds of LoadGen."""

    qsl: int
    sample_index: int
    schedule: int


@dataclass(frozen=True)
class AccuracyTarget:
    """One metric with its floor (inclusive) and, for a few, its ceiling (inclusive).

    A metric that only has a ceiling has the floor minus infinity, and need not be reported.
    """

    metric: str
    floor: float
    ceiling: float | None = None

    @property
    def required(self) -> bool:
        """Whether the metric must be found in accuracy.txt."""
        return self.floor > -math.inf


@dataclass(frozen=True)
class TokenLimits:
    """Limits of the 99th percentiles of a token model; the measured value must be below (rule L-02).

    Attributes:
        first_token_ns: time to the first token (TTFT), ns.
        per_token_ns: time per output token after the first (TPOT), ns.
    """

    first_token_ns: int
    per_token_ns: int


def _nothing() -> MappingProxyType[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class ModelRules:
    """What a round asks of one model (checker name, e.g. `resnet`, `bert-99`).

    Counts are samples, latencies nanoseconds. `offline_min_samples` and `server_target_latency_ns` are None
    where the round names none.
    """

    name: str
    performance_sample_count: int
    offline_min_samples: int | None
    dataset_size: int
    accuracy: tuple[AccuracyTarget, ...]
    server_target_latency_ns: int | None = None
    datacenter: frozenset[Scenario] = frozenset()
    edge: frozenset[Scenario] = frozenset()
    audits: tuple[RunKind, ...] = ()
    equal_issue: bool = False
    """Whether LoadGen issues every sample equally often (`sample_concatenate_permutation`)."""
    tokens_per_sample: int | None = None
    """Factor of LoadGen's inferred tokens/s (`token_latency_scaling_factor`); None: none."""
    both: frozenset[Scenario] | None = None
    """Required scenarios of a system of type `datacenter,edge`; None: those of the two."""
    choice: frozenset[Scenario] = frozenset()
    """Datacenter: optional scenarios of which at least one must be there (V-32)."""
    choice_both: frozenset[Scenario] | None = None
    """The same for `datacenter,edge`, where it differs."""
    result_fields: Mapping[Scenario, str] = field(default_factory=_nothing)
    """Log keys of the result where they differ from the round's (P-19)."""
    token_latencies: bool = False
    """Whether `use_token_latencies` must be on (L-01)."""
    token_limits: Mapping[Scenario, TokenLimits] = field(default_factory=_nothing)
    accuracy_by_scenario: Mapping[Scenario, tuple[AccuracyTarget, ...]] = field(default_factory=_nothing)
    accuracy_samples: Mapping[Scenario | None, int] = field(default_factory=_nothing)
    """Samples of the accuracy run where they differ from the data set's size; None: every scenario."""
    interactive_latency_ns: int | None = None
    """Limit of the 99th percentile latency in Interactive (V-51)."""
    proof_files: tuple[str, tuple[str, ...]] | None = None
    """A folder below accuracy/ and the stems of the files that it must hold (A-11)."""
    audit_delta_percent: Mapping[str, float] = field(default_factory=_nothing)
    """TEST01: largest difference of a metric in percent, where it is not the usual one (T-11)."""
    has_min_duration: bool = True
    latency_in_seconds: bool = False
    units: Mapping[Scenario, str] = field(default_factory=_nothing)
    """Units of the result from v5.0 on, where they differ from the scenario's."""

    def required(self, system_type: str) -> frozenset[Scenario]:
        """Return the required scenarios for a `system_type`; empty: not allowed (M-08)."""
        if system_type == "datacenter":
            return self.datacenter
        if system_type == "edge":
            return self.edge
        return self.datacenter | self.edge if self.both is None else self.both

    def optional(self, system_type: str) -> frozenset[Scenario]:
        """Return the scenarios of which at least one must be there besides the required ones."""
        if system_type == "edge":
            return frozenset()
        return self.choice if system_type == "datacenter" or self.choice_both is None else self.choice_both

    @property
    def scenarios(self) -> frozenset[Scenario]:
        """Every scenario that the round has of the model, whatever the system's type."""
        return self.datacenter | self.edge | (self.both or frozenset()) | self.choice

    def targets(self, scenario: Scenario | None) -> tuple[AccuracyTarget, ...]:
        """Return the accuracy targets in a scenario."""
        if scenario is None:
            return self.accuracy
        return self.accuracy_by_scenario.get(scenario, self.accuracy)

    def accuracy_sample_count(self, scenario: Scenario | None) -> int:
        """Return the number of samples that an accuracy run has to cover."""
        samples = self.accuracy_samples
        return samples.get(scenario, samples.get(None, self.dataset_size))

    def delta_percent(self, metric: str) -> float:
        """Return how far TEST01 may differ from the baseline, in percent of the metric (T-11)."""
        return self.audit_delta_percent.get(metric, 0.1 if "99.9" in self.name else 1.0)


@dataclass(frozen=True)
class Round:
    """One round: what is the same for all of its models, and its models.

    Attributes:
        aliases: directory names that stand for a model, e.g. `resnet50` for `resnet`.
        guesses: parts of directory names that stand for a model, in the order in which they are tried (M-01).
        result_fields: the log key of the result per scenario (P-19).
        checker: the official checker that was in force in the round.
        equal_issue_enforced: the models that the round's checker enforces equal issue mode for (E-11).
        equal_issue_in_open: it does so in the open division, too.
        runs_beside_results: measurements and audits lie in the result's own folder (V-41).
        source_folder: where the implementation lies: `code`, or `src` from v6.0.
        conf_files: files that must lie beside the measurements (E-02).
        unenforced: rules of the v4.1 catalogue that this round's checker does not enforce; breaking one is a
            warning.
        enforced: rules that the v4.1 checker does not enforce and this round's does; empty up to v4.1.
        covers: what is refused with a broken rule where it is more than in v4.1.
        power: what is asked of a power measurement.
    """

    name: str
    seeds: Seeds
    test05_seeds: Seeds | None
    min_duration_ms: int
    models: Mapping[str, ModelRules]
    aliases: Mapping[str, str]
    result_fields: Mapping[Scenario, str]
    checker: Checker
    guesses: tuple[tuple[str, str], ...] = ()
    equal_issue_enforced: frozenset[str] = frozenset()
    equal_issue_in_open: bool = False
    runs_beside_results: bool = False
    source_folder: str = "code"
    conf_files: tuple[str, ...] = ("user.conf", "README.md")
    unenforced: frozenset[str] = frozenset()
    enforced: frozenset[str] = frozenset()
    covers: Mapping[str, str] = field(default_factory=_nothing)
    power: PowerRules = POWER_V4

    @property
    def is_newer(self) -> bool:
        """Whether the round is v5.0 or later (section 18 of the catalogue)."""
        return self.checker is not Checker.V4

    @property
    def by_module(self) -> bool:
        """Whether the official checker of the round is the module, which came with v6.0."""
        return self.checker is Checker.MODULE

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

    def resolve(self, directory: str, mapping: Mapping[str, str] | None = None) -> str:
        """Return the model that a directory name stands for, by the checker's order (M-01).

        Args:
            directory: name of the directory below the system.
            mapping: the submitter's `model_mapping.json` (open division).
        """
        if directory in self.models:
            return directory
        if directory in self.aliases:
            return self.aliases[directory]
        if mapping and mapping.get(directory):
            return mapping[directory]
        return next((model for part, model in self.guesses if part in directory), directory)

    def room(self, kind: str) -> str:
        """Return the folder of a submitter that has the results, or what belongs to them (V-41).

        Args:
            kind: `results`, `measurements` or `compliance`.
        """
        return "results" if self.runs_beside_results else kind

    def result_field(self, model: ModelRules | None, scenario: Scenario) -> str:
        """Return the log key that holds the result; of a model that the round does not have, the usual one.

        A result of Interactive is logged in the scenario Server, but for rounds that say otherwise.
        """
        if scenario not in self.result_fields:
            scenario = Scenario.SERVER
        own = model.result_fields if model else {}
        return own.get(scenario, self.result_fields[scenario])

    def units(self, model: ModelRules | None, scenario: Scenario) -> str:
        """Return the unit of a result."""
        if model and self.is_newer:
            return model.units.get(scenario, UNITS[scenario])
        return "Tokens/s" if "tokens" in self.result_field(model, scenario) else UNITS[scenario]

    def csv_units(self, model: ModelRules | None, scenario: Scenario) -> str:
        """Return the unit of a result as the official CSV of the round names it.

        v4.1 labels token models as samples and queries although their value is in tokens/s.
        """
        return self.units(model, scenario) if self.is_newer else UNITS[scenario]
