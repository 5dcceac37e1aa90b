"""Publish a submission that is in the store: from then on it is the system's newest official run."""

from __future__ import annotations

from mlperf_submission.store.store import Store
from tasks.engine.perform import Recorder
from tasks.engine.spec import Act, Done, StepSpec
from tasks.upload import STORE_RETRIES

PUBLISH = StepSpec("publish", "deliver", retries=STORE_RETRIES)
PARTS = ("tree", "page", "verdict")
"""The folders without which a run is no submission."""


def publish(system: str, run: str, store: Store) -> Act[str]:
    """Put a candidate's manifest among the published runs, then the pointer to it; nothing is copied.

    It hands on `s3://…` of the published run. One that is published already stays as it is, so this may be
    done again at any time.

    Raises:
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: there is no such candidate, it is a rehearsal or no whole submission, or objects of it are
            missing or changed.
    """

    def do(_recorder: Recorder) -> Done[str]:
        address = store.publish(system, run, PARTS)
        return Done(address, address)

    return Act(PUBLISH, f"{system}/{run}", do)
