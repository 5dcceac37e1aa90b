"""The rows of the official CSV (Appendix A of the catalogue)."""

from __future__ import annotations

from typing import Any

from mlperf.rounds import Round, Scenario
from mlperf.validation.read_tree import Found
from mlperf.validation.tree import shown

_UNITS = {
    Scenario.SINGLE_STREAM: "Latency (ms)",
    Scenario.MULTI_STREAM: "Latency (ms)",
    Scenario.OFFLINE: "Samples/s",
    Scenario.SERVER: "Queries/s",
    Scenario.INTERACTIVE: "Queries/s",
}


def units(round_: Round, model: str, scenario: str) -> str:
    """Return the unit of a result as the official CSV of the round names it.

    v4.1 labels token models as samples and queries although their value is in tokens/s.
    """
    if scenario not in list(Scenario):
        return ""
    rules = round_.models.get(model)
    one = Scenario(scenario)
    if rules and round_.is_newer:
        if rules.latency_in_seconds and one is Scenario.SINGLE_STREAM:
            return "Latency (s)"
        if "tokens" in rules.result_fields.get(one, "") and rules.token_latencies:
            return "Tokens/s"
        if model == "e2e-rag-qna":
            return "Tasks/s"
    return _UNITS[one]


def csv_rows(round_: Round, found: Found) -> tuple[tuple[str, ...], ...]:
    """Return the cells of an accepted result: one row, and a second one with the power of a power result."""
    rows = found.rows
    if rows is None or rows.performance is None:
        return ()
    at, run = found.at, rows.performance
    system = found.system

    def cell(key: str, default: object = None) -> str:
        return str(system.get(key, default))

    def row(value: float, unit: str) -> tuple[str, ...]:
        cells: tuple[Any, ...] = (
            at.submitter,
            cell("status").lower(),
            at.division,
            cell("system_type"),
            cell("system_name"),
            at.system,
            at.directory,
            found.model,
            found.scenario,
            value,
            (rows.accuracy.value or None) if rows.accuracy else None,
            cell("number_of_nodes"),
            cell("host_processor_model_name"),
            cell("host_processors_per_node"),
            cell("host_processor_core_count"),
            cell("accelerator_model_name"),
            cell("accelerators_per_node"),
            at.path,
            cell("framework", ""),
            cell("operating_system", ""),
            _notes(system),
            1,
            0,
            round_.name,
            int(run.inferred),
            rows.power is not None,
            unit,
        )
        return tuple(shown(str(one)) for one in cells)

    found_rows = [row(run.result, units(round_, found.model, found.scenario))]
    if rows.power is not None:
        stream = found.scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)
        found_rows.append(row(rows.power.metric, "millijoules" if stream else "Watts"))
    return tuple(found_rows)


def _notes(system: dict[str, Any]) -> str:
    hardware, software = system.get("hw_notes", ""), system.get("sw_notes")
    if not software:
        return str(hardware)
    return f"{hardware}. {software}" if hardware else str(software)
