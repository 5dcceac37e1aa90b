"""The rows of the official CSV (Appendix A of the catalogue), in the form of the round's checker."""

from __future__ import annotations

from mlperf_submission.rounds import Checker, Round, Scenario
from mlperf_submission.submission.files import shown
from mlperf_submission.validation.read_result import Found
from mlperf_submission.validation.verdict import CSV_COLUMNS

_FORMULA = ("=", "@", "\t", "\r")


def columns(round_: Round) -> tuple[str, ...]:
    """Return the columns of the official CSV of a round, in its order."""
    if round_.checker is Checker.V4:
        return CSV_COLUMNS
    if round_.checker is Checker.V5:
        return (*CSV_COLUMNS, "weight_data_types")
    at = CSV_COLUMNS.index("accelerators_per_node") + 1
    further = ("weight_data_types", "design_power_watts", "PrivateID")
    return (*CSV_COLUMNS[:at], "total_accelerators", *CSV_COLUMNS[at:], *further)


def csv_rows(round_: Round, found: Found) -> tuple[tuple[str, ...], ...]:
    """Return the cells of an accepted result: one row, and a second one with the power of a power result."""
    at, system, module = found.at, found.system, round_.by_module
    status = str(system.get("status"))
    cells: dict[str, object] = {
        **{name: system.get(name) for name in CSV_COLUMNS if name in system},
        "Organization": at.submitter,
        "Availability": status if module else status.lower(),
        "Division": at.division,
        "SystemType": system.get("system_type"),
        "SystemName": system.get("system_name"),
        "Platform": at.system,
        "Model": at.directory,
        "MlperfModel": found.model,
        "Scenario": at.folder if module else found.scenario,
        "Result": found.value,
        "Accuracy": found.accuracies if round_.is_newer else found.accuracy or None,
        "Location": f"{at.path}/performance/run_1" if module else at.path,
        "framework": system.get("framework", ""),
        "operating_system": system.get("operating_system", ""),
        "notes": _notes(system),
        "compliance": at.division if module else 1,
        "errors": 0,
        "version": round_.name,
        "inferred": int(found.inferred),
        "has_power": found.power is not None,
        "Units": round_.csv_units(round_.models.get(found.model), Scenario(found.scenario)),
        "weight_data_types": found.weight_data_types,
        "total_accelerators": _accelerators(system),
        "design_power_watts": system.get("system_power_capacity", "") if found.power is not None else "",
        "PrivateID": "",
    }
    made = [cells]
    if found.power is not None:
        stream = found.scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
        made.append({**cells, "Result": found.power, "Units": "millijoules" if stream else "Watts"})
    return tuple(tuple(_cell(row.get(name)) for name in columns(round_)) for row in made)


def _cell(value: object) -> str:
    """Return a cell that can be printed, and that no spreadsheet takes for a formula."""
    text = shown(str(value))
    signed = text[:1] in ("+", "-") and text[1:2].isalpha()
    return f"'{text}" if signed or text.startswith(_FORMULA) else text


def _accelerators(system: dict[str, object]) -> object:
    try:
        return int(str(system["number_of_nodes"])) * int(str(system["accelerators_per_node"]))
    except (KeyError, ValueError):
        return ""


def _notes(system: dict[str, object]) -> str:
    hardware, software = system.get("hw_notes", ""), system.get("sw_notes")
    if not software:
        return str(hardware)
    return f"{hardware}. {software}" if hardware else str(software)
