"""What all tasks share: how a step is found or done, its Prefect settings, its log and its progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict, JsonValue

from mlperf_submission.errors import PipelineError
from mlperf_submission.harness.lock import host_lock
from mlperf_submission.steps.cache import StepRecord
from tasks.artifacts import ProgressArtifact
from tasks.progress import StepEvent, emit
from tasks.workspace import Workspace

HOST_TIMEOUT_SECONDS = 24 * 3600.0
"""How long a step waits for the host: as long as the longest list of measurements before it."""
_EVENT_SECONDS = 0.2
P = ParamSpec("P")
R = TypeVar("R")


class Step(BaseModel):
    """One piece of work, named by everything that goes into it."""

    model_config = ConfigDict(frozen=True)
    name: str
    label: str
    inputs: dict[str, JsonValue]


class Recorder:
    """What `produce` of a step gets: where to report its progress."""

    def __init__(self, step: Step, artifact: ProgressArtifact, first: float = 0.0, last: float = 1.0) -> None:
        self._step = step
        self._first = first
        self._last = last
        self._reported = 0.0
        self._artifact = artifact

    def __call__(self, fraction: float) -> None:
        """Report how far this part of the step is (0 to 1); events go out at most five times a second."""
        now = time.monotonic()
        if now - self._reported >= _EVENT_SECONDS:
            self._reported = now
            whole = self._first + (self._last - self._first) * min(max(fraction, 0.0), 1.0)
            emit(StepEvent("progress", self._step.name, self._step.label, fraction=whole))
            self._artifact.update(whole)

    def part(self, first: float, last: float) -> Recorder:
        """Return the recorder of a part that covers the step from `first` to `last` (0 to 1)."""
        return Recorder(self._step, self._artifact, first, last)


def perform(
    workspace: Workspace,
    step: Step,
    produce: Callable[[Path, Recorder], Mapping[str, Any]],
    *,
    prepares: bool = False,
) -> StepRecord:
    """Find a step finished, or do it; log why, and tell how far it is.

    Args:
        workspace: where finished steps are kept.
        step: what goes into it.
        produce: writes into an empty folder and returns figures; what it wrote becomes the step's files.
        prepares: the step is preparation, which may overlap other preparation on this host, but never a
            measurement: it shares the host's lock while it works.
    """
    logger = run_logger()
    emit(StepEvent("start", step.name, step.label))
    started = time.monotonic()

    def say(text: str) -> None:
        logger.info("%s %s: %s", step.name, step.label, text)
        emit(StepEvent("note", step.name, step.label, text=text))

    def work(folder: Path) -> Mapping[str, Any]:
        title = f"{step.name} {step.label}"
        with ProgressArtifact(title) as artifact, _host_shared(title, say) if prepares else nullcontext():
            return produce(folder, Recorder(step, artifact))

    try:
        record = workspace.cache.run(step.name, step.label, step.inputs, work, say=say)
    except PipelineError as error:
        emit(StepEvent("failed", step.name, step.label, text=error.what))
        if ".partial-" in error.where:  # that folder is kept under another name, as evidence
            error.where = str(workspace.cache.root / "failed" / step.name)
        raise
    seconds = time.monotonic() - started
    emit(
        StepEvent(
            "found" if record.reused else "done", step.name, step.label, seconds=seconds, text=record.reason
        )
    )
    return record


def _host_shared(what: str, say: Callable[[str], None]) -> AbstractContextManager[object]:
    return host_lock(None, True, HOST_TIMEOUT_SECONDS, what=what, on_wait=say)


def attempts_left() -> int:
    """Return how often Prefect would try the task of this call again; 0 outside of a task's run."""
    context = TaskRunContext.get()
    if context is None:
        return 0
    return max(0, context.task.retries + 1 - context.task_run.run_count)


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Return Prefect's logger of the run, or an ordinary one outside of a run (a task's `.fn` in a test)."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("mlperf_submission")


def step_task(
    name: str,
    *,
    shown: str = "",
    retries: int = 0,
    again: Callable[[BaseException], bool] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return the decorator of a step's task.

    Finished steps are found by our own cache, which looks at the files; so Prefect caches nothing. Results
    are JSON. The time limit is the step's own: it ends the child process, which a Prefect timeout cannot.

    Args:
        name: the task's name, verb first.
        shown: what one run of it is called, with the task's parameters in braces.
        retries: how often a failure is tried again, after 1, 2, 4, … seconds.
        again: which errors may be tried again; those that say so themselves (`retryable`) by default.
    """
    may_retry = again or (lambda error: isinstance(error, PipelineError) and error.retryable)

    def condition(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, BaseException) and may_retry(error)

    return task(
        name=name,
        task_run_name=f"{name} {shown}".strip(),
        retries=retries,
        retry_delay_seconds=exponential_backoff(backoff_factor=1),
        retry_jitter_factor=0.5,
        retry_condition_fn=condition,
        cache_policy=NO_CACHE,
        persist_result=True,
        result_serializer="json",
    )
