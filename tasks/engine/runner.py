"""What a story is written against: it asks for work, and a runner does it, or says what would be done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar, cast

from prefect import flow, task
from prefect.assets import add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff

from mlperf_submission.errors import PipelineError
from mlperf_submission.process import ended_together
from mlperf_submission.steps.cache import StepRecord
from tasks.engine.clients import wait_for_a_server_that_was_there
from tasks.engine.pending import PendingError, is_pending, pending
from tasks.engine.perform import perform
from tasks.engine.spec import ASSETS, Act, Asset, Part, Step, StepSpec, Work
from tasks.workspace import Workspace

R = TypeVar("R")

wait_for_a_server_that_was_there()


def _may_retry(spec: StepSpec) -> Callable[[object, object, State[Any]], bool]:
    def may_retry(_task: object, _run: object, state: State[Any]) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, BaseException) and spec.again(error)

    return may_retry  # Prefect takes a plain function only, and else retries nothing


def _do(workspace: Workspace, step: Work[Any], asset: str | None) -> Any:
    done = perform(workspace, step)
    if done.found:
        made = f", made {done.value.created:%Y-%m-%d %H:%M:%S} UTC" if isinstance(step, Step) else ""
        return Completed(name="Cached", data=done.value, message=f"{done.text}{made}")
    if asset and isinstance(step, Step):
        add_asset_metadata(asset, {"sha256": done.value.content_hash})
    return done.value


@task(cache_policy=NO_CACHE, persist_result=False)
def _walk(body: Callable[[], Any]) -> Any:
    return body()


@dataclass(frozen=True)
class Live:
    """Does each piece of work as a task of Prefect's, with a name, retries and a state that people can read.

    The time limit of a step is its own: it ends the child process, which a Prefect timeout cannot.

    Attributes:
        workspace: where finished steps are kept.
        forget_before: a run that was made before this time is made again; None: what is finished is found.
            A flow that is resumed or retried comes by a second time, and must not repeat what it has measured
            itself: the time is that of its first start.
        measures_once: a run that fails is not tried again: in a rehearsal its speed decides nothing.
        system: whose engines, tree, page and run are shown as Prefect's assets; empty: nobody's are.
    """

    workspace: Workspace
    forget_before: datetime | None = None
    measures_once: bool = False
    system: str = ""
    _assets: dict[str, Asset] = field(default_factory=dict)

    def __call__(self, step: Work[R]) -> R:
        """Find a piece of work finished, which Prefect shows as Cached, or do it."""
        spec = step.spec
        if isinstance(step, Step):
            self._forget_old(step)
        name, key = spec.name.replace("_", " "), self._asset_of(step)
        options: dict[str, Any] = {
            "name": name,
            "task_run_name": f"{name} {step.label}",
            "retries": 0 if spec.is_run and self.measures_once else spec.retries,
            "retry_delay_seconds": exponential_backoff(backoff_factor=1),  # counts the retries beside it
            "retry_jitter_factor": 0.5,
            "retry_condition_fn": _may_retry(spec),
            "cache_policy": NO_CACHE,  # finished steps are found by our own cache, which looks at the files
            "persist_result": False,  # and are kept there
        }
        if key and spec.asset:
            before = ASSETS[: ASSETS.index(spec.asset)]
            options["asset_deps"] = [one for one, kind in [*self._assets.items()] if kind in before]
            self._assets[key] = spec.asset
        shown = materialize(key, **options)(_do) if key else Task(_do, **options)
        return cast(R, shown(self.workspace, step, key, return_state=True).result())

    def _asset_of(self, step: Work[Any]) -> str | None:
        """Return the key of what a step makes, which Prefect takes and which says nothing of the host."""
        if not (self.system and step.spec.asset):
            return None
        subject = [] if step.label == self.system else [step.label]
        parts = (re.sub(r"[^A-Za-z0-9_.-]+", "-", part) for part in (self.system, step.spec.asset, *subject))
        return f"mlperf://{'/'.join(parts)}"

    def finds(self, step: Step) -> bool:
        """Whether a step is finished, and is not to be done again."""
        self._forget_old(step)
        return _find(self.workspace, step) is not None

    def forget(self, record: StepRecord) -> None:
        """Remove a finished step."""
        self.workspace.cache.remove(record)

    def part(self, name: str, story: Callable[[Runner], R]) -> R:
        """Walk a part of the story: as a subflow, unless there is nothing to do in it."""
        if self.forget_before is None and _is_finished(self.workspace, story):
            return story(self)

        def walked() -> R:
            return story(self)

        shown = flow(name=name.partition(" ")[0], flow_run_name=name, persist_result=False)(walked)
        return shown()

    @contextmanager
    def side_by_side(
        self, name: str, bodies: Mapping[str, Callable[[], R]], width: int
    ) -> Iterator[Mapping[str, Callable[[], R]]]:
        """Walk parts in threads, each a task with the tasks of its steps below it."""
        pool: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=width)
        with pool, ended_together():
            yield {
                key: pool.submit(
                    _walk.with_options(name=name, task_run_name=f"{name} {key}"), {"body": body}
                ).result
                for key, body in bodies.items()
            }

    def _forget_old(self, step: Step) -> None:
        if self.forget_before and step.spec.is_run:
            found = _find(self.workspace, step)
            if found and found.created < self.forget_before:
                self.forget(found)


@dataclass(frozen=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        name, label, part: of the step.
        seconds: how long it is expected to take, whether finished or not.
        done: whether it is finished already.
    """

    name: str
    label: str
    part: Part
    seconds: float
    done: bool


