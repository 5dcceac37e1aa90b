"""From the tree to all rows: divisions, submitters, systems, models, scenarios."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlperf_submission.rounds import ModelRules, Round, Scenario
from mlperf_submission.submission.files import DIVISIONS, Listing, Tree, shown
from mlperf_submission.submission.results import scenario_of
from mlperf_submission.validation.read_results import Located, ResultRows, read_result
from mlperf_submission.validation.rows_system import (
    IGNORED_ROOT_FOLDERS,
    SYSTEM_TYPES,
    EntryRow,
    ModelRow,
    PlaceRow,
    ScenarioRow,
    SystemRow,
    entry_row,
    model_row,
    system_row,
)


@dataclass(frozen=True)
class Found:
    """A scenario's folder, with its rows if it can be judged."""

    at: Located
    model: str
    scenario: str
    system: dict[str, Any]
    rows: ResultRows | None


@dataclass
class Contents:
    """All rows of a tree."""

    places: list[PlaceRow] = field(default_factory=list)
    entries: list[EntryRow] = field(default_factory=list)
    systems: list[SystemRow] = field(default_factory=list)
    models: list[ModelRow] = field(default_factory=list)
    scenarios: list[ScenarioRow] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)

    @property
    def results(self) -> list[ResultRows]:
        """The rows of the results that can be judged."""
        return [one.rows for one in self.found if one.rows]


def read_tree(round_: Round, tree: Tree) -> Contents:
    """Read everything that the rules look at."""
    contents = Contents()
    root = tree.listing("")
    divisions = [name for name in root.folders if name in DIVISIONS]
    for division in divisions:
        _read_division(round_, tree, division, contents)
    unknown = [name for name in root.folders if name not in (*DIVISIONS, *IGNORED_ROOT_FOLDERS)]
    strays = [name for name in root.files if not name.endswith((".md", ".pdf"))] if divisions else []
    place = _place("", "root", root, len(contents.found), strays, unknown, _other_round(round_, contents))
    contents.places.append(place)
    return contents


def _other_round(round_: Round, contents: Contents) -> str:
    """Return the round whose seeds more than half of the performance logs have, if it is another one."""
    runs = [one.performance.round_by_seeds for one in contents.results if one.performance]
    said = [name for name in runs if name]
    most = max(set(said), key=said.count, default=round_.name)
    return most if most != round_.name and 2 * said.count(most) > len(said) else ""


def _place(
    path: str,
    level: str,
    listing: Listing,
    count: int,
    strays: list[str] | None = None,
    unknown: list[str] | None = None,
    other_round: str = "",
) -> PlaceRow:
    return PlaceRow(
        scope=path,
        path=shown(path) or ".",
        level=level,
        stray_files=shown(", ".join(sorted(strays or []))),
        unknown_folders=shown(", ".join(sorted(unknown or []))),
        has_results=False,
        results_is_folder=False,
        result_count=count,
        mapping_problem="",
        unreadable=shown(listing.problem),
        unused_systems="",
        has_calibration=False,
        has_calibration_md=False,
        other_round=other_round,
    )


def _read_division(round_: Round, tree: Tree, division: str, contents: Contents) -> None:
    listing = tree.listing(division)
    contents.places.append(_place(division, "division", listing, 0, strays=list(listing.files)))
    for submitter in listing.folders:
        path = f"{division}/{submitter}"
        before = len(contents.found)
        has_results = tree.exists(f"{path}/results")
        results = tree.listing(f"{path}/results")
        mapping: dict[str, Any] = {}
        mapping_problem = ""
        calibrated = False
        if has_results:
            entries = [entry_row(entry, path) for entry in tree.walk(path)]
            contents.entries.extend(entries)
            calibrated = any("calibration" in entry.name.lower() for entry in entries)
            if division == "open" and tree.exists(f"{path}/model_mapping.json"):
                json = tree.json(f"{path}/model_mapping.json")
                mapping, mapping_problem = json.content, json.problem
            for system in results.folders:
                _read_system(round_, tree, division, submitter, system, mapping, contents)
        contents.places.append(
            _submitter(
                tree, path, has_results, results, len(contents.found) - before, mapping_problem, calibrated
            )
        )


def _submitter(
    tree: Tree,
    path: str,
    has_results: bool,
    results: Listing,
    count: int,
    mapping_problem: str,
    calibrated: bool,
) -> PlaceRow:
    described = {name[:-5] for name in tree.listing(f"{path}/systems").files if name.endswith(".json")}
    described |= set(tree.listing(f"{path}/measurements").folders)
    place = _place(path, "submitter", tree.listing(path), count)
    return PlaceRow(
        **{
            **vars(place),
            "has_results": has_results,
            "results_is_folder": not results.problem,
            "mapping_problem": shown(mapping_problem),
            "unused_systems": shown(", ".join(sorted(described - set(results.folders)))),
            "has_calibration": calibrated,
            "has_calibration_md": tree.exists(f"{path}/calibration.md")
            or tree.exists(f"{path}/documentation/calibration.md"),
        }
    )


def _read_system(
    round_: Round,
    tree: Tree,
    division: str,
    submitter: str,
    system: str,
    mapping: dict[str, Any],
    contents: Contents,
) -> None:
    row, description = system_row(round_, tree, division, submitter, system)
    contents.systems.append(row)
    base = f"{division}/{submitter}/results/{system}"
    for directory in tree.listing(base).folders:
        folders = tree.listing(f"{base}/{directory}").folders
        spelled = [str(scenario_of(name) or "") for name in folders]
        model = model_row(
            round_,
            f"{row.scope}/{directory}",
            f"{base}/{directory}",
            division,
            directory,
            mapping,
            row.system_type,
            spelled,
        )
        contents.models.append(model)
        rules = round_.models.get(model.model)
        for folder, name in zip(folders, spelled, strict=True):
            at = Located(division, submitter, system, directory, folder)
            contents.found.append(
                _read_scenario(round_, tree, at, name, row, model, rules, description, contents)
            )


def _read_scenario(
    round_: Round,
    tree: Tree,
    at: Located,
    spelled: str,
    system: SystemRow,
    model: ModelRow,
    rules: ModelRules | None,
    description: dict[str, Any],
    contents: Contents,
) -> Found:
    system_type = system.system_type
    allowed = _allowed(rules, system_type)
    known = bool(spelled) and (spelled != Scenario.INTERACTIVE or round_.is_newer)
    is_allowed = spelled in allowed if rules else True
    closed = at.division != "open"
    if rules and model.allowed:
        contents.scenarios.append(
            ScenarioRow(at.scope, shown(at.path), shown(at.folder), model.model, closed, known, is_allowed)
        )
    rows = None
    if rules and known and (is_allowed or not closed):
        network = system.network == "true"
        rows = read_result(round_, tree, at, rules, allowed, network=network, edge="edge" in system_type)
    return Found(at, model.model, spelled or shown(at.folder), description, rows)


def _allowed(rules: ModelRules | None, system_type: str) -> frozenset[Scenario]:
    if rules is None:
        return frozenset()
    if system_type not in SYSTEM_TYPES:
        return rules.datacenter | rules.edge | rules.both | rules.choice
    return rules.required(system_type) | rules.optional(system_type)
