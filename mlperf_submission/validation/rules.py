"""What a rule is, and how the rules of one data frame become a pandera schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, get_type_hints

import pandas as pd
import pandera.pandas as pa

from mlperf_submission.submission.files import shown
from mlperf_submission.validation.verdict import Severity

Cover = Literal["root", "division", "submitter", "system", "model", "result", "nothing"]
"""What is refused with a row that breaks a rule: everything below this level of the row's scope."""
DEPTH: dict[str, int] = {"root": 0, "division": 1, "submitter": 2, "system": 3, "model": 4, "result": 5}

_DTYPES: dict[type, Any] = {str: str, float: float, bool: bool, int: "int64"}


@dataclass(frozen=True)
class Row:
    """A row of a data frame.

    Attributes:
        scope: division/submitter/system/model/scenario, as far down as the row lies.
        path: the file or folder that the row is about, relative to the tree.
    """

    scope: str
    path: str


@dataclass(frozen=True)
class Rule:
    """One rule, over one frame.

    Attributes:
        id: the catalogue's id, or our own with a leading `+`.
        row: the row type of the frame that the rule looks at.
        what: what must hold, in one sentence.
        why: why, or which bug or omission of the official checker lets it pass.
        remedy: what a submitter does about a failure.
        passes: the check: from the frame to a boolean series, true where the rule is kept.
        message: what is wrong with a row that fails.
        severity: `error` where the official v4.1 checker refuses, else `warning`.
        covers: what is refused with it.
        in_rehearsal: for a rule that a rehearsal need not keep, since it hangs on speed, length or
            completeness: what such places are, in the plural, the same for all that are alike.
        later: only rounds that enforce it have this rule.
    """

    id: str
    row: type[Row]
    what: str
    why: str
    remedy: str
    passes: Callable[[pd.DataFrame], pd.Series[bool]]
    message: Callable[[Any], str]
    severity: Severity = "error"
    covers: Cover = "result"
    in_rehearsal: Callable[[Any], str] | None = None
    later: bool = False


def frame_of(rows: Sequence[Row], kind: type[Row]) -> pd.DataFrame:
    """Return a frame with a typed column per field of the row type; the index is the position."""
    hints = get_type_hints(kind)
    columns = {
        field.name: pd.Series(_cells(rows, field.name, hints[field.name]), dtype=_DTYPES[hints[field.name]])
        for field in fields(kind)
    }
    return pd.DataFrame(columns)


def _cells(rows: Sequence[Row], name: str, kind: type) -> list[Any]:
    """Return a column's values; text that no encoding knows (odd file names, JSON escapes) is escaped."""
    values = [getattr(row, name) for row in rows]
    if kind is not str or "".join(values).isprintable():
        return values
    return [shown(value) for value in values]


@lru_cache(maxsize=64)
def schema_of(rules: tuple[Rule, ...]) -> pa.DataFrameSchema:
    """Return the schema of the rules' frame: its typed columns, and the rules as checks with their ids."""
    kind = rules[0].row
    hints = get_type_hints(kind)
    columns = {
        field.name: pa.Column(_DTYPES[hints[field.name]], nullable=hints[field.name] is float)
        for field in fields(kind)
    }
    checks = [pa.Check(rule.passes, name=rule.id, error=rule.id, ignore_na=False) for rule in rules]
    return pa.DataFrameSchema(columns, checks=checks, strict=True, name=kind.__name__)


def broken(rows: Sequence[Row], kind: type[Row], rules: Sequence[Rule]) -> Iterator[tuple[Rule, Row]]:
    """Validate a frame lazily and yield every rule with every row that breaks it, rules in their order.

    Raises:
        pandera.errors.SchemaErrors: a column has not its type, or a check itself failed; a fault of ours.
    """
    if not rows or not rules:
        return
    frame = frame_of(rows, kind)
    try:
        schema_of(tuple(rules)).validate(frame, lazy=True)
        return
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        by_id = {rule.id: rule for rule in rules}
        if not cases["check"].isin(by_id).all() or cases["index"].isna().any():
            raise
        pairs = cases[["check", "index"]].drop_duplicates()
    for rule in rules:
        for position in pairs.loc[pairs["check"] == rule.id, "index"].astype(int).sort_values():
            yield rule, rows[position]
