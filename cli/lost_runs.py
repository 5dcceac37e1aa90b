"""Runs that a killed command left as running in the database of its own Prefect server: marked as crashed.

A command that is killed with SIGKILL can tell nobody. Whether another command is at work with the same
database is told by a lock of the kernel's, which every command shares for its length and which ends with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "in-use.lock"
MESSAGE = "its process was killed; finished steps are kept, the same command goes on from there"


@contextmanager
def in_use(home: Path, when_alone: Callable[[], None]) -> Iterator[None]:
    """Use a Prefect home for the length of the block.

    Args:
        home: the folder of the database.
        when_alone: called first if nobody else uses it; who comes meanwhile waits until it is done.
    """
    descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if _alone(descriptor):
            when_alone()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mark_lost_runs() -> None:
    """Mark every run that the server takes for running as crashed; only if no process can be running one."""
    # Prefect reads its settings when it is imported: only inside of `prefect_server`.
    from prefect import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    active = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    with get_client(sync_client=True) as client:
        flow_state = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=active))
        for flow_run in client.read_flow_runs(flow_run_filter=filters.FlowRunFilter(state=flow_state)):
            client.set_flow_run_state(flow_run.id, Crashed(message=MESSAGE), force=True)
        task_state = filters.TaskRunFilterState(type=filters.TaskRunFilterStateType(any_=active))
        for task_run in client.read_task_runs(task_run_filter=filters.TaskRunFilter(state=task_state)):
            client.set_task_run_state(task_run.id, Crashed(message=MESSAGE), force=True)
