"""Where a flow's run lies in the store, left with the flow run for those who share no disk."""

from __future__ import annotations

import json
from uuid import UUID

from prefect import get_client
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.sorting import ArtifactSort
from pydantic import BaseModel, ConfigDict, ValidationError

from mlperf_submission.errors import StoreError
from tasks.artifacts import publish

_KEY = "stored-run"


class HandedOver(BaseModel):
    """A run that another flow put into the store.

    Attributes:
        system, run: its name in the store.
        round: e.g. `v4.1`.
        rehearsal: whether nothing of it is a result.
        address: `s3://…` of the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    system: str
    run: str
    round: str
    rehearsal: bool
    address: str

    @property
    def name(self) -> str:
        """The run's name as the store finds it, whether it is published or not."""
        return f"{self.system}/{self.run}"


def hand_over(run: HandedOver) -> None:
    """Leave the address of a stored run with the current flow run, as an artifact on its page."""
    publish(
        create_table_artifact,
        key=f"{run.system}-{_KEY}",
        table=[run.model_dump(mode="json")],
        description=f"{run.name} is in the store",
    )


def handed_over(flow_run: UUID) -> HandedOver:
    """Return the run that a flow run left.

    Raises:
        StoreError: it left none, or the record is not one of ours.
    """
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]),
                key=ArtifactFilterKey(like_=f"%-{_KEY}"),
            ),
            sort=ArtifactSort.UPDATED_DESC,
            limit=1,
        )
    try:
        (record,) = json.loads(str(found[0].data)) if found else []
        return HandedOver.model_validate(record)
    except (ValueError, ValidationError) as error:
        raise StoreError(
            "the flow run left no record of a stored run",
            where=f"flow run {flow_run}",
            remedy="run it again: what is finished is found, and the record is written anew",
        ) from error
