"""From a tree to the frames that the rules look at: divisions, submitters, systems, models, scenarios."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mlperf_submission.rounds import Round, Scenario
from mlperf_submission.submission import description
from mlperf_submission.submission.files import DIVISIONS, Tree, shown
from mlperf_submission.submission.results import scenario_of
from mlperf_submission.validation.frames import (
    Entries,
    Fields,
    Frame,
    Models,
    Names,
    Neighbours,
    Pairs,
    Places,
    Runs,
    Scenarios,
    Systems,
    frame_of,
)
from mlperf_submission.validation.read_result import Found, read_result
from mlperf_submission.validation.reader import At, Located, Place, Reader
from mlperf_submission.validation.relations import neighbours, pairs
from mlperf_submission.validation.structure import IGNORED_ROOT_FOLDERS

_COUNTS = ("number_of_nodes", "host_processors_per_node", "accelerators_per_node")
_QUOTED = (*description.JOINED, "accelerators_per_node", "hw_notes", "sw_notes")
_BARE = ("number_of_nodes", "host_processors_per_node", "host_processor_core_count")
"""Fields of the CSV with quotes around them, and without."""


@dataclass
class Contents:
    """What a tree holds: the frames, and every scenario's folder."""

    frames: dict[type[Frame], pd.DataFrame]
    found: list[Found]


def read_tree(round_: Round, tree: Tree) -> Contents:
    """Read everything that the rules look at."""
    reader = _TreeReader(round_, tree)
    reader.read()
    frames = {frame: frame_of(frame, reader.rows.pop(frame)) for frame in list(reader.rows)}
    if Runs in frames:
        for frame, derived in ((Pairs, pairs(frames[Runs])), (Neighbours, neighbours(frames[Runs]))):
            frames[frame] = derived[list(frame.to_schema().columns)].reset_index(drop=True)
    return Contents(frames, reader.found)


@dataclass(frozen=True)
class _TreeReader(Reader):
    found: list[Found] = field(default_factory=list)

    def read(self) -> None:
        root = self.tree.listing("")
        divisions = [name for name in root.folders if name in DIVISIONS]
        self.names("", root.folders, level="root", kind="folder")
        self.names("", root.files if divisions else (), level="root", kind="file")
        for division in divisions:
            listing = self.tree.listing(division)
            self.names(division, listing.files, level="division", kind="file")
            self.place(division, level="division")
            for submitter in listing.folders:
                self.read_submitter(division, submitter)
        seen = Counter(run["round_by_seeds"] for run in self.rows[Runs] if run["round_by_seeds"])
        most, count = seen.most_common(1)[0] if seen else ("", 0)
        unknown = sorted({*root.folders} - {*DIVISIONS, *IGNORED_ROOT_FOLDERS})
        self.place(
            "",
            level="root",
            result_count=len(self.found),
            folders=", ".join(unknown),
            logged_round=most if 2 * count > seen.total() else self.round.name,
        )

    def place(self, path: str, **columns: Any) -> None:
        at = At(path, path or ".")
        self.add(Places, at, **{"round": self.round.name, "logged_round": self.round.name, **columns})
        self.reading(at, self.tree.listing(path).problem, role="folder")

    def names(self, path: str, names: tuple[str, ...] | set[str], **columns: Any) -> None:
        for name in sorted(names):
            self.add(Names, At(path, path or "."), name=name, **columns)

    def read_submitter(self, division: str, submitter: str) -> None:
        path = f"{division}/{submitter}"
        before = len(self.found)
        results = self.tree.listing(f"{path}/results")
        has_results, calibrated = self.tree.exists(f"{path}/results"), False
        mapping: Mapping[str, Any] = {}
        if has_results:
            for entry in self.tree.walk(path):
                self.rows[Entries].append({"scope": path, **entry})
                calibrated = calibrated or "calibration" in entry["name"].lower()
            name = f"{path}/model_mapping.json"
            if division == "open" and self.tree.exists(name):
                json = self.tree.json(name)
                mapping = {key: value for key, value in json.content.items() if isinstance(value, str)}
                self.reading(At(path, path), json.problem, role="mapping", name="model_mapping.json")
            for system in results.folders:
                self.read_system(division, submitter, system, mapping)
        described = {
            name[:-5] for name in self.tree.listing(f"{path}/systems").files if name.endswith(".json")
        }
        described |= set(self.tree.listing(f"{path}/measurements").folders)
        self.names(path, described & {*results.folders}, level="submitter", kind="system", has_results=True)
        self.names(path, described - {*results.folders}, level="submitter", kind="system", has_results=False)
        self.place(
            path,
            level="submitter",
            has_results=has_results,
            results_is_folder=not results.problem,
            result_count=len(self.found) - before,
            has_calibration=calibrated,
            has_calibration_md=any(
                self.tree.exists(f"{path}/{folder}calibration.md") for folder in ("", "documentation/")
            ),
        )

    def read_system(self, division: str, submitter: str, system: str, mapping: Mapping[str, str]) -> None:
        path = f"{division}/{submitter}/systems/{system}.json"
        at = At(f"{division}/{submitter}/{system}", path)
        exists, json = self.tree.exists(path), self.tree.json(path)
        content, readable = json.content, exists and not json.problem
        stated = {
            name: as_text(content.get(name)) for name in ("status", "system_type", "submitter", "division")
        }
        if self.round.is_newer:
            stated["division"] = stated["division"].lower()
        is_network = content.get("is_network")
        network = is_network.lower() if isinstance(is_network, str) else "false"
        if is_network is not None and not isinstance(is_network, str):
            network = as_text(is_network)
        self.add(
            Systems,
            at,
            **stated,
            exists=exists,
            readable=readable,
            directory_submitter=submitter,
            directory_division=division,
            network=network,
        )
        if exists:
            self.reading(at, json.problem, role="system")
        if readable:
            needs_network = bool(is_network) if self.round.is_newer else network == "true"
            for row in field_rows(content, needs_network):
                self.add(Fields, at, **row)
        base = f"{division}/{submitter}/results/{system}"
        for directory in self.tree.listing(base).folders:
            folders = self.tree.listing(f"{base}/{directory}").folders
            places = [Located(division, submitter, system, directory, folder) for folder in folders]
            at = At(f"{division}/{submitter}/{system}/{directory}", f"{base}/{directory}")
            self.read_model(at, places, mapping, content, stated["system_type"], network == "true")

    def read_model(
        self,
        at: At,
        places: list[Located],
        mapping: Mapping[str, str],
        system: dict[str, Any],
        system_type: str,
        network: bool,
    ) -> None:
        round_ = self.round
        division, _, _, directory = at.scope.split("/")
        closed = division != "open"
        name = round_.resolve(directory, None if closed else mapping)
        model = round_.models.get(name)
        is_type = system_type in description.SYSTEM_TYPES
        asked = model is not None and is_type
        required = model.required(system_type) if model and asked else frozenset()
        choice = model.optional(system_type) if model and asked else frozenset()
        allowed = required | choice
        if model and not asked:
            allowed = model.scenarios
        mapped = not closed and directory in mapping and directory not in round_.models
        official = directory in round_.models or directory in round_.aliases
        has_scenarios = bool(required) or not is_type or (round_.by_module and not closed)
        self.add(
            Models,
            at,
            division=division,
            directory=directory,
            model=name,
            guessed=model is not None and not official and not mapped,
            known=model is not None,
            allowed=has_scenarios,
            system_type=system_type,
        )
        there = {scenario_of(one.folder) for one in places}
        asked_for = {"model": name, "closed": closed, "choice_made": bool(choice & there)}
        for one in sorted((required - there) | choice):
            about = {"required": one in required, "choice": one in choice, **asked_for}
            self.add(Scenarios, at, name=one, **about)
        for located in places:
            scenario = scenario_of(located.folder)
            known = scenario is not None and (scenario is not Scenario.INTERACTIVE or round_.is_newer)
            found = Found(located, name, str(scenario or shown(located.folder)), system)
            self.found.append(found)
            fits = model is None or scenario in allowed
            if model and has_scenarios:
                about = {"exists": True, "known": known, "allowed": fits, **asked_for}
                self.add(Scenarios, At(located.scope, located.path), name=located.folder, **about)
            if model and scenario and known and (fits or not closed):
                read_result(self, found, Place(located, model, scenario, network, "edge" in system_type))


