"""What Prefect's automations listen to: events that say what became of a run, in words for a person.

`deployments/automations.yaml` turns them into notifications. Prefect's own events tell that a flow run
failed; these tell an INVALID run from a failed audit, and bring what is wrong and what to do.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event

from mlperf_submission.errors import AuditError, IncompleteError, InvalidRunError

Happening = Literal[
    "mlperf.run.invalid",
    "mlperf.audit.failed",
    "mlperf.submission.failed",
    "mlperf.submission.waiting",
    "mlperf.submission.refused",
    "mlperf.submission.done",
]
HEADLINES: dict[Happening, str] = {
    "mlperf.run.invalid": "a run is INVALID",
    "mlperf.audit.failed": "a compliance test failed",
    "mlperf.submission.failed": "failed",
    "mlperf.submission.waiting": "waits for approval",
    "mlperf.submission.refused": "refused, not published",
    "mlperf.submission.done": "done",
}
_TEXT_CHARACTERS = 8000
"""An event may hold 1.5 MB; a message for a person should be read."""


def tell(
    happening: Happening, flow: Flow[..., Any], flow_run: FlowRun, text: str, *, rehearsal: bool | None = None
) -> None:
    """Send an event; a server that does not take it changes nothing for the run.

    Args:
        happening: the event's name.
        flow: whose run it is.
        flow_run: whom it is about.
        text: what happened, for a person.
        rehearsal: whether nothing of the run is a result, if that is known.
    """
    defaults = {key: one.get("default") for key, one in flow.parameters.properties.items()}
    given = {**defaults, **flow_run.parameters}  # of a submission `system`, of a fleet `name`
    subject = str(given.get("system") or given.get("name") or flow_run.name)
    emit_event(
        event=happening,
        resource={
            "prefect.resource.id": f"mlperf.flow-run.{flow_run.id}",
            "prefect.resource.name": flow_run.name,
            "mlperf.rehearsal": {True: "yes", False: "no", None: "unknown"}[rehearsal],
        },
        related=[
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": flow_run.name,
            }
        ],
        payload={"subject": f"{subject}: {HEADLINES[happening]}", "text": text[:_TEXT_CHARACTERS]},
    )


def tell_of_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Say why a flow failed; Prefect calls this hook."""
    error = state.result(raise_on_failure=False)
    causes = error.failures if isinstance(error, IncompleteError) and error.failures else (error,)
    happening: Happening = "mlperf.submission.failed"
    if any(isinstance(cause, InvalidRunError) for cause in causes):
        happening = "mlperf.run.invalid"
    elif any(isinstance(cause, AuditError) for cause in causes):
        happening = "mlperf.audit.failed"
    tell(happening, flow, flow_run, str(error) if isinstance(error, BaseException) else str(state.message))