class Dry:
    """Looks up what is finished; changes nothing and starts nothing. `steps` has the story's in their order.

    Args:
        workspace: where finished steps are kept.
        guess: returns the seconds of a step that was never done here.
    """

    def __init__(self, workspace: Workspace, guess: Callable[[StepSpec, str], float]) -> None:
        self.workspace = workspace
        self.steps: list[PlannedStep] = []
        self._guess = guess

    def __call__(self, step: Work[R]) -> R:
        """Return the record of a finished step; what else there is to be done is pending."""
        name, label = step.spec.name, step.label
        found = _find(self.workspace, step, sizes_only=True)
        seconds = found.seconds if isinstance(found, StepRecord) else self._seconds(step)
        planned = PlannedStep(name, label, step.spec.part, seconds, found is not None)
        if planned not in self.steps:  # a probe for two scenarios is done once
            self.steps.append(planned)
        return pending(f"{name} {label}") if found is None else found

    def finds(self, step: Step) -> bool:
        """Whether a step is finished."""
        return _find(self.workspace, step, sizes_only=True) is not None

    def forget(self, record: StepRecord) -> None:
        """Nothing is changed."""

    def part(self, name: str, story: Callable[[Runner], R]) -> R:  # noqa: ARG002 - the plan has no parts
        """Walk a part of the story."""
        return story(self)

    def side_by_side(
        self,
        name: str,  # noqa: ARG002 - the plan has no parts
        bodies: Mapping[str, Callable[[], R]],
        width: int,  # noqa: ARG002
    ) -> AbstractContextManager[Mapping[str, Callable[[], R]]]:
        """Walk parts one after the other."""
        return nullcontext(bodies)

    @cached_property
    def _durations(self) -> dict[tuple[str, str], float]:
        records = sorted(self.workspace.cache.records(), key=lambda record: record.created)
        return {(record.step, record.label): record.seconds for record in records}

    def _seconds(self, step: Work[Any]) -> float:
        name, label = step.spec.name, step.label
        if (name, label) in self._durations:
            return self._durations[name, label]
        try:
            if isinstance(step, Step) and step.seconds:
                return step.seconds(self.workspace)
        except PendingError:
            pass
        return self._guess(step.spec, label)


Runner = Live | Dry
"""What a story is written against."""


def _is_finished(workspace: Workspace, story: Callable[[Runner], Any]) -> bool:
    """Whether every step of a part would be found: a subflow takes Prefect about a second."""
    dry = Dry(workspace, lambda *_: 0.0)
    try:
        story(dry)
    except (PendingError, PipelineError):
        return False
    return all(step.done for step in dry.steps)


def _find(workspace: Workspace, step: Work[R], *, sizes_only: bool = False) -> R | None:
    """Return what a finished piece of work handed on; None if something that goes in is pending."""
    try:
        if isinstance(step, Act):
            return step.finished(workspace)
        assert isinstance(step, Step)  # noqa: S101 - there are these two kinds
        inputs = dict(step.inputs())
        if is_pending(inputs):
            return None
        found = workspace.cache.find(step.spec.name, step.label, inputs, sizes_only=sizes_only)
        return cast(R | None, found)
    except PendingError:
        return None
