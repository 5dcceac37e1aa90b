"""What a step tells a person while it runs, as events that a console (or nobody) listens to.

Events go through a logger of their own, so that a flow run on a worker, in a test or from a shell needs no
object handed through every call; Prefect's own loggers carry only what is worth keeping with the run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

EVENTS = logging.getLogger("mlperf_submission.progress")
EventKind = Literal["start", "progress", "found", "done", "failed", "note"]


@dataclass(frozen=True)
class StepEvent:
    """One event of a step.

    Attributes:
        kind: `start`, `progress`, `found` (finished earlier), `done`, `failed` or `note`.
        step: the step's name, e.g. `build_engine`.
        label: what it is done for, e.g. `resnet50 int8`.
        fraction: 0 to 1, for `progress`.
        seconds: how long it took, for `done`.
        text: the reason or note, for a person.
        part: the part of a run that the step belongs to.
    """

    kind: EventKind
    step: str
    label: str
    fraction: float = 0.0
    seconds: float = 0.0
    text: str = ""
    part: str = "deliver"


def emit(event: StepEvent) -> None:
    """Hand an event to whoever listens."""
    EVENTS.info("%s %s %s", event.kind, event.step, event.label, extra={"step_event": event})
