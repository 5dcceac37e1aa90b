"""How a piece of work is found or done: its log, its progress, its events."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from mlperf_submission.errors import PipelineError
from mlperf_submission.harness.lock import host_lock
from mlperf_submission.steps.cache import StepRecord
from tasks.artifacts import ProgressArtifact
from tasks.engine.spec import Act, Done, Step, Work
from tasks.progress import EventKind, StepEvent, emit
from tasks.workspace import Workspace

HOST_TIMEOUT_SECONDS = 24 * 3600.0
"""How long a step waits for the host: as long as the longest list of measurements before it."""
_EVENT_SECONDS = 0.2
R = TypeVar("R")


class Recorder:
    """What a piece of work gets: where to report its progress, and the work folder."""

    def __init__(
        self,
        workspace: Workspace,
        step: Work[Any],
        artifact: ProgressArtifact | None = None,
        first: float = 0.0,
        last: float = 1.0,
    ) -> None:
        self.workspace = workspace
        self._step = step
        self._artifact = artifact
        self._first = first
        self._last = last
        self._reported = 0.0

    def __call__(self, fraction: float) -> None:
        """Report how far this part of the step is (0 to 1); events go out at most five times a second."""
        now = time.monotonic()
        if now - self._reported >= _EVENT_SECONDS:
            self._reported = now
            whole = self._first + (self._last - self._first) * min(max(fraction, 0.0), 1.0)
            _tell(self._step, "progress", fraction=whole)
            if self._artifact:
                self._artifact.update(whole)

    def part(self, first: float, last: float) -> Recorder:
        """Return the recorder of a part that covers the step from `first` to `last` (0 to 1)."""
        return Recorder(self.workspace, self._step, self._artifact, first, last)


def perform(workspace: Workspace, step: Work[R]) -> Done[R]:
    """Find a piece of work finished, or do it; log why, and tell how far it is.

    Raises:
        PipelineError: whatever the work raises; where it left evidence, the error names the place.
    """
    _tell(step, "start")
    started = time.monotonic()
    try:
        if isinstance(step, Act):
            done: Done[Any] = step.do(Recorder(workspace, step))
            run_logger().info("%s %s: %s", step.spec.name, step.label, done.text or "done")
        else:
            assert isinstance(step, Step)  # noqa: S101 - there are these two kinds
            record = _recorded(workspace, step)
            done = Done(record, record.reason, record.reused)
    except PipelineError as error:
        _tell(step, "failed", text=error.what)
        if ".partial-" in error.where:  # that folder is kept under another name, as evidence
            error.where = str(workspace.cache.root / "failed" / step.spec.name)
        raise
    _tell(step, "found" if done.found else "done", seconds=time.monotonic() - started, text=done.text)
    if isinstance(step, Step) and step.show:
        step.show(done.value)
    return done


def _recorded(workspace: Workspace, step: Step) -> StepRecord:
    def say(text: str) -> None:
        run_logger().info("%s %s: %s", step.spec.name, step.label, text)
        _tell(step, "note", text=text)

    def work(folder: Path) -> Mapping[str, Any]:
        title = f"{step.spec.name} {step.label}"
        shared = host_lock(None, True, HOST_TIMEOUT_SECONDS, what=title, on_wait=say)
        with ProgressArtifact(title) as artifact, shared if step.spec.part == "prepare" else nullcontext():
            return step.produce(folder, Recorder(workspace, step, artifact))

    return workspace.cache.run(step.spec.name, step.label, step.inputs(), work, say=say)


def _tell(
    step: Work[Any], kind: EventKind, fraction: float = 0.0, seconds: float = 0.0, text: str = ""
) -> None:
    if not step.spec.quiet:
        emit(StepEvent(kind, step.spec.name, step.label, fraction, seconds, text, step.spec.part))


def attempts_left() -> int:
    """Return how often Prefect would try the task of this call again; 0 outside of a task's run."""
    from prefect.context import TaskRunContext

    context = TaskRunContext.get()
    if context is None:
        return 0
    return max(0, context.task.retries + 1 - context.task_run.run_count)


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Return Prefect's logger of the run, or an ordinary one outside of a run (in a test)."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("mlperf_submission")
