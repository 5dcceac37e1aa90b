"""What the plan says is left to do, to be held against what a run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.plan import make_plan
from flows.request import SubmissionRequest
from tasks.workspace import Workspace


def left_to_do(work: Path, system: str | Path, *names: str, **asked: Any) -> set[tuple[str, str]]:
    """Return (step, label) of everything that the plan has to do: of these benchmarks, or of all."""
    request = SubmissionRequest.checked(str(system), names or None, **asked)
    return {(step.name, step.label) for step in make_plan(Workspace.at(work), request).steps if not step.done}
