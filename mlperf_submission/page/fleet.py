"""The page of all systems of a tree: one table to sort and filter, and a page for each system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlperf_submission.files import write_atomic
from mlperf_submission.page import tables
from mlperf_submission.page.data import Result, SystemData
from mlperf_submission.page.evidence import PageEvidence
from mlperf_submission.page.read import read_system, systems_of
from mlperf_submission.page.render import render
from mlperf_submission.page.system_page import write_system
from mlperf_submission.page.verdict import Again, SystemVerdict, named, verdict_on
from mlperf_submission.rounds import Scenario, get_round
from mlperf_submission.validation.verdict import Verdict


@dataclass(frozen=True)
class Column:
    """One result column of the table."""

    model: str
    scenario: Scenario
    units: str


@dataclass(frozen=True)
class FleetRow:
    """One system of the table; `cells` stand in the order of the columns."""

    system: SystemData
    href: str
    verdict: SystemVerdict | None
    cells: tuple[Result | None, ...]


def write_fleet(
    tree: Path,
    out: Path,
    *,
    round_name: str,
    verdict: Verdict | None = None,
    evidence: Mapping[str, PageEvidence] | None = None,
    again: Again = named,
) -> Path:
    """Write the page of all systems of a tree, `fleet.csv` and `fleet.json` beside it, and a page per system.

    Args:
        tree: root of a submission tree.
        out: folder that receives `index.html`; the systems' pages lie below its folder `systems`.
        round_name: the round whose targets and limits the results are held against.
        verdict: what the validation said of the tree.
        evidence: what a flow knows of the systems, by `division/submitter/system`.
        again: says what a failure's redo comes to.

    Returns:
        The path of the fleet page.

    Raises:
        TreeError: the folder is no submission tree.
        SettingError: the round is unknown.
    """
    places = systems_of(tree)
    systems = [read_system(tree, place, round_name) for place in places]
    verdicts = [verdict_on(verdict, place, again) if verdict else None for place in places]
    columns = _columns(systems, round_name)
    rows = []
    for place, system, found in zip(places, systems, verdicts, strict=True):
        known = evidence.get(str(place)) if evidence else None
        write_system(system, out / "systems" / str(place), found, known, fleet_link="../../../../index.html")
        cells = tuple(_cell(system, column) for column in columns)
        rows.append(FleetRow(system, f"systems/{quote(str(place))}/index.html", found, cells))
    rehearsals = sum(system.rehearsal for system in systems)
    page = render(
        "fleet.html.j2",
        {
            "round_name": round_name,
            "rows": rows,
            "columns": columns,
            "models": Counter(column.model for column in columns),
            "rehearsal": rehearsals > 0,
            "rehearsals": rehearsals,
            "validated": verdict is not None,
            "choices": {
                "division": sorted({one.division for one in systems if one.division}),
                "category": sorted({one.category for one in systems if one.category}),
                "submitter": sorted({one.submitter for one in systems if one.submitter}),
                "accelerator": sorted({one.accelerator for one in systems if one.accelerator}),
            },
        },
        script="fleet.js",
    )
    write_atomic(out / "index.html", page)
    write_atomic(out / "fleet.json", tables.as_json(systems, verdicts))
    write_atomic(out / "fleet.csv", tables.as_csv(systems, verdicts))
    return out / "index.html"


def _columns(systems: list[SystemData], round_name: str) -> list[Column]:
    """Return the columns that any system has a result for: in the round's order, Server before Offline."""
    order = [
        Scenario.SERVER,
        Scenario.INTERACTIVE,
        Scenario.OFFLINE,
        Scenario.SINGLE_STREAM,
        Scenario.MULTI_STREAM,
    ]
    units: dict[tuple[str, Scenario], str] = {}
    known = {name: at for at, name in enumerate(get_round(round_name).models)}
    models: set[str] = set()
    for system in systems:
        for model in system.models:
            models.add(model.model)
            for result in model.results:
                units.setdefault((model.model, result.scenario), result.units)
    ordered = sorted(models, key=lambda model: (known.get(model, len(known)), model))
    return [
        Column(model, scenario, units[model, scenario])
        for model in ordered
        for scenario in order
        if (model, scenario) in units
    ]


def _cell(system: SystemData, column: Column) -> Result | None:
    for model in system.models:
        if model.model == column.model:
            return model.result(column.scenario)
    return None
