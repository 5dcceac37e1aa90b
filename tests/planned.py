"""What the plan says is left to do, and what a run says that it did: to be held against each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flows.plan import make_plan
from flows.request import SubmissionRequest
from tasks.workspace import Workspace

_STEP = re.compile(r"^ ([=✓✗]) +\d+/\d+ +(\S+) +(.+?)  ", re.MULTILINE)


def left_to_do(work: Path, system: str | Path, *names: str, **asked: Any) -> set[tuple[str, str]]:
    """Return (step, label) of everything that the plan has to do: of these benchmarks, or of all."""
    request = SubmissionRequest.checked(str(system), names or None, **asked)
    return {(step.name, step.label) for step in make_plan(Workspace.at(work), request).steps if not step.done}


def shown_steps(output: str) -> list[tuple[str, str, str]]:
    """Return (mark, step, label) of each line of progress: `=` found, `✓` done, `✗` failed."""
    return [(mark, step, label.strip()) for mark, step, label in _STEP.findall(output)]


def done_steps(output: str) -> set[tuple[str, str]]:
    """Return (step, label) of everything that was really done."""
    return {(step, label) for mark, step, label in shown_steps(output) if mark == "✓"}
