"""What a rule is, and how the rules of a frame are checked: by pandera, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import pandas as pd
import pandera.pandas as pa

from mlperf_submission.rounds import Round
from mlperf_submission.submission.files import shown
from mlperf_submission.validation.frames import Frame, Mask, Rows, columns_of
from mlperf_submission.validation.verdict import Severity

Cover = Literal["root", "division", "submitter", "system", "model", "result", "nothing"]
"""What is refused with a row that breaks a rule: everything below this level of the row's scope."""
DEPTH: dict[str, int] = {"root": 0, "division": 1, "submitter": 2, "system": 3, "model": 4, "result": 5}
Text = str | Callable[[Mapping[str, Any]], str]
"""A format over the columns of a row, or a function of the row."""


@dataclass(frozen=True)
class Rule:
    """One rule: a comparison of columns of one frame.

    Attributes:
        about: the frame, or the rows of a frame, that the rule looks at.
        what: what must hold, in one sentence.
        passes: true in the rows that keep the rule.
        message: what is wrong with a row that fails.
        remedy: what a submitter does about a failure.
        why: why, or which bug or omission of the official checker lets it pass.
        each: what a row adds to the message of its place as `{each}`; the rows of a place make one failure.
        joint: what stands between them.
        severity: where it differs from the usual: `error`, and `warning` for rules of our own.
        covers: what is refused with it.
        in_rehearsal: for a rule that a rehearsal need not keep, since it hangs on speed, length or
            completeness: what such places are, in the plural, the same for all that are alike.
        later: only rounds that enforce it have this rule.
        id: the catalogue's id, or our own with a leading `+`.
    """

    about: type[Frame] | Rows
    what: str
    passes: Mask
    message: Text
    remedy: str
    why: str = "The official checker refuses the result."
    each: Text = "{name}"
    joint: str = ", "
    severity: Severity | None = None
    covers: Cover = "result"
    in_rehearsal: Text = ""
    later: bool = False
    id: str = ""

    @property
    def frame(self) -> type[Frame]:
        """The frame that the rule looks at."""
        return self.about.frame if isinstance(self.about, Rows) else self.about

    @property
    def is_of_places(self) -> bool:
        """Whether the rows of one place that fail make one failure."""
        return self.each != "{name}" or (isinstance(self.message, str) and "{each}" in self.message)

    @property
    def usual_severity(self) -> Severity:
        """The severity where a round does not say otherwise."""
        return self.severity or ("warning" if self.id.startswith("+") else "error")

    def severity_in(self, round_: Round, *, strict: bool) -> Severity:
        """Return the severity in a round: its checker may have dropped the rule or taken it up."""
        if strict or self.id in round_.enforced:
            return "error"
        return "warning" if self.id in round_.unenforced else self.usual_severity

    def check(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows of the frame keep the rule."""
        passes = self.passes(frame)
        return passes | ~self.about.mask(frame) if isinstance(self.about, Rows) else passes


def catalogue(rules: Mapping[str, Rule]) -> tuple[Rule, ...]:
    """Return the rules of a section, each with its id."""
    return tuple(replace(rule, id=name) for name, rule in rules.items())


@dataclass(frozen=True)
class Broken:
    """A rule that one place does not keep; `row` has the columns of its (first) row that fails."""

    rule: Rule
    row: Mapping[str, Any]
    message: str

    @property
    def by_design(self) -> str:
        """What it is in a rehearsal; empty if a rehearsal has to keep the rule."""
        return shown(_written(self.rule.in_rehearsal, self.row))


def _written(text: Text, row: Mapping[str, Any]) -> str:
    return text.format_map(row) if isinstance(text, str) else text(row)


@cache
def schema_of(frame: type[Frame], rules: tuple[Rule, ...]) -> pa.DataFrameSchema:
    """Return the schema of a frame: its columns, and the rules as checks with their ids.

    Types are not checked again: `frame_of` makes the columns in the dtypes of the model, and pandera looks at
    every text of a column, which is most of the time of a small tree.
    """
    columns = {name: pa.Column(nullable=dtype == "float64") for name, dtype in columns_of(frame).items()}
    checks = [
        pa.Check(
            rule.check, name=rule.id, error=rule.id, title=rule.what, description=rule.why, ignore_na=False
        )
        for rule in rules
    ]
    return pa.DataFrameSchema(columns, checks=checks, strict=True, name=frame.__name__)


def broken(frame: type[Frame], data: pd.DataFrame, rules: Sequence[Rule]) -> Iterator[Broken]:
    """Validate a frame lazily and yield every place that breaks a rule.

    Raises:
        pandera.errors.SchemaErrors: a column is missing or a check itself failed; a fault of ours.
    """
    if data.empty or not rules:
        return
    try:
        schema_of(frame, tuple(rules)).validate(data, lazy=True)
        return
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        if not cases["check"].isin([rule.id for rule in rules]).all() or cases["index"].isna().any():
            raise
        pairs = cases[["check", "index"]].drop_duplicates()
    for rule in rules:
        failing = pairs.loc[pairs["check"] == rule.id, "index"].astype(int).sort_values()
        rows = data.loc[failing].to_dict("records")
        if not rule.is_of_places:
            yield from (Broken(rule, row, shown(_written(rule.message, row))) for row in rows)
            continue
        places: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in rows:
            places.setdefault((row["scope"], row["path"]), []).append(row)
        for of_place in places.values():
            names = dict.fromkeys(text for one in of_place if (text := _written(rule.each, one)))
            row = {**of_place[0], "each": rule.joint.join(names)}
            yield Broken(rule, row, shown(_written(rule.message, row)))


def fits(d: pd.DataFrame) -> pd.Series[bool]:
    """Files that are there if they must be, and may be there if they are."""
    return d.exists.where(d.required, ~d.exists | d.allowed)


def odd(row: Mapping[str, Any]) -> str:
    """Return the name of a file that is missing; that of one too many has a plus."""
    return f"+{row['name']}" if row["exists"] else str(row["name"])


def of_folder(folder: str) -> Text:
    """Return the message of a folder that lacks files or has too many, or is not there at all."""
    return lambda row: f"{folder}: {row['each']}" if row["each"] else f"{folder} is missing"


def holds_exactly(about: Rows, what: str, message: Text, **more: Any) -> Rule:
    """Return the rule that a folder holds the files that it must hold, and no others than it may."""
    remedy = "Add what is missing and delete what is too many (marked with a plus)."
    return Rule(about, what, passes=fits, each=odd, message=message, remedy=remedy, **more)
