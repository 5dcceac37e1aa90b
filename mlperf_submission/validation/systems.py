"""Sections 3 and 4: the system description (Y) and the network division (N)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.validation.rows_system import SYSTEM_TYPES, SystemRow
from mlperf_submission.validation.rules import Rule

STATUSES = ("available", "preview", "rdi")
_ADD = "Add it to systems/<system>.json."

RULES = (
    Rule(
        id="Y-01",
        row=SystemRow,
        what="Every system in `results/` has `systems/<same name>.json`.",
        why="The official checker skips the system.",
        remedy="Write the description, with the same upper and lower case as the folder in results.",
        passes=lambda d: d.exists,
        message=lambda _: "the system description is missing",
        covers="system",
    ),
    Rule(
        id="Y-02",
        row=SystemRow,
        what="The system description is a JSON object.",
        why="The official checker crashes on it.",
        remedy="Mend the file; `python -m json.tool FILE` names the line.",
        passes=lambda d: d.problem == "",
        message=lambda row: row.problem,
        covers="system",
    ),
    Rule(
        id="Y-03",
        row=SystemRow,
        what="`status` is available, preview or rdi, in any case.",
        why="The official checker skips the system; without the field it crashes.",
        remedy="Write one of the three.",
        passes=lambda d: _unread(d) | d.status.str.lower().isin(STATUSES),
        message=lambda row: f"status is {row.status!r}",
        covers="system",
    ),
    Rule(
        id="Y-04",
        row=SystemRow,
        what="`system_type` is datacenter, edge, or both with a comma and no blank.",
        why="The official checker skips the system.",
        remedy="Write datacenter, edge, `datacenter,edge` or `edge,datacenter`.",
        passes=lambda d: _unread(d) | d.system_type.isin(SYSTEM_TYPES),
        message=lambda row: f"system_type is {row.system_type!r}",
        covers="system",
    ),
    Rule(
        id="Y-05",
        row=SystemRow,
        what="All 35 required fields are there.",
        why="The official checker skips the system.",
        remedy=_ADD,
        passes=lambda d: _unread(d) | (d.missing == ""),
        message=lambda row: f"missing fields: {row.missing}",
        covers="system",
    ),
    Rule(
        id="Y-06",
        row=SystemRow,
        what="26 of the fields have a meaningful value: not empty, null, or the number 0.",
        why="The official checker skips the system.",
        remedy='Fill them in; a machine without accelerators writes "0" as text.',
        passes=lambda d: _unread(d) | (d.valueless == ""),
        message=lambda row: f"fields without a value: {row.valueless}",
        covers="system",
    ),
    Rule(
        id="Y-08",
        row=SystemRow,
        what="`submitter` is the submitter's folder, in any case.",
        why="The official checker skips the system.",
        remedy="Write the folder's name.",
        passes=lambda d: _unread(d) | (d.submitter.str.lower() == d.directory_submitter.str.lower()),
        message=lambda row: f"submitter is {row.submitter!r}, the folder is {row.directory_submitter!r}",
        covers="system",
    ),
    Rule(
        id="Y-09",
        row=SystemRow,
        what="`division` is the division's folder, in lower case.",
        why="The official checker skips the system.",
        remedy="Write the folder's name.",
        passes=lambda d: _unread(d) | (d.division == d.directory_division),
        message=lambda row: f"division is {row.division!r}, the folder is {row.directory_division!r}",
        covers="system",
    ),
    Rule(
        id="N-01",
        row=SystemRow,
        what='`is_network` is "true" in the network division and not in closed, as text.',
        why="The official checker skips the system; it crashes on true or false without quotes.",
        remedy='Write "true" or "false" in quotes, or move the system to the other division.',
        passes=lambda d: (
            _unread(d)
            | (
                ~d.network.str.contains(" ", regex=False)
                & (
                    (d.directory_division == "open")
                    | ((d.directory_division == "network") == (d.network == "true"))
                )
            )
        ),
        message=lambda row: f"is_network is {row.network!r} in division {row.directory_division}",
        covers="system",
    ),
    Rule(
        id="N-03",
        row=SystemRow,
        what="A system with `is_network` has all 13 network fields; they may be empty.",
        why="The official checker skips the system.",
        remedy=_ADD,
        passes=lambda d: _unread(d) | (d.missing_network == ""),
        message=lambda row: f"missing network fields: {row.missing_network}",
        covers="system",
    ),
    Rule(
        id="G-07",
        row=SystemRow,
        what="Names, framework, operating system and notes are text.",
        why="The official checker crashes while it writes the CSV.",
        remedy="Put the value in quotes.",
        passes=lambda d: _unread(d) | (d.not_text == ""),
        message=lambda row: f"fields that are no text: {row.not_text}",
        covers="system",
    ),
    Rule(
        id="V-11",
        row=SystemRow,
        what="From v5.0, numbers of nodes and accelerators are whole numbers, and the notes are text.",
        why="The module crashes while it writes the CSV.",
        remedy="Write a whole number, and the notes in quotes.",
        passes=lambda d: _unread(d) | (d.not_for_csv == ""),
        message=lambda row: f"fields that cannot stand in the CSV: {row.not_for_csv}",
        covers="system",
        later=True,
    ),
    Rule(
        id="+csv",
        row=SystemRow,
        what="No field of the CSV holds a double quote, and unquoted ones hold no comma.",
        why="The official CSV is not escaped, so its row breaks (G-08).",
        remedy="Write the value without it.",
        passes=lambda d: d.quoted == "",
        message=lambda row: f"fields that break the official CSV: {row.quoted}",
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+not-a-number",
        row=SystemRow,
        what="Numbers of nodes, processors and accelerators are whole numbers.",
        why="The checker accepts any text (Y-07, X-16); the final report fails on it, v5.0 and later crash.",
        remedy="Write a whole number.",
        passes=lambda d: d.not_number == "",
        message=lambda row: f"fields that are no whole number: {row.not_number}",
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+unknown-field",
        row=SystemRow,
        what="Every field is one that the rules know.",
        why="The checker only logs it (Y-10); mostly it is a misspelling.",
        remedy="Correct the name, or put the text into hw_notes or sw_notes.",
        passes=lambda d: d.unknown == "",
        message=lambda row: f"unknown fields: {row.unknown}",
        severity="warning",
        covers="nothing",
    ),
)


def _unread(frame: pd.DataFrame) -> pd.Series[bool]:
    return ~frame.exists | (frame.problem != "")
