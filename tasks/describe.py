"""Describe the machine that a rehearsal ran on: a newcomer sees their own server at once.

What a person typed into the system file wins; what the machine tells fills the rest; what neither tells is
said to be a person's to fill in, in the tree and on the page. A submission's description is the file's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.config.system import System
from mlperf_submission.description.describe import MachineDescription, describe_machine
from mlperf_submission.files import write_atomic
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.steps.records import changes
from mlperf_submission.submission import description
from tasks.engine.pending import derived
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.hardware import host_identity
from tasks.versions import versions_of

DESCRIPTION_FILE = "description.json"
FILL_IN = "to be filled in by a person"
HOST_CHANGED = "mlperf.host.changed"
_NOT_THE_MACHINE = ("typed", "code_version")
DESCRIBE = StepSpec("describe", "deliver", (), 0.5, 0.5)


def describe(system: System) -> Step:
    """Write `description.json`, a `mlperf_submission.description.describe.MachineDescription`."""

    def inputs() -> dict[str, JsonValue]:
        return {
            "typed": {**system.description},
            "host": host_identity(),
            "code_version": code_version("mlperf_submission.description.describe"),
            **versions_of("mlcommons-loadgen", "onnxruntime", "prefect", "tensorrt", "tensorrt-rtx"),
        }

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        found = describe_machine(typed_values=system.description, typed_in="the system file")
        write_atomic(folder / DESCRIPTION_FILE, found.model_dump_json(indent=1))
        before = recorder.workspace.cache.newest(DESCRIBE.name, system.name)
        if before:
            _tell_of_change(system.name, before.inputs, inputs())
        return {"open": list(found.score.open)}

    return Step(DESCRIBE, system.name, inputs, produce)


def _tell_of_change(system: str, before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> None:
    """Send an event if the machine or what runs on it is another one; prefect.yaml lets it start a flow."""
    from prefect.context import TaskRunContext
    from prefect.events import emit_event

    old, new = ({key: one[key] for key in one if key not in _NOT_THE_MACHINE} for one in (before, now))
    if (changed := changes(old, new)) and TaskRunContext.get():
        resource = {"prefect.resource.id": f"mlperf.system.{system}", "prefect.resource.name": system}
        emit_event(HOST_CHANGED, resource=resource, payload={"changed": changed})


@derived
def read_description(record: StepRecord) -> MachineDescription:
    """Return the description that a finished step holds."""
    return MachineDescription.model_validate_json(record.file(DESCRIPTION_FILE).read_text())


@derived
def described(system: System, found: MachineDescription) -> System:
    """Return the system with a description in which every field that the round asks for has a value."""
    values = {name: value for name, value in found.values().items() if value not in (None, "")}
    kept = {name: value for name, value in values.items() if name in description.KNOWN}
    open_fields = dict.fromkeys(to_fill_in(found), FILL_IN)
    if model := kept.get("host_processor_model_name"):
        cores = kept.get("host_processor_core_count", "?")
        open_fields["system_name"] = f"a machine with {cores} cores of {model}"
    return system.model_copy(update={"description": {**open_fields, **kept}})


def to_fill_in(found: MachineDescription) -> list[str]:
    """Return the fields that a submission needs and nobody has told yet.

    Division, submitter and system type stand in the system file itself.
    """
    return [name for name in found.score.open if name not in ("division", "submitter", "system_type")]