def as_text(value: object) -> str:
    """Return a JSON value as text; other types than text are shown with their type."""
    return value if isinstance(value, str) else f"{type(value).__name__} {value!r}"


def field_rows(content: Mapping[str, Any], needs_network: bool) -> list[dict[str, Any]]:
    """Return the rows of the fields of a system description, the known ones first."""
    unknown = sorted(name for name in content if name not in description.KNOWN)
    names = dict.fromkeys((*description.REQUIRED, *description.POWER, *description.NETWORK, *unknown))
    notes = [name for name in ("hw_notes", "sw_notes") if content.get(name)]
    # v4.1 joins hw_notes, or both if there are sw_notes; the module joins both if there are any.
    joined = notes if "sw_notes" in notes else ["hw_notes"] if "hw_notes" in content else []
    later = notes if "sw_notes" in notes else []
    rows = []
    for name in names:
        value = content.get(name)
        exists, is_text = name in content, isinstance(value, str)
        bad = '"' if name in _QUOTED else "," if name in _BARE else None
        rows.append(
            {
                "name": name,
                "exists": exists,
                "has_value": bool(value),
                "required": name in description.REQUIRED,
                "may_be_empty": name in description.MAY_BE_EMPTY,
                "of_network": needs_network and name in description.NETWORK,
                "not_text": exists and not is_text and name in (*description.JOINED, *joined),
                "not_count": name in _COUNTS and not _is_count(value),
                "not_for_csv": (exists and name in (_COUNTS[0], _COUNTS[2]) and not _is_integer(value))
                or (name in later and not is_text),
                "breaks_csv": exists and bad is not None and bad in str(value),
                "unknown": name in unknown,
            }
        )
    return rows


def _is_count(value: object) -> bool:
    """Whether a value, if there is one, is a whole number that is not negative, or the text of one."""
    if isinstance(value, bool) or value is None:
        return value is None
    try:
        return float(str(value)) >= 0 and float(str(value)) == int(float(str(value)))
    except (ValueError, OverflowError):
        return False


def _is_integer(value: Any) -> bool:
    """Whether the module can make an integer of a value (V-11)."""
    try:
        int(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
