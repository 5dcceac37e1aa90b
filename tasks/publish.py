"""Publish a submission that is in the store: from then on it is the system's newest official run."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict

from mlperf_submission.store.store import Store
from tasks.progress import StepEvent, emit
from tasks.step import Step, run_logger, step_task
from tasks.upload import STORE_RETRIES

PARTS = ("tree", "page", "verdict")
"""The folders without which a run is no submission."""


class Published(BaseModel):
    """A submission that is published: `s3://…` of the run."""

    model_config = ConfigDict(frozen=True)
    address: str


@step_task("publish", shown="{run}", retries=STORE_RETRIES)
def publish(system: str, run: str, store: Store) -> Published:
    """Put a candidate's manifest among the published runs, then the pointer to it; nothing is copied.

    A run that is published already stays as it is, so the task may be run again at any time.

    Raises:
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: there is no such candidate, it is a rehearsal or no whole submission, or objects of it are
            missing or changed.
    """
    step = Step(name="publish", label=system, inputs={"run": run})
    emit(StepEvent("start", step.name, step.label))
    started = time.monotonic()
    address = store.publish(system, run, PARTS)
    run_logger().info("published %s: %s", run, address)
    emit(StepEvent("done", step.name, step.label, seconds=time.monotonic() - started, text=address))
    return Published(address=address)
