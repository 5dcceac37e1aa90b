"""The rows of places, systems and models, and how they are read from the tree."""

from __future__ import annotations

from dataclasses import dataclass

from mlperf_submission.rounds import Round
from mlperf_submission.submission import description
from mlperf_submission.submission.files import Entry, Tree, shown
from mlperf_submission.validation.rules import Row

IGNORED_ROOT_FOLDERS = (".git", ".github", "assets")
SYSTEM_TYPES = ("datacenter", "edge", "datacenter,edge", "edge,datacenter")
_TEXT_FIELDS = (
    "system_name",
    "host_processor_model_name",
    "accelerator_model_name",
    "framework",
    "operating_system",
)
_NUMBERS = ("number_of_nodes", "host_processors_per_node", "accelerators_per_node")


@dataclass(frozen=True)
class PlaceRow(Row):
    """The root, a division or a submitter: what lies directly in it.

    Attributes:
        level: `root`, `division` or `submitter`.
        stray_files: names of files that may not lie there, joined.
        unknown_folders: names of folders that are no divisions, joined.
        has_results: a submitter has an entry `results`.
        results_is_folder: and it can be listed.
        result_count: results that were found below.
        mapping_problem: why model_mapping.json cannot be read (open).
        unreadable: why the folder cannot be listed.
        unused_systems: described or measured systems without results.
        has_calibration: a file of the submitter has `calibration` in its name.
        other_round: another round, whose seeds more than half of the performance logs have.
        has_calibration_md: it is calibration.md, in the submitter's folder or in documentation/.
    """

    level: str
    stray_files: str
    unknown_folders: str
    has_results: bool
    results_is_folder: bool
    result_count: int
    mapping_problem: str
    unreadable: str
    unused_systems: str
    has_calibration: bool
    has_calibration_md: bool
    other_round: str


@dataclass(frozen=True)
class EntryRow(Row):
    """A file, folder or link of a submitter that has results."""

    name: str
    kind: str
    size: int
    is_empty_folder: bool
    is_link: bool
    text_resolves_from_root: bool
    resolves: bool


@dataclass(frozen=True)
class SystemRow(Row):
    """A folder in `results/` with its system description.

    Attributes:
        exists: systems/<system>.json is there.
        problem: why it cannot be read.
        status, system_type, submitter, division: as written; with their JSON type in front if no text.
        directory_submitter, directory_division: where it lies.
        missing: required fields that are absent.
        valueless: required fields without a meaningful value.
        missing_network: network fields that are absent.
        network: `is_network` as `true`, `false` or, with another type, its text.
        not_text: fields of the CSV that are no text.
        not_number: fields that should be numbers and are none.
        not_for_csv: what the module cannot make a row of: numbers that are none, notes that are no text.
        quoted: fields of the CSV with a double quote, or with a comma where the CSV has no quotes.
        unknown: fields that no round knows.
    """

    exists: bool
    problem: str
    status: str
    system_type: str
    submitter: str
    division: str
    directory_submitter: str
    directory_division: str
    missing: str
    valueless: str
    missing_network: str
    network: str
    not_text: str
    not_number: str
    not_for_csv: str
    quoted: str
    unknown: str


@dataclass(frozen=True)
class ModelRow(Row):
    """A model's folder below a system.

    Attributes:
        division: closed, network or open.
        directory: its name.
        model: what it stands for (M-01).
        guessed: the name was only guessed.
        known: the round has the model.
        mapped: the name comes from the submitter's mapping.
        allowed: the round has scenarios of it for the system's type.
        system_type: as in the system description.
        missing: required scenarios without a folder.
        missing_choice: optional scenarios of which one is needed and none is there.
    """

    division: str
    directory: str
    model: str
    guessed: bool
    known: bool
    mapped: bool
    allowed: bool
    system_type: str
    missing: str
    missing_choice: str


@dataclass(frozen=True)
class ScenarioRow(Row):
    """A scenario's folder below a model.

    Attributes:
        name: as it is spelled.
        model: what the model's folder stands for.
        closed: the division is closed or network.
        known: it is spelled as a scenario of the round.
        allowed: the round has it for the model and the system's type.
    """

    name: str
    model: str
    closed: bool
    known: bool
    allowed: bool


def entry_row(entry: Entry, scope: str) -> EntryRow:
    """Return the row of an entry."""
    return EntryRow(
        scope,
        shown(entry.path),
        shown(entry.name),
        entry.kind,
        entry.size,
        entry.is_empty_folder,
        entry.is_link,
        entry.text_resolves_from_root,
        entry.resolves,
    )


def as_text(value: object) -> str:
    """Return a JSON value as text; other types than text are shown with their type."""
    return value if isinstance(value, str) else f"{type(value).__name__} {value!r}"


