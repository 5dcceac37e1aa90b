"""The record of a finished step: what it says, how it lies on disk, and what changed between two."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from mlperf_submission.errors import SettingError
from mlperf_submission.files import write_atomic
from mlperf_submission.steps.hashing import FileEntry, hash_entries, hash_json, plain_json

FAILED = "failed"
"""The folder of the evidence that failed steps leave; no step may have this name."""
_STEP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_CODE_INPUTS = frozenset({"code", "code_version"})
_HASH = re.compile(r"(\w+:)?[0-9a-f]{32,64}")
_HASH_DIGITS = 12
_CHANGES_NAMED = 6
_VALUE_CHARACTERS = 60


class StepRecord(BaseModel):
    """What a finished step hands on: where its files are, their hashes, and its figures.

    Attributes:
        step: e.g. `build_engine`.
        label: what it was done for, e.g. `resnet50 int8`; a rerun is compared with the newest of its label.
        key: SHA-256 of step and inputs, 64 hexadecimal digits.
        inputs: everything that went in: settings, hashes of files, versions, the step's code version.
        folder: absolute path of the folder that holds the files.
        figures: what the step measured or counted.
        created: when it was finished (UTC).
        seconds: how long it took when it was done.
        reused: whether it was found finished, this time.
        reason: why it had to run (which input changed, or what was damaged), or that it was found.
    """

    model_config = ConfigDict(frozen=True)
    step: str
    label: str
    key: str
    inputs: dict[str, JsonValue]
    folder: Path
    files: list[FileEntry]
    figures: dict[str, JsonValue]
    created: datetime
    seconds: float
    reused: bool = False
    reason: str = ""

    def file(self, name: str) -> Path:
        """Return the path of one of the step's files.

        Raises:
            KeyError: the step made no such file.
        """
        if not any(entry.path == name for entry in self.files):
            raise KeyError(f"step {self.step} ({self.label}) made no file {name!r}")
        return self.folder / name

    @property
    def content_hash(self) -> str:
        """SHA-256 over the names and hashes of the files: what a step below depends on."""
        return hash_entries(self.files)


class _Stored(BaseModel):
    """The record as it lies on disk: the folder is relative to the root, so the work folder may be moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    step: str
    label: str
    key: str
    inputs: dict[str, JsonValue]
    folder: str
    files: list[FileEntry]
    figures: dict[str, JsonValue]
    created: datetime
    seconds: float
    reason: str


def step_key(step: str, inputs: Mapping[str, JsonValue]) -> str:
    """Return the key of a step with these inputs: SHA-256 of their canonical JSON, 64 hexadecimal digits.

    Raises:
        SettingError: an input cannot be written as JSON without losing something, or the step's name is no
            folder name.
    """
    if not _STEP_NAME.fullmatch(step) or step == FAILED:
        raise SettingError(
            f"{step!r} cannot be the name of a step",
            where="mlperf_submission.steps.cache",
            remedy=f"use letters, digits, '_' and '-', starting with a letter, and not {FAILED!r}",
        )
    return hash_json({"step": step, "inputs": plain_json(inputs, f"inputs of {step}")})


def record_file(root: Path, step: str, key: str) -> Path:
    """Return where the record of a step lies."""
    return root / step / f"{key}.json"


def write_record(root: Path, record: StepRecord) -> None:
    """Write a record, whole or not at all; its folder has to be `<root>/<step>/<key>`."""
    fields = record.model_dump(exclude={"folder", "reused"})
    stored = _Stored(**fields, folder=record.folder.relative_to(root).as_posix())
    write_atomic(record_file(root, record.step, record.key), stored.model_dump_json(indent=1))


def read_record(root: Path, path: Path) -> StepRecord | None:
    """Read a record; None if there is none or it is not one of ours (damaged, or of another version)."""
    try:
        stored = _Stored.model_validate_json(path.read_bytes())
        if step_key(stored.step, stored.inputs) != stored.key:
            return None
    except (FileNotFoundError, ValidationError, SettingError):
        return None
    if path != record_file(root, stored.step, stored.key) or stored.folder != f"{stored.step}/{stored.key}":
        return None
    fields: dict[str, Any] = stored.model_dump(exclude={"version", "folder"})
    return StepRecord(**fields, folder=root / stored.step / stored.key)


def changes(old_inputs: Mapping[str, JsonValue], new_inputs: Mapping[str, JsonValue]) -> str:
    """Name the inputs that changed, as `name: old -> new`, and those that came or went; "" if none did.

    A long list is cut: the record holds every input.
    """
    old, new = dict(_flat(old_inputs)), dict(_flat(new_inputs))
    changed = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    code = [name for name in changed if name.rpartition(".")[2] in _CODE_INPUTS]
    parts = ["the code of this step changed"] if code else []
    parts += [f"{name}: {_brief(old[name])} -> {_brief(new[name])}" for name in changed if name not in code]
    parts += [f"{name}: added ({_brief(new[name])})" for name in sorted(new.keys() - old.keys())]
    parts += [f"{name}: removed" for name in sorted(old.keys() - new.keys())]
    more = len(parts) - _CHANGES_NAMED
    return ", ".join(parts[:_CHANGES_NAMED]) + (f", and {more} more" if more > 0 else "")


def _flat(value: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _brief(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if _HASH.fullmatch(text):
        kind, _, digits = text.rpartition(":")
        return f"{kind}:{digits[:_HASH_DIGITS]}" if kind else digits[:_HASH_DIGITS]
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[: _VALUE_CHARACTERS - 3]}..."
