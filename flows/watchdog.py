"""A process beside a deployment's run that says what became of the run when nobody else will.

`prefect worker start` answers SIGTERM by killing the flows that it has started, and ends: they cannot say any
more how they ended, and it does not. A worker that is killed leaves its flows to nobody. Prefect would show
such runs as Running until their signs of life are missed.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from mlperf_submission.process import search_path

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_NOT_ENDED = ("RUNNING", "PENDING", "CANCELLING")
"""States that have somebody at work. A run that waits, for a person or a time, has no process."""

_WORKER_SECONDS = 60.0
"""So long a worker may take to end after its flows. One that goes on says itself how a flow ended."""

_RECORDED_SECONDS = 3.0
"""Within this time the server has written what the flow told it last (`prefect.toml`: each second)."""


def watch_over_this_run() -> None:
    """Start the process, if this one was started for the current flow run: by a worker, not from a shell.

    It sleeps until this process or the worker's is gone, and is ended when this one ends in order.
    """
    from prefect.context import FlowRunContext
    from prefect.settings import get_current_settings

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or os.environ.get("PREFECT__FLOW_RUN_ID") != str(run.id):
        return
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    # The worker waits for whoever holds its output, and removes the folder of a run whose code was cloned.
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "flows.watchdog", str(run.id), str(os.getpid()), str(os.getppid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, **settings, "PYTHONPATH": search_path()},
        start_new_session=True,
    )
    atexit.register(watchdog.kill)


def watch(run: UUID, flow: int, worker: int) -> None:
    """Wait until a flow's process or its worker's is gone; end the flow, and say so on Prefect's pages.

    Args:
        run: the flow run.
        flow: id of the flow's process, which is our parent.
        worker: id of the process that started the flow.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # systemd sends it to all that belongs to the worker
    of_flow, of_worker = os.pidfd_open(flow), os.pidfd_open(worker)
    if os.getppid() == flow:  # and else it is gone already
        select.select([of_flow, of_worker], [], [])
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(of_flow, signal.SIGKILL)
    is_stopped = bool(select.select([of_worker], [], [], _WORKER_SECONDS)[0])
    time.sleep(_RECORDED_SECONDS)
    worker_name = os.environ.get("PREFECT__WORKER_NAME", "the worker")
    why = f"{worker_name} was stopped, and this run with it" if is_stopped else "its process was killed"
    _end(run, f"{why}; what it had finished is kept, and found when it is run again")


def _end(run: UUID, message: str) -> None:
    """Give a run that nobody works at, its subflows and tasks the state that tells so."""
    from prefect import get_client
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        FlowRunFilterParentFlowRunId,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import State, StateType
    from prefect.states import Cancelled, Crashed

    def end(client: SyncPrefectClient, of: FlowRun) -> None:
        is_cancelling = of.state is not None and of.state.is_cancelling()
        state: State[None] = (Cancelled if is_cancelling else Crashed)(message=message)
        parent = FlowRunFilterParentFlowRunId(any_=[of.id])
        for subflow in client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent)):
            # A run of a deployment has a worker of its own, as the systems of a fleet have.
            if subflow.deployment_id is None:
                end(client, subflow)
        at_work = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING]))
        for task in client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[of.id])),
            task_run_filter=TaskRunFilter(state=at_work),
        ):
            client.set_task_run_state(task.id, state, force=True)
        if of.state and of.state.type in _NOT_ENDED:
            client.set_flow_run_state(of.id, state, force=True)

    with get_client(sync_client=True) as client:
        end(client, client.read_flow_run(run))


if __name__ == "__main__":
    watch(UUID(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