def system_row(
    round_: Round, tree: Tree, division: str, submitter: str, system: str
) -> tuple[SystemRow, dict[str, object]]:
    """Read systems/<system>.json.

    Returns:
        The row, and the description itself (empty if it cannot be read).
    """
    path = f"{division}/{submitter}/systems/{system}.json"
    exists = tree.exists(path)
    json = tree.json(path)
    content: dict[str, object] = json.content
    is_network = content.get("is_network")
    network = is_network.lower() if isinstance(is_network, str) else "false"
    if is_network is not None and not isinstance(is_network, str):
        network = as_text(is_network)
    needs_network = bool(is_network) if round_.is_newer else network == "true"
    missing_network = [name for name in description.NETWORK if needs_network and name not in content]
    stated = as_text(content.get("division"))
    row = SystemRow(
        scope=f"{division}/{submitter}/{system}",
        path=shown(path),
        exists=exists,
        problem=shown(json.problem) if exists else "",
        status=shown(as_text(content.get("status"))),
        system_type=shown(as_text(content.get("system_type"))),
        submitter=shown(as_text(content.get("submitter"))),
        division=shown(stated.lower() if round_.is_newer else stated),
        directory_submitter=shown(submitter),
        directory_division=division,
        missing=", ".join(name for name in description.REQUIRED if name not in content),
        valueless=", ".join(
            name
            for name in description.REQUIRED
            if name not in description.MAY_BE_EMPTY and name in content and not content[name]
        ),
        missing_network=", ".join(missing_network),
        network=shown(network),
        not_text=", ".join(_not_text(content)),
        not_number=", ".join(name for name in _NUMBERS if not _is_number(content.get(name))),
        not_for_csv=", ".join(_not_for_csv(content)),
        quoted=", ".join(_breaks_csv(content)),
        unknown=shown(", ".join(sorted(name for name in content if name not in description.KNOWN))),
    )
    return row, content


def _not_text(content: dict[str, object]) -> list[str]:
    """Return the fields that the official checker joins as text and that are none (G-07)."""
    found = [name for name in _TEXT_FIELDS if name in content and not isinstance(content[name], str)]
    hardware, software = content.get("hw_notes", ""), content.get("sw_notes")
    if software:
        found += [] if isinstance(software, str) else ["sw_notes"]
        found += ["hw_notes"] if hardware and not isinstance(hardware, str) else []
    elif not isinstance(hardware, str):
        found.append("hw_notes")
    return found


def _not_for_csv(content: dict[str, object]) -> list[str]:
    """Return the fields that crash the module when it multiplies the counts and joins the notes (V-11)."""
    found = []
    for name in ("number_of_nodes", "accelerators_per_node"):
        try:
            int(content[name])  # type: ignore[call-overload]
        except KeyError:
            continue  # Y-05
        except (TypeError, ValueError, OverflowError):
            found.append(name)
    notes = [name for name in ("hw_notes", "sw_notes") if content.get(name)]
    if "sw_notes" in notes:
        found += [name for name in notes if not isinstance(content[name], str)]
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or value is None:
        return value is None
    try:
        return float(str(value)) >= 0 and float(str(value)) == int(float(str(value)))
    except (ValueError, OverflowError):
        return False


def _breaks_csv(content: dict[str, object]) -> list[str]:
    quoted = (*_TEXT_FIELDS, "accelerators_per_node", "hw_notes", "sw_notes")
    bare = ("number_of_nodes", "host_processors_per_node", "host_processor_core_count")
    return [name for name in quoted if '"' in str(content.get(name, ""))] + [
        name for name in bare if "," in str(content.get(name, ""))
    ]


def model_row(
    round_: Round,
    scope: str,
    path: str,
    division: str,
    directory: str,
    mapping: dict[str, object],
    system_type: str,
    scenarios: list[str],
) -> ModelRow:
    """Return the row of a model's folder; `scenarios` are its folders in the official spelling."""
    texts = {name: value for name, value in mapping.items() if isinstance(value, str)}
    mapped = division == "open" and directory in texts and directory not in round_.models
    model = round_.resolve(directory, texts if division == "open" else None)
    official = directory in round_.models or directory in round_.aliases
    rules = round_.models.get(model)
    required = rules.required(system_type) if rules and system_type in SYSTEM_TYPES else frozenset()
    choice = rules.optional(system_type) if rules and system_type in SYSTEM_TYPES else frozenset()
    allowed = bool(required) or system_type not in SYSTEM_TYPES
    return ModelRow(
        scope=scope,
        path=shown(path),
        division=division,
        directory=shown(directory),
        model=shown(model),
        guessed=not official and not mapped and rules is not None,
        known=rules is not None,
        mapped=mapped,
        allowed=allowed or (round_.by_module and division == "open"),
        system_type=shown(system_type),
        missing=", ".join(sorted(str(one) for one in required if str(one) not in scenarios)),
        missing_choice=", ".join(sorted(map(str, choice)))
        if choice and not any(str(one) in scenarios for one in choice)
        else "",
    )
