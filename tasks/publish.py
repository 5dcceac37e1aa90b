"""Publish a submission that is in the store: from then on it is the system's newest official run."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict

from common.errors import StoreError
from storage.store import Area, Store, StoredRun
from tasks.progress import StepEvent, emit
from tasks.step import Step, run_logger, step_task
from tasks.upload import STORE_RETRIES

_PARTS = ("tree", "page", "verdict")


class Published(BaseModel):
    """A submission that is published: `s3://…` of the run."""

    model_config = ConfigDict(frozen=True)
    address: str


def require_whole(candidate: StoredRun) -> None:
    """Raise StoreError unless a candidate has what makes it a submission: its tree, its page, its verdict."""
    held = {file.path.partition("/")[0] for file in candidate.manifest.files}
    lacking = [part for part in _PARTS if part not in held]
    if lacking:
        raise StoreError(
            f"a submission is not published without its {' and '.join(lacking)}",
            where=candidate.address,
            remedy="run the same system again: what is finished is found, and the run is uploaded whole",
        )


@step_task("publish", shown="{run}", retries=STORE_RETRIES)
def publish(system: str, run: str, store: Store) -> Published:
    """Put a candidate's manifest among the published runs, then the pointer to it; nothing is copied.

    A run that is published already stays as it is, so the task may be run again at any time.

    Raises:
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: there is no such candidate, it is a rehearsal, a part of it or objects are missing.
    """
    step = Step(name="publish", label=system, inputs={"run": run})
    emit(StepEvent("start", step.name, step.label))
    started = time.monotonic()
    require_whole(store.find(f"{Area.CANDIDATES}/{system}/{run}"))
    address = store.publish(system, run)
    run_logger().info("published %s: %s", run, address)
    emit(StepEvent("done", step.name, step.label, seconds=time.monotonic() - started, text=address))
    return Published(address=address)
