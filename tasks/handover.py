"""Where a flow's run lies in the store, left with the flow run for those who share no disk."""

from __future__ import annotations

from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mlperf_submission.errors import StoreError, UnreachableError

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
    """Keep with the current flow run where its run lies in the store, for the flow that started it.

    It is an input of the flow run, by Prefect's word for values that are kept with one: a flow's result lies
    on the disk of its host. A flow that is resumed or retried comes here again. Outside of a flow run there
    is nobody to hand anything to.

    Raises:
        UnreachableError: Prefect's server does not take it; the client has waited for it before.
    """
    from prefect import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    flow_run = context.flow_run.id
    try:
        with get_client(sync_client=True) as client:
            try:
                client.create_flow_run_input(flow_run, _KEY, run.model_dump_json())
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.CONFLICT:
                    raise
                client.delete_flow_run_input(flow_run, _KEY)
                client.create_flow_run_input(flow_run, _KEY, run.model_dump_json())
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"Prefect's server does not keep where {run.name} lies ({type(error).__name__})",
            where=f"flow run {flow_run}",
            remedy=f"the run is in the store, at {run.address}; start it again: what is finished is found",
        ) from error


def handed_over(flow_run: UUID) -> HandedOver:
    """Return the run that a flow run left.

    Raises:
        StoreError: it left none, or the record is not one of ours.
        UnreachableError: Prefect's server does not answer; the client has waited for it before.
    """
    from prefect import get_client

    try:
        with get_client(sync_client=True) as client:
            return HandedOver.model_validate_json(client.read_flow_run_input(flow_run, _KEY))
    except (httpx.HTTPError, ValidationError) as error:
        missing = isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 404
        if isinstance(error, ValidationError) or missing:
            raise StoreError(
                "the flow run left no record of a stored run",
                where=f"flow run {flow_run}",
                remedy="run it again: what is finished is found, and the record is written anew",
            ) from error
        raise UnreachableError(
            f"Prefect's server does not answer ({type(error).__name__})",
            where=f"flow run {flow_run}",
            remedy="check the server, and start the flow again: it takes up the runs that it has started",
        ) from error
