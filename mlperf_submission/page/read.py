"""Reading one system of a submission tree into page data. What is damaged is said, and the rest is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.errors import SettingError, TreeError
from mlperf_submission.page.data import FieldGroup, ModelRow, SystemData
from mlperf_submission.page.read_result import ResultReader
from mlperf_submission.page.text import clean
from mlperf_submission.rounds import Round, Scenario, get_round
from mlperf_submission.submission import description
from mlperf_submission.submission.files import DIVISIONS, Tree
from mlperf_submission.submission.results import scenario_of

_PUBLISHED = {"v4.0": "March 2024", "v4.1": "August 2024", "v5.0": "April 2025", "v5.1": "September 2025"}
"""When MLCommons published the results of a round; the published pages give it as date of availability."""
_OTHER = "Submission and Further Details"


@dataclass(frozen=True, order=True)
class SystemPlace:
    """One system of a tree by its directories."""

    division: str
    submitter: str
    system: str

    def __str__(self) -> str:
        """Return the place as `division/submitter/system`."""
        return f"{self.division}/{self.submitter}/{self.system}"


def systems_of(tree: Path) -> list[SystemPlace]:
    """Return every system of a tree that has results or a description, sorted.

    Raises:
        TreeError: the folder is no submission tree.
    """
    found = set(_systems(tree))
    if not found:
        raise TreeError(
            "there is no submission tree here: no <division>/<submitter>/results/<system>",
            where=tree,
            remedy="give the folder that holds `closed`, `open` or `network`",
            code="no-tree",
        )
    return sorted(found)


def find_system(tree: Path, name: str) -> SystemPlace:
    """Return the system of that name: its directory, or `division/submitter/directory` if not unique.

    Raises:
        TreeError: the folder is no submission tree.
        SettingError: the tree has no such system, or several; the message lists them.
    """
    known = systems_of(tree)
    matching = [one for one in known if name in (one.system, str(one))]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(str(one) for one in (matching or known)[:20])
    what = f"there are {len(matching)} systems {name!r}" if matching else f"there is no system {name!r}"
    raise SettingError(f"{what} in this tree", where=tree, remedy=f"give one of: {listed}")


def read_system(tree: Path, place: SystemPlace, round_name: str, *, deep: bool = True) -> SystemData:
    """Read everything that the page shows of one system.

    Args:
        tree: the tree's root.
        place: which system.
        round_name: the round whose targets and limits apply.
        deep: also the audits, the times of all runs and the files; a comparison needs none of them.

    Raises:
        SettingError: the round is unknown.
    """
    round_ = get_round(round_name)
    files = Tree(tree, links_out=False)
    problems: list[str] = []
    fields = _fields(files, place, problems)
    models = tuple(_models(files, place, round_, deep, problems))
    system_name = fields.get("system_name") or place.system
    return SystemData(
        tree=tree,
        round_name=round_.name,
        published=_PUBLISHED.get(round_.name, ""),
        division=clean(place.division),
        submitter=fields.get("submitter") or clean(place.submitter),
        system=clean(place.system),
        title=system_name,
        category=fields.get("system_type", ""),
        status=fields.get("status", ""),
        accelerator=fields.get("accelerator_model_name", ""),
        accelerators=accelerator_count(fields),
        groups=_groups(fields),
        models=models,
        rehearsal="rehearsal" in f"{place.system} {system_name}".lower(),
        problems=tuple(problems),
        fields=fields,
    )


def read_fields(tree: Path, place: SystemPlace) -> dict[str, str]:
    """Return the fields of a system's description; empty if it has none that can be read."""
    return _fields(Tree(tree, links_out=False), place, [])


def accelerator_count(fields: Mapping[str, str]) -> int | None:
    """Return the number of accelerators in all nodes; None if the description gives none."""
    per_node, nodes = fields.get("accelerators_per_node", ""), fields.get("number_of_nodes", "")
    if not re.fullmatch(r"\d{1,6}", per_node, re.ASCII):
        return None
    return int(per_node) * (int(nodes) if re.fullmatch(r"[1-9]\d{0,5}", nodes, re.ASCII) else 1) or None


def _systems(tree: Path) -> Iterator[SystemPlace]:
    for division in DIVISIONS:
        for submitter in _folders(tree / division):
            for system in _folders(submitter / "results"):
                yield SystemPlace(division, submitter.name, system.name)
            for file in sorted((submitter / "systems").glob("*.json")):
                yield SystemPlace(division, submitter.name, file.stem)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _fields(files: Tree, place: SystemPlace, problems: list[str]) -> dict[str, str]:
    path = f"{place.division}/{place.submitter}/systems/{place.system}.json"
    if not files.is_file(path):
        problems.append(f"{clean(path)}: the system has no description")
        return {}
    json = files.json(path)
    if json.problem:
        problems.append(f"{clean(path)}: the system's description cannot be read: {clean(json.problem)}")
    return {clean(name): clean(value) for name, value in json.content.items()}


def _groups(fields: Mapping[str, str]) -> tuple[FieldGroup, ...]:
    groups = [
        FieldGroup(title, {name: fields.get(name, "") for name in names})
        for title, names in description.GROUPS.items()
    ]
    rest = sorted(fields.keys() - {name for group in groups for name in group.fields})
    if rest:
        groups.append(FieldGroup(_OTHER, {name: fields[name] for name in rest}))
    return tuple(groups)


def _models(
    files: Tree, place: SystemPlace, round_: Round, deep: bool, problems: list[str]
) -> Iterator[ModelRow]:
    order = {name: at for at, name in enumerate(round_.models)}
    submission = f"{place.division}/{place.submitter}"
    folder = Path(files.full(f"{submission}/results/{place.system}"))
    mapping: dict[str, str] = {}
    if place.division == "open":
        content = files.json(f"{submission}/model_mapping.json").content
        mapping = {name: model for name, model in content.items() if isinstance(model, str)}
    found: list[tuple[int, str, ModelRow]] = []
    for benchmark in _folders(folder):
        rules = round_.models.get(round_.resolve(benchmark.name, mapping))
        results = tuple(
            ResultReader(
                files, submission, f"{place.system}/{benchmark.name}/{path.name}", round_, rules, deep
            ).read(benchmark.name, scenario)
            for path in sorted(_folders(benchmark), key=_scenario_order)
            if (scenario := scenario_of(path.name))
        )
        unknown = [path.name for path in _folders(benchmark) if scenario_of(path.name) is None]
        problems.extend(
            f"{clean(benchmark.name)}: unknown scenario {clean(name)!r} left out" for name in unknown
        )
        model = rules.name if rules else clean(benchmark.name)
        targets = results[0].accuracy if results else ()
        row = ModelRow(clean(benchmark.name), model, targets, results)
        found.append((order.get(model, len(order)), benchmark.name, row))
    for _, _, row in sorted(found, key=lambda one: one[:2]):
        yield row


def _scenario_order(folder: Path) -> tuple[bool, str]:
    """Server before Offline, as in the table; the others by name."""
    return folder.name.lower() == Scenario.OFFLINE.lower(), folder.name
