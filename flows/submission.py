"""The submission of one system: prepare, measure, deliver. A step that is finished is found, not repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from flows.deliver import Delivered, deliver
from flows.explain import explained
from flows.measure import measure_result
from flows.networks import NetworksOutcome, rehearse_networks
from flows.prepare import prepare
from flows.request import SubmissionRequest
from models.benchmark import Weights
from tasks.artifacts import publish
from tasks.measurement import disturbances_of
from tasks.package import Measured
from tasks.step import run_logger
from tasks.upload import check_store, store_for
from tasks.validate import require_accepted
from tasks.workspace import Workspace


class ResultLine(BaseModel):
    """One line of the table of results."""

    model_config = ConfigDict(frozen=True)
    benchmark: str
    scenario: str
    value: float
    units: str
    accuracy: str
    p99_ms: float | None
    audits: str


class SubmissionOutcome(BaseModel):
    """What the flow hands back, and what a person reads at its end.

    Attributes:
        rehearsal: whether nothing of this is a result.
        verdict: the validation in one line.
        accepted: whether the validation accepted the tree.
        notes: what a person should know of the runs, e.g. that something disturbed one.
        tree, page: where they lie on this host.
        s3_address: where the run lies in S3.
    """

    model_config = ConfigDict(frozen=True)
    system: str
    run: str
    rehearsal: bool
    backend_notice: str
    results: list[ResultLine]
    verdict: str
    accepted: bool
    warnings: int
    notes: list[str] = []
    tree: Path
    page: Path
    s3_address: str


@flow(name="submission", persist_result=True, result_serializer="json")
@explained
def submission(
    system: Annotated[str, Field(description="A name in deployments/systems, or the path of a system file")],
    models: Annotated[
        list[str] | None, Field(description="Only these benchmarks; none: all that the file names")
    ] = None,
    scenarios: Annotated[
        list[Literal["Offline", "Server"]] | None, Field(description="Only these scenarios; none: all")
    ] = None,
    full_length: Annotated[
        bool, Field(description="A rehearsal with the official durations, counts and sample numbers")
    ] = False,
    measure_again: Annotated[
        bool, Field(description="Repeat finished measurements; preparation is kept")
    ] = False,
    search_minutes: Annotated[
        float | None,
        Field(description="Search the highest Server target for so long first; none: take the file's"),
    ] = None,
    weights: Annotated[
        Weights,
        Field(description="random: the official networks with random weights, built and timed; no result"),
    ] = "trained",
    layers: Annotated[
        int | None, Field(description="Layers of gptj-99's random network; none: all 28")
    ] = None,
    work: Annotated[Path, Field(description="The folder that everything is kept in")] = Path("work"),
) -> SubmissionOutcome | NetworksOutcome:
    """Take one system from nothing to a checked submission in S3; with random weights to engines and speeds.

    Raises:
        PipelineError: a step failed: INVALID run, accuracy below target, failed audit, refused tree, …
    """
    request = SubmissionRequest.checked(
        system, models, scenarios, full_length, search_minutes, weights=weights, layers=layers
    )
    workspace = Workspace.at(work)
    logger = run_logger()
    logger.info("%s: %d results of round %s", request.system.name, len(request.results), request.round.name)
    if request.weights == "random":
        return rehearse_networks(workspace, request, measure_again)
    with store_for(workspace, request.system) as store:
        check_store(store)
        prepared = {one.name: prepare(workspace, request, one) for one in request.benchmarks}
        results = [
            measure_result(workspace, request, prepared[one.benchmark], one, measure_again)
            for one in request.results
        ]
        steps = [step for one in prepared.values() for step in one.steps]
        delivered = deliver(workspace, request, results, steps, store)
    outcome = _outcome(request, results, delivered)
    publish(
        create_table_artifact,
        key=f"{request.system.name}-results",
        table=[line.model_dump(mode="json") for line in outcome.results],
        description=". ".join(
            ["REHEARSAL, NOT A RESULT"] * outcome.rehearsal + [outcome.verdict, *outcome.notes]
        ),
    )
    publish(
        create_link_artifact,
        key=f"{request.system.name}-page",
        link=outcome.page.as_uri(),
        link_text="results page",
        description=f"Stored at {outcome.s3_address}",
    )
    require_accepted(delivered.verdict, delivered.tree)
    return outcome


def _outcome(request: SubmissionRequest, results: list[Measured], delivered: Delivered) -> SubmissionOutcome:
    return SubmissionOutcome(
        system=request.system.name,
        run=delivered.run,
        rehearsal=request.system.is_rehearsal,
        backend_notice=delivered.notice,
        results=[_line(one) for one in results],
        verdict=delivered.verdict.summary(),
        accepted=delivered.verdict.ok,
        warnings=len(delivered.verdict.warnings),
        notes=[note for one in results for note in _notes(one)],
        tree=delivered.tree,
        page=delivered.page,
        s3_address=delivered.s3_address,
    )


def _notes(one: Measured) -> list[str]:
    return [
        f"{one.benchmark} {one.scenario} {name} was disturbed, and is valid all the same: {text}"
        for name, run in one.runs.items()
        for text in disturbances_of(run)
    ]


def _units(one: Measured) -> str:
    """Return the units of a result as the official tables name them."""
    units = str(one.performance.figures["units"])
    return "Queries/s" if one.scenario == "Server" and units == "Samples/s" else units


def _passed(audits: list[str]) -> str:
    """Return e.g. `TEST01, 04, 05 passed`: an audit that did not pass has failed the flow."""
    if not audits:
        return "none asked for"
    return ", ".join([audits[0], *(name.removeprefix("TEST") for name in audits[1:])]) + " passed"


def _line(one: Measured) -> ResultLine:
    figures = one.performance.figures
    latencies, metrics = figures["latencies"], one.accuracy.figures["metrics"]
    assert isinstance(metrics, dict)  # noqa: S101 - written by the accuracy task
    p99 = latencies["p99"] if isinstance(latencies, dict) else None
    return ResultLine(
        benchmark=one.benchmark,
        scenario=one.scenario.value,
        value=float(str(figures["value"])),
        units=_units(one),
        accuracy=", ".join(f"{name} {float(str(value)):.4f}" for name, value in metrics.items()),
        p99_ms=float(str(p99)) / 1e6 if p99 is not None and one.scenario == "Server" else None,
        audits=_passed([kind.value for kind in one.audits]),
    )
