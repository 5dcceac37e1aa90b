"""One system beside others: results per accelerator, and in words what differs between the two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.page.data import Result, SystemData
from mlperf_submission.page.evidence import PageEvidence
from mlperf_submission.page.read import accelerator_count, read_fields, read_system, systems_of
from mlperf_submission.rounds import Scenario

_FIELDS = (
    ("Accelerator", "accelerator_model_name"),
    ("Accelerators per node", "accelerators_per_node"),
    ("Nodes", "number_of_nodes"),
    ("Accelerator memory", "accelerator_memory_capacity"),
    ("Framework", "framework"),
    ("Other software", "other_software_stack"),
    ("Operating system", "operating_system"),
    ("Processor", "host_processor_model_name"),
    ("Processors per node", "host_processors_per_node"),
    ("Host memory", "host_memory_capacity"),
)
_UNKNOWN = "not recorded"
_MOST_NEIGHBOURS = 8


@dataclass(frozen=True)
class ComparedResult:
    """One result of both systems, per accelerator. `gain` is how much better mine is, as a share."""

    model: str
    scenario: Scenario
    units: str
    mine: float
    other: float
    gain: float


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both systems."""

    what: str
    mine: str
    other: str


@dataclass(frozen=True)
class Comparison:
    """One system beside another."""

    label: str
    title: str
    submitter: str
    round_name: str
    rehearsal: bool
    results: tuple[ComparedResult, ...]
    per_accelerator: bool
    differences: tuple[Difference, ...]
    same: tuple[str, ...]

    def of(self, result: Result) -> ComparedResult | None:
        """Return the comparison of one of my results."""
        wanted = (result.model, result.scenario)
        return next((one for one in self.results if (one.model, one.scenario) == wanted), None)


def neighbours_in(tree: Path, mine: SystemData) -> list[tuple[str, SystemData]]:
    """Return what to compare a system with out of a tree of its round: what to call each, and the system.

    If another tree holds a system of the same name, it is a run of the same system, and the only one
    returned. Otherwise (a round's published tree) it is those with the same accelerator in the same division,
    nearest in their number first.

    Raises:
        TreeError: the folder is no submission tree.
    """
    own = (mine.division, mine.submitter, mine.system)
    found = []
    for place in systems_of(tree):
        if (place.division, place.submitter, place.system) == own:
            if tree.resolve() != mine.tree.resolve():
                return [("The same system", read_system(tree, place, mine.round_name, deep=False))]
            continue
        fields = read_fields(tree, place)
        if place.division != mine.division or not mine.accelerator:
            continue
        if _plain(fields.get("accelerator_model_name", "")) == _plain(mine.accelerator):
            count = accelerator_count(fields) or 0
            label = fields.get("submitter") or place.submitter
            found.append((abs(count - (mine.accelerators or 0)), str(place), label, place))
    return [
        (label, read_system(tree, place, mine.round_name, deep=False))
        for _, _, label, place in sorted(found)[:_MOST_NEIGHBOURS]
    ]


def compare(mine: SystemData, label: str, other: SystemData, evidence: PageEvidence | None) -> Comparison:
    """Compare a system, of which `evidence` is known beyond its tree, with another that is called `label`."""
    per_accelerator = bool(mine.accelerators and other.accelerators)
    divisors = (mine.accelerators or 1, other.accelerators or 1) if per_accelerator else (1, 1)
    pairs = [
        (first, second)
        for first in mine.results
        for second in other.results
        if (first.model, first.scenario, first.units) == (second.model, second.scenario, second.units)
    ]
    return Comparison(
        label=label,
        title=other.title,
        submitter=other.submitter,
        round_name=other.round_name,
        rehearsal=other.rehearsal,
        results=tuple(one for one in (_compared(a, b, divisors) for a, b in pairs) if one),
        per_accelerator=per_accelerator,
        differences=tuple(_differences(mine, other, pairs, evidence)),
        same=tuple(
            what
            for what, name in _FIELDS
            if mine.fields.get(name) and _plain(mine.fields[name]) == _plain(other.fields.get(name, ""))
        ),
    )


def _compared(mine: Result, other: Result, divisors: tuple[int, int]) -> ComparedResult | None:
    if mine.value is None or not other.value:
        return None
    if mine.units.startswith("Latency"):  # a latency is not shared out among accelerators, and less is better
        gain = other.value / mine.value - 1 if mine.value else 0.0
        return ComparedResult(mine.model, mine.scenario, mine.units, mine.value, other.value, gain)
    first, second = mine.value / divisors[0], other.value / divisors[1]
    return ComparedResult(mine.model, mine.scenario, mine.units, first, second, first / second - 1)


def _differences(
    mine: SystemData,
    other: SystemData,
    pairs: Sequence[tuple[Result, Result]],
    evidence: PageEvidence | None,
) -> list[Difference]:
    rows = [("Round", mine.round_name, other.round_name), ("Division", mine.division, other.division)]
    rows += [(what, mine.fields.get(name, ""), other.fields.get(name, "")) for what, name in _FIELDS]
    if pairs:
        rows.append(("LoadGen", _versions(a for a, _ in pairs), _versions(b for _, b in pairs)))
    for first, second in pairs:
        name = f"{first.model} {first.scenario}"
        rows.append((f"Weights, {name}", first.precision, second.precision))
        known = evidence.of(first.benchmark, first.scenario) if evidence else None
        rows.append((f"Batch, {name}", str(known.batch_size or "") if known else "", ""))
    return [Difference(what, a or _UNKNOWN, b or _UNKNOWN) for what, a, b in rows if _plain(a) != _plain(b)]


def _versions(results: Iterable[Result]) -> str:
    return ", ".join(sorted({one.loadgen for one in results if one.loadgen}))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
