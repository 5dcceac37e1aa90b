"""The system description, filled from the machine: each field with its source, or left to a person.

    description = describe_machine()
    print(description.as_table())

Nothing is guessed: what no file, tool or library tells is left to a person; tools that are missing are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from mlperf_submission.description.accelerators import Gpus, accelerator_fields, read_gpus
from mlperf_submission.description.devices import network_fields, storage_fields
from mlperf_submission.description.fields import FieldValue, ask, typed
from mlperf_submission.description.host import memory_fields, platform_fields, processor_fields, system_fields
from mlperf_submission.description.probe import Probe
from mlperf_submission.description.software import software_fields, submission_fields
from mlperf_submission.strict_yaml import written_yaml
from mlperf_submission.submission import description

_TABLE_WIDTH = 44


class Score(BaseModel):
    """How complete a description is.

    Attributes:
        read: fields that were read from the machine and have a value.
        not_applicable: fields among them whose value is N/A.
        typed: fields that a person typed.
        total: fields that the official files have.
        required: fields that the round requires with a value (rules Y-05, Y-06).
        open: those of them that still need a person.
    """

    model_config = ConfigDict(frozen=True)
    read: int
    not_applicable: int
    typed: int
    total: int
    required: int
    open: tuple[str, ...]

    @property
    def complete(self) -> float:
        """Share of the required fields that have a value, 0 to 1."""
        return 1 - len(self.open) / self.required if self.required else 1.0

    def __str__(self) -> str:
        """Return the score in one line."""
        return (
            f"{self.required - len(self.open)} of {self.required} required fields have a value "
            f"({self.complete:.0%}); of all {self.total} fields {self.read} were read from the machine "
            f"({self.not_applicable} of them N/A) and {self.typed} typed"
        )


class MachineDescription(BaseModel):
    """A described machine.

    Attributes:
        fields: every field of the official files, in the order of the published page, then the others.
        missing: tools and libraries that gave nothing, with the reason.
        conflicts: fields where a person typed something else than the machine tells.
    """

    model_config = ConfigDict(frozen=True)
    fields: tuple[FieldValue, ...]
    missing: dict[str, str]
    conflicts: tuple[str, ...] = ()

    def value(self, name: str) -> str | int | None:
        """Return the value of a field; None if a person is needed or there is no such field."""
        return next((one.value for one in self.fields if one.name == name), None)

    @property
    def score(self) -> Score:
        """How complete the description is."""
        required = [name for name in description.REQUIRED if name not in description.MAY_BE_EMPTY]
        read = [one for one in self.fields if one.state == "read"]
        return Score(
            read=len(read),
            not_applicable=sum(one.value == "N/A" for one in read),
            typed=sum(one.state == "typed" for one in self.fields),
            total=len(self.fields),
            required=len(required),
            open=tuple(name for name in required if self.value(name) in (None, "", 0)),
        )

    def values(self) -> dict[str, str | int]:
        """Return the description as `systems/<system>.json` holds it; what needs a person is empty."""
        return {one.name: "" if one.value is None else one.value for one in self.fields}

    def sources(self) -> dict[str, str]:
        """Return for every field in a few words where its value comes from, for a results page."""
        return {one.name: f"read: {one.source}" if one.state == "read" else one.state for one in self.fields}

    def as_yaml(self) -> str:
        """Return the block `description:` of a system file; what needs a person is a comment."""
        lines = ["description:"]
        for one in self.fields:
            if one.value is None:
                lines.append(f"  # {one.name}: needs a person: {one.note}")
                continue
            lines.append(f"  {written_yaml({one.name: one.value}).rstrip()}  # {_comment(one)}")
        return "\n".join(lines) + "\n"

    def as_table(self) -> str:
        """Return the fields as a table of text: name, value, source, note."""
        rows = [("field", "value", "source", "note")]
        rows += [
            (one.name, "-" if one.value is None else str(one.value), one.source or one.state, one.note)
            for one in self.fields
        ]
        shown = [(_cut(row[0]), _cut(row[1]), _cut(row[2]), row[3]) for row in rows]
        widths = [max(len(row[at]) for row in shown) for at in range(3)]
        lines = [
            "  ".join([*(row[at].ljust(widths[at]) for at in range(3)), row[3]]).rstrip() for row in shown
        ]
        lines.insert(1, "  ".join("-" * width for width in [*widths, 4]))
        lines += ["", str(self.score)]
        lines += [f"no answer from `{tool}`: {why}" for tool, why in self.missing.items()]
        lines += [f"warning: {one}" for one in self.conflicts]
        return "\n".join(lines) + "\n"


def describe_machine(
    *,
    typed_values: Mapping[str, str | int] | None = None,
    typed_in: str = "the system file",
    probe: Probe | None = None,
    gpus: Gpus | str | None = None,
) -> MachineDescription:
    """Describe this machine. Works without root and without a GPU; nothing is guessed.

    Args:
        typed_values: fields that a person typed; they win, and a difference to the machine is a conflict.
        typed_in: where they were typed, e.g. the path of the system file.
        probe: how the machine is read; this machine by default.
        gpus: the GPUs, or why there are none; asked of NVIDIA's library by default.
    """
    probe = probe or Probe()
    gpus = read_gpus() if gpus is None else gpus
    if isinstance(gpus, str):
        probe.missing["NVML"] = gpus
    read = {one.name: one for one in _read(probe, gpus)}
    names = list(dict.fromkeys([*(name for group in description.GROUPS.values() for name in group), *read]))
    names += [name for name in (*description.REQUIRED, *description.POWER) if name not in names]
    wanted = dict(typed_values or {})
    names += [name for name in wanted if name not in names]
    conflicts, fields = [], []
    for name in names:
        own = read.get(name) or ask(name, "we know no way to read it")
        if name not in wanted:
            fields.append(own)
            continue
        fields.append(typed(name, wanted[name], typed_in))
        if own.value is not None and _plain(own.value) != _plain(wanted[name]):
            conflicts.append(f"{name}: {typed_in} says {wanted[name]!r}, {own.source} says {own.value!r}")
    return MachineDescription(fields=tuple(fields), missing=dict(probe.missing), conflicts=tuple(conflicts))


def _read(probe: Probe, gpus: Gpus | str) -> Iterable[FieldValue]:
    yield from accelerator_fields(probe, gpus)
    yield from processor_fields(probe)
    yield from memory_fields(probe)
    yield from storage_fields(probe)
    yield from network_fields(probe)
    yield from platform_fields(probe)
    yield from system_fields(probe)
    yield from software_fields(probe, gpus)
    yield from submission_fields()


def _comment(one: FieldValue) -> str:
    time = f", {one.time:%Y-%m-%dT%H:%M:%SZ}" if one.time else ""
    note = f"; {one.note}" if one.note else ""
    return " ".join(f"{one.state}: {one.source}{time}{note}".split())


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TABLE_WIDTH else f"{text[: _TABLE_WIDTH - 1]}…"


def _plain(value: Any) -> str:
    return "".join(str(value).lower().split())
