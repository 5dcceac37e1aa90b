"""Sections 3 and 4: the system description (Y) and the network division (N)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.validation.frames import Fields, Readings, Systems
from mlperf_submission.validation.rules import Rule

STATUSES = ("available", "preview", "rdi")
SYSTEM_TYPES = ("datacenter", "edge", "datacenter,edge", "edge,datacenter")
_SKIPS = "The official checker skips the system."
_ADD = "Add it to systems/<system>.json."


def _read(d: pd.DataFrame) -> pd.Series[bool]:
    return d.readable


RULES = (
    Rule(
        "Y-01",
        Systems,
        "Every system in `results/` has `systems/<same name>.json`.",
        passes=lambda d: d.exists,
        message="the system description is missing",
        why=_SKIPS,
        remedy="Write the description, with the same upper and lower case as the folder in results.",
        covers="system",
    ),
    Rule(
        "Y-02",
        Readings,
        "The system description is a JSON object.",
        of=lambda d: d.role == "system",
        passes=lambda d: d.readable,
        message="{problem}",
        why="The official checker crashes on it.",
        remedy="Mend the file; `python -m json.tool FILE` names the line.",
        covers="system",
    ),
    Rule(
        "Y-03",
        Systems,
        "`status` is available, preview or rdi, in any case.",
        of=_read,
        passes=lambda d: d.status.str.lower().isin(STATUSES),
        message="status is {status!r}",
        why="The official checker skips the system; without the field it crashes.",
        remedy="Write one of the three.",
        covers="system",
    ),
    Rule(
        "Y-04",
        Systems,
        "`system_type` is datacenter, edge, or both with a comma and no blank.",
        of=_read,
        passes=lambda d: d.system_type.isin(SYSTEM_TYPES),
        message="system_type is {system_type!r}",
        why=_SKIPS,
        remedy="Write datacenter, edge, `datacenter,edge` or `edge,datacenter`.",
        covers="system",
    ),
    Rule(
        "Y-05",
        Fields,
        "All 35 required fields are there.",
        of=lambda d: d.required,
        passes=lambda d: d.exists,
        each="{name}",
        message="missing fields: {each}",
        why=_SKIPS,
        remedy=_ADD,
        covers="system",
    ),
    Rule(
        "Y-06",
        Fields,
        "26 of the fields have a meaningful value: not empty, null, or the number 0.",
        of=lambda d: d.required & d.exists & ~d.may_be_empty,
        passes=lambda d: d.has_value,
        each="{name}",
        message="fields without a value: {each}",
        why=_SKIPS,
        remedy='Fill them in; a machine without accelerators writes "0" as text.',
        covers="system",
    ),
    Rule(
        "Y-08",
        Systems,
        "`submitter` is the submitter's folder, in any case.",
        of=_read,
        passes=lambda d: d.submitter.str.lower() == d.directory_submitter.str.lower(),
        message="submitter is {submitter!r}, the folder is {directory_submitter!r}",
        why=_SKIPS,
        remedy="Write the folder's name.",
        covers="system",
    ),
    Rule(
        "Y-09",
        Systems,
        "`division` is the division's folder, in lower case.",
        of=_read,
        passes=lambda d: d.division == d.directory_division,
        message="division is {division!r}, the folder is {directory_division!r}",
        why=_SKIPS,
        remedy="Write the folder's name.",
        covers="system",
    ),
    Rule(
        "N-01",
        Systems,
        '`is_network` is "true" in the network division and not in closed, as text.',
        of=_read,
        passes=lambda d: (
            ~d.network.str.contains(" ", regex=False)
            & (
                (d.directory_division == "open")
                | ((d.directory_division == "network") == (d.network == "true"))
            )
        ),
        message="is_network is {network!r} in division {directory_division}",
        why="The official checker skips the system; it crashes on true or false without quotes.",
        remedy='Write "true" or "false" in quotes, or move the system to the other division.',
        covers="system",
    ),
    Rule(
        "N-03",
        Fields,
        "A system with `is_network` has all 13 network fields; they may be empty.",
        of=lambda d: d.of_network,
        passes=lambda d: d.exists,
        each="{name}",
        message="missing network fields: {each}",
        why=_SKIPS,
        remedy=_ADD,
        covers="system",
    ),
    Rule(
        "G-07",
        Fields,
        "Names, framework, operating system and notes are text.",
        passes=lambda d: ~d.not_text,
        each="{name}",
        message="fields that are no text: {each}",
        why="The official checker crashes while it writes the CSV.",
        remedy="Put the value in quotes.",
        covers="system",
    ),
    Rule(
        "V-11",
        Fields,
        "From v5.0, numbers of nodes and accelerators are whole numbers, and the notes are text.",
        passes=lambda d: ~d.not_for_csv,
        each="{name}",
        message="fields that cannot stand in the CSV: {each}",
        why="The module crashes while it writes the CSV.",
        remedy="Write a whole number, and the notes in quotes.",
        covers="system",
        later=True,
    ),
    Rule(
        "+csv",
        Fields,
        "No field of the CSV holds a double quote, and unquoted ones hold no comma.",
        passes=lambda d: ~d.breaks_csv,
        each="{name}",
        message="fields that break the official CSV: {each}",
        why="The official CSV is not escaped, so its row breaks (G-08).",
        remedy="Write the value without it.",
        covers="nothing",
    ),
    Rule(
        "+not-a-number",
        Fields,
        "Numbers of nodes, processors and accelerators are whole numbers.",
        passes=lambda d: ~d.not_count,
        each="{name}",
        message="fields that are no whole number: {each}",
        why="The checker accepts any text (Y-07, X-16); the final report fails on it, v5.0 and later crash.",
        remedy="Write a whole number.",
        covers="nothing",
    ),
    Rule(
        "+unknown-field",
        Fields,
        "Every field is one that the rules know.",
        passes=lambda d: ~d.unknown,
        each="{name}",
        message="unknown fields: {each}",
        why="The checker only logs it (Y-10); mostly it is a misspelling.",
        remedy="Correct the name, or put the text into hw_notes or sw_notes.",
        covers="nothing",
    ),
)
