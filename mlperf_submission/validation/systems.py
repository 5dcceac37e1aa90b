"""Sections 3 and 4: the system description (Y) and the network division (N)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.submission.description import STATUSES, SYSTEM_TYPES
from mlperf_submission.validation.frames import Fields, Readings, Systems
from mlperf_submission.validation.rules import Rule, catalogue

_SKIPS = "The official checker skips the system."
_ADD = "Add it to systems/<system>.json."


def _read(d: pd.DataFrame) -> pd.Series[bool]:
    return d.readable


RULES = catalogue(
    {
        "Y-01": Rule(
            Systems,
            "Every system in `results/` has `systems/<same name>.json`.",
            passes=lambda d: d.exists,
            message="the system description is missing",
            why=_SKIPS,
            remedy="Write the description, with the same upper and lower case as the folder in results.",
            covers="system",
        ),
        "Y-02": Rule(
            Readings.where(role="system"),
            "The system description is a JSON object.",
            passes=lambda d: d.readable,
            message="{problem}",
            why="The official checker crashes on it.",
            remedy="Mend the file; `python -m json.tool FILE` names the line.",
            covers="system",
        ),
        "Y-03": Rule(
            Systems.where(_read),
            "`status` is available, preview or rdi, in any case.",
            passes=lambda d: d.status.str.lower().isin(STATUSES),
            message="status is {status!r}",
            why="The official checker skips the system; without the field it crashes.",
            remedy="Write one of the three.",
            covers="system",
        ),
        "Y-04": Rule(
            Systems.where(_read),
            "`system_type` is datacenter, edge, or both with a comma and no blank.",
            passes=lambda d: d.system_type.isin(SYSTEM_TYPES),
            message="system_type is {system_type!r}",
            why=_SKIPS,
            remedy="Write datacenter, edge, `datacenter,edge` or `edge,datacenter`.",
            covers="system",
        ),
        "Y-05": Rule(
            Fields.where(lambda d: d.required),
            "All 35 required fields are there.",
            passes=lambda d: d.exists,
            message="missing fields: {each}",
            why=_SKIPS,
            remedy=_ADD,
            covers="system",
        ),
        "Y-06": Rule(
            Fields.where(lambda d: d.required & d.exists & ~d.may_be_empty),
            "26 of the fields have a meaningful value: not empty, null, or the number 0.",
            passes=lambda d: d.has_value,
            message="fields without a value: {each}",
            why=_SKIPS,
            remedy='Fill them in; a machine without accelerators writes "0" as text.',
            covers="system",
        ),
        "Y-08": Rule(
            Systems.where(_read),
            "`submitter` is the submitter's folder, in any case.",
            passes=lambda d: d.submitter.str.lower() == d.directory_submitter.str.lower(),
            message="submitter is {submitter!r}, the folder is {directory_submitter!r}",
            why=_SKIPS,
            remedy="Write the folder's name.",
            covers="system",
        ),
        "Y-09": Rule(
            Systems.where(_read),
            "`division` is the division's folder, in lower case.",
            passes=lambda d: d.division == d.directory_division,
            message="division is {division!r}, the folder is {directory_division!r}",
            why=_SKIPS,
            remedy="Write the folder's name.",
            covers="system",
        ),
        "N-01": Rule(
            Systems.where(_read),
            '`is_network` is "true" in the network division and not in closed, as text.',
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
        "N-03": Rule(
            Fields.where(lambda d: d.of_network),
            "A system with `is_network` has all 13 network fields; they may be empty.",
            passes=lambda d: d.exists,
            message="missing network fields: {each}",
            why=_SKIPS,
            remedy=_ADD,
            covers="system",
        ),
        "G-07": Rule(
            Fields,
            "Names, framework, operating system and notes are text.",
            passes=lambda d: ~d.not_text,
            message="fields that are no text: {each}",
            why="The official checker crashes while it writes the CSV.",
            remedy="Put the value in quotes.",
            covers="system",
        ),
        "V-11": Rule(
            Fields,
            "From v5.0, numbers of nodes and accelerators are whole numbers, and the notes are text.",
            passes=lambda d: ~d.not_for_csv,
            message="fields that cannot stand in the CSV: {each}",
            why="The module crashes while it writes the CSV.",
            remedy="Write a whole number, and the notes in quotes.",
            covers="system",
            later=True,
        ),
        "+csv": Rule(
            Fields,
            "No field of the CSV holds a double quote, and unquoted ones hold no comma.",
            passes=lambda d: ~d.breaks_csv,
            message="fields that break the official CSV: {each}",
            why="The official CSV is not escaped, so its row breaks (G-08).",
            remedy="Write the value without it.",
            covers="nothing",
        ),
        "+not-a-number": Rule(
            Fields,
            "Numbers of nodes, processors and accelerators are whole numbers.",
            passes=lambda d: ~d.not_count,
            message="fields that are no whole number: {each}",
            why="The checker accepts any text (Y-07, X-16); the final report fails on it, v5.0 and later "
            "crash.",
            remedy="Write a whole number.",
            covers="nothing",
        ),
        "+unknown-field": Rule(
            Fields,
            "Every field is one that the rules know.",
            passes=lambda d: ~d.unknown,
            message="unknown fields: {each}",
            why="The checker only logs it (Y-10); mostly it is a misspelling.",
            remedy="Correct the name, or put the text into hw_notes or sw_notes.",
            covers="nothing",
        ),
    }
)
