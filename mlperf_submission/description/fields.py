"""One field of a system description with where its value comes from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mlperf_submission.description.probe import Reading, shortened

State = Literal["read", "typed", "needs a person"]


class FieldValue(BaseModel):
    """One field.

    Attributes:
        name: the field's name in `systems/<system>.json`.
        value: its value; None where a person is needed.
        state: read from the machine, typed by a person, or needing one.
        source: the file, command or library that it was read from.
        raw: what was found there.
        time: when.
        note: what the value leaves out, or why a person is needed.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    value: str | int | None
    state: State
    source: str = ""
    raw: str = ""
    time: datetime | None = None
    note: str = ""


def found(
    name: str, value: str | int, readings: Reading | Sequence[Reading | None], note: str = ""
) -> FieldValue:
    """Return a field that was read from the machine."""
    several = [readings] if isinstance(readings, Reading) else [one for one in readings if one]
    return FieldValue(
        name=name,
        value=value,
        state="read",
        source="; ".join(dict.fromkeys(one.source for one in several)),
        raw="\n".join(shortened(one.raw) for one in several),
        time=max((one.time for one in several), default=None),
        note=note,
    )


def ask(name: str, why: str) -> FieldValue:
    """Return a field that a person has to type, and why the machine does not tell it."""
    return FieldValue(name=name, value=None, state="needs a person", note=why)


def typed(name: str, value: str | int, source: str) -> FieldValue:
    """Return a field that a person typed."""
    return FieldValue(name=name, value=value, state="typed", source=source, raw=str(value))


def counted(names: Sequence[str]) -> str:
    """Return names with how often each occurs: `2x A, 1x B`."""
    return ", ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))
