"""What one page shows, typed and frozen: read once from the tree, then only drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from mlperf_submission.rounds import RunKind, Scenario


@dataclass(frozen=True)
class Place:
    """Where a number was read: a file of the tree (path below its root), with line and key if it has them."""

    path: str
    line: int | None = None
    key: str = ""

    @property
    def name(self) -> str:
        """The file's name with its line."""
        name = self.path.rpartition("/")[2]
        return f"{name}:{self.line}" if self.line else name


@dataclass(frozen=True)
class FieldGroup:
    """Fields of the system file, by name, under the title of the published page."""

    title: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class AccuracyFigure:
    """One metric of the accuracy run beside its target. `measured` is None where accuracy.txt lacks it."""

    metric: str
    measured: float | None
    floor: float | None
    ceiling: float | None
    place: Place | None

    @property
    def margin(self) -> float | None:
        """How far above the floor, as a share of the floor; negative below it."""
        if self.measured is None or not self.floor:
            return None
        return self.measured / self.floor - 1

    @property
    def reached(self) -> bool:
        """Whether the metric lies within its floor and ceiling."""
        if self.measured is None:
            return False
        above = self.floor is None or self.measured >= self.floor
        return above and (self.ceiling is None or self.measured <= self.ceiling)


@dataclass(frozen=True)
class Percentile:
    """A latency that LoadGen reports: share of the queries (0 to 1, None for the mean) and nanoseconds."""

    label: str
    share: float | None
    nanoseconds: float
    place: Place


@dataclass(frozen=True)
class Audit:
    """One compliance test: what its verification files say."""

    name: str
    passed: bool | None
    reference: float | None
    score: float | None
    accuracy_passed: bool | None
    place: Place | None

    @property
    def ratio(self) -> float | None:
        """Score of the audit as a share of the result's own score."""
        return self.score / self.reference if self.score is not None and self.reference else None


@dataclass(frozen=True)
class Run:
    """One LoadGen run of a result, as its detail log tells it."""

    kind: RunKind
    path: str
    begin: datetime | None
    end: datetime | None
    problem: str = ""


@dataclass(frozen=True)
class Figure:
    """A number of the performance log with its name, as shown, and its place."""

    label: str
    value: str
    place: Place


@dataclass(frozen=True)
class Result:
    """One scenario of one benchmark."""

    benchmark: str
    model: str
    scenario: Scenario
    units: str
    value: float | None
    place: Place | None
    validity: str
    accuracy: tuple[AccuracyFigure, ...]
    percentiles: tuple[Percentile, ...]
    limit_ns: float | None
    limit_share: float
    audits: tuple[Audit, ...]
    figures: tuple[Figure, ...]
    runs: tuple[Run, ...]
    files: tuple[Place, ...]
    precision: str
    loadgen: str
    problems: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """A name for links within the page."""
        return "".join(
            one if one.isascii() and one.isalnum() else "-" for one in f"{self.benchmark}-{self.scenario}"
        )


@dataclass(frozen=True)
class ModelRow:
    """One benchmark with its accuracy target and its scenarios, as a row of the results table."""

    benchmark: str
    model: str
    targets: tuple[AccuracyFigure, ...]
    results: tuple[Result, ...]

    def result(self, scenario: Scenario) -> Result | None:
        """Return the result of one scenario."""
        return next((one for one in self.results if one.scenario == scenario), None)


@dataclass(frozen=True)
class SystemData:
    """One system of a tree."""

    tree: Path
    round_name: str
    published: str
    division: str
    submitter: str
    system: str
    title: str
    category: str
    status: str
    accelerator: str
    accelerators: int | None
    groups: tuple[FieldGroup, ...]
    models: tuple[ModelRow, ...]
    rehearsal: bool
    problems: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def results(self) -> tuple[Result, ...]:
        """All results in the order of the table."""
        return tuple(result for model in self.models for result in model.results)

    @cached_property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios that the table has columns for: the category's usual ones, and what else was run."""
        server = [] if self.category == "edge" else [Scenario.SERVER]
        streams = [Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM] if "edge" in self.category else []
        usual = [*server, *streams, Scenario.OFFLINE]
        others = [one for one in Scenario if one not in usual and any(m.result(one) for m in self.models)]
        return (*usual, *others)
