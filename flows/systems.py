"""Submissions of several systems: each a run of its own deployment, on its own host, waited for together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict

from mlperf_submission.errors import SettingError, StepFailedError
from tasks.engine.perform import run_logger

FLOW = "submission"
_ASK_SECONDS = 60.0
_AGAIN_SECONDS = 5.0


class Started(BaseModel):
    """A run of a system's deployment.

    Attributes:
        system: the deployment's name, which is that of the system.
        flow_run: the run's id; `name` is what Prefect's page calls it.
    """

    model_config = ConfigDict(frozen=True)
    system: str
    flow_run: UUID
    name: str


def require_deployments(systems: Sequence[str]) -> None:
    """Raise SettingError, with every name, unless each system has its deployment.

    Raises:
        SettingError: deployments are missing; those that there are are named.
    """
    with get_client(sync_client=True) as client:
        missing = []
        for system in systems:
            try:
                client.read_deployment_by_name(f"{FLOW}/{system}")
            except ObjectNotFound:
                missing.append(system)
        if missing:
            ours = FlowFilter(name=FlowFilterName(any_=[FLOW]))
            known = sorted(one.name for one in client.read_deployments(flow_filter=ours))
            raise SettingError(
                f"there is no deployment {', '.join(f'{FLOW}/{system}' for system in missing)}",
                where="the Prefect server",
                remedy=f"name it in prefect.yaml and run `prefect deploy --all`; known: {', '.join(known)}",
            )


def start_submission(system: str, parameters: Mapping[str, Any], key: str) -> Started:
    """Start a run of a system's deployment and do not wait for it.

    A flow that is resumed or retried comes here again: a run of the same key that has not failed is taken up.

    Args:
        system: the deployment's name.
        parameters: those that differ from the deployment's own.
        key: names the flow that asks, and what for.
    """
    for attempt in count():
        run = run_deployment(  # type: ignore[call-arg]  # its decorator takes `_sync`
            f"{FLOW}/{system}",
            parameters=dict(parameters),
            timeout=0,
            idempotency_key=f"{key}-{attempt}",
            _sync=True,  # whoever calls: where an event loop runs, Prefect would return a coroutine
        )
        assert isinstance(run, FlowRun)  # noqa: S101 - for the type checker
        if not _failed(run):
            return Started(system=system, flow_run=run.id, name=run.name)
    raise AssertionError("unreachable")


def wait_for(started: Sequence[Started], seconds: float) -> None:
    """Wait until every run has ended; one that fails does not end the others.

    A server that is away is waited for. What still runs when the time is over goes on running.

    Raises:
        StepFailedError: runs failed or did not end in time: all are named, with what they say.
    """
    waiting = {one.flow_run: one for one in started}
    problems = asyncio.run(_problems(waiting, seconds))
    problems += [
        f"{one.system} (flow run {one.name}): has not ended after {seconds / 3600:.1f} hours and goes on"
        for one in waiting.values()
    ]
    if problems:
        raise StepFailedError(
            f"{len(problems)} of {len(started)} systems have no finished submission:"
            + "".join(f"\n  - {problem}" for problem in sorted(problems)),
            where="their flow runs, on Prefect's page",
            remedy="mend what they say (is the host's worker running?) and start the fleet again: what is "
            "finished on any host is found, not repeated",
        )


async def _problems(waiting: dict[UUID, Started], seconds: float) -> list[str]:
    """Take each run that ends out of those that are waited for; return what those that failed say.

    The server tells of each end by an event. One that was away may have lost some, so it is asked as well,
    first and then once a minute.
    """
    problems: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), get_client() as client:
            while waiting:
                try:
                    async with get_events_subscriber(_ends_of(waiting)) as ends:
                        problems += await _take_out_ended(client, waiting)
                        with suppress(TimeoutError):
                            async with asyncio.timeout(_ASK_SECONDS):
                                while waiting:
                                    await anext(ends)
                                    problems += await _take_out_ended(client, waiting)
                except Exception as error:  # Prefect's subscriber raises no narrower one
                    run_logger().warning("Prefect's server does not answer, and is asked again: %s", error)
                    await asyncio.sleep(_AGAIN_SECONDS)
    return problems


async def _take_out_ended(client: PrefectClient, waiting: dict[UUID, Started]) -> list[str]:
    ours = FlowRunFilter(id=FlowRunFilterId(any_=[*waiting]))
    problems = []
    for run in await client.read_flow_runs(flow_run_filter=ours):
        if run.state is None or not run.state.is_final():
            continue
        one = waiting.pop(run.id)
        run_logger().info("%s: %s", one.system, run.state.name)
        if _failed(run):
            problems.append(f"{one.system} (flow run {one.name}): {run.state.name}, {run.state.message}")
    return problems


def _ends_of(runs: Iterable[UUID]) -> EventFilter:
    """Return which events tell that one of the runs has ended."""
    return EventFilter(
        event=EventNameFilter(prefix=["prefect.flow-run."], exclude_name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run}" for run in runs]),
    )


def _failed(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final() and not run.state.is_completed()
