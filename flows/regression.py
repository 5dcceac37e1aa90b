"""Whether a system still reaches what it reached: measured again, beside the earlier runs, and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import dropwhile
from statistics import median
from typing import Annotated

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.explain import explained
from flows.notify import tell_of_failure
from flows.outcome import show_page
from flows.parameters import Choice, SubmissionParameters, SystemFile, taking
from flows.request import SubmissionRequest
from flows.submission import SubmissionOutcome, submission
from mlperf_submission.errors import RegressionError
from mlperf_submission.files import write_atomic
from mlperf_submission.page.trend import render_trend, trend_rows
from mlperf_submission.store.store import Area, Manifest, Store, StoredRun
from mlperf_submission.submission.results import STREAMS
from tasks.artifacts import publish_table
from tasks.engine.perform import run_logger
from tasks.upload import store_for
from tasks.workspace import Workspace


class Compared(BaseModel):
    """One result beside those of earlier runs.

    Attributes:
        result: `<benchmark>/<scenario>`.
        before: the median of the earlier runs that have this result, in its units; None if none has it.
        now: what was measured now, in the same units.
        change: share by which it rose (or, below 0, fell).
        fell: whether it fell by more than was allowed; a latency falls when it rises.
    """

    model_config = ConfigDict(frozen=True)
    result: str
    before: float | None
    now: float
    change: float | None
    fell: bool


class RegressionOutcome(BaseModel):
    """What the flow hands back: the new run, the earlier ones (newest first), and each result beside them."""

    model_config = ConfigDict(frozen=True)
    system: str
    run: str
    earlier: list[str]
    results: list[Compared]


class RegressionParameters(Choice):
    """A system that is measured again."""

    system: SystemFile
    allowed_drop: Annotated[
        float, Field(gt=0, lt=1, description="A result may be lower than before by this share, e.g. 0.1.")
    ] = 0.1
    earlier: Annotated[
        int, Field(ge=1, le=100, description="Compare with the median of so many earlier runs.")
    ] = 5


@flow(
    name="regression",
    flow_run_name="regression {system}",
    persist_result=True,
    result_serializer="json",
    on_failure=[tell_of_failure],
)
@explained
@taking(RegressionParameters)
def regression(asked: RegressionParameters) -> RegressionOutcome:
    """Measure a system again, and compare each result with what the stored runs reached.

    A scenario with a fixed target (Server) cannot fall: it becomes INVALID instead, which fails the flow too.

    Raises:
        RegressionError: results fell by more than was allowed; all are named. The new run is stored.
        PipelineError: a step of the submission failed.
    """
    again = SubmissionParameters(
        **dict(asked.model_dump(include={"system", *Choice.model_fields})),
        measure_again=True,
        publish="never",
    )
    request = SubmissionRequest.of(again)
    name, workspace = request.system.name, Workspace.at(asked.work)
    outcome = submission(**dict(again))
    assert isinstance(outcome, SubmissionOutcome)  # noqa: S101 - no random weights were asked for
    now = {f"{line.benchmark}/{line.scenario}": line.value for line in outcome.results}
    with store_for(workspace, request.system) as store:
        found = stored_runs(store, name, request.system.is_rehearsal)
        stored = list(dropwhile(lambda one: one.manifest.run != outcome.run, found))
        runs = [one.manifest for one in stored[1 : asked.earlier + 1]]
        results = compare(runs, now, asked.allowed_drop)
        show_trend(stored, results, store, workspace, request.system.store.page_link_hours)
    names = [run.run for run in runs]
    publish_table(
        f"{name}-regression",
        [one.model_dump(mode="json") for one in results],
        f"{name}/{outcome.run} beside {', '.join(names) or 'nothing: it is the first run'}",
    )
    fallen = [one for one in results if one.fell]
    if fallen:
        raise RegressionError(
            f"{len(fallen)} of {len(results)} results fell by more than {asked.allowed_drop:.0%}: "
            + "; ".join(f"{one.result} from {one.before:g} to {one.now:g}" for one in fallen),
            where=f"{name}/{outcome.run}",
            remedy="was the host quiet? Compare the records of the runs: versions of driver, libraries and "
            "this project are in them; the page of each shows clocks and temperatures",
        )
    run_logger().info("%s/%s: none of %d results fell", name, outcome.run, len(results))
    return RegressionOutcome(system=name, run=outcome.run, earlier=names, results=results)


def stored_runs(store: Store, system: str, rehearsal: bool) -> list[StoredRun]:
    """Return the stored runs of a system, published or not, newest first."""
    area = Area.REHEARSALS if rehearsal else Area.CANDIDATES
    return [
        stored
        for stored in store.list_runs()
        if stored.address.area is area and stored.manifest.system == system
    ]


def show_trend(
    runs: Sequence[StoredRun], results: Sequence[Compared], store: Store, workspace: Workspace, hours: int
) -> None:
    """Keep the table over time with the flow run, and its page in the store and in the work folder.

    Args:
        runs: the new one and all before it, newest first.
        results: of the new one, beside the earlier ones.
        store: where they lie.
        workspace: the work folder.
        hours: how long the link to the page holds; 0: none is made.
    """
    before = {one.result: one.before for one in results if one.before is not None}
    page = render_trend(runs, before, {one.result for one in results if one.fell})
    address = runs[0].address
    place = workspace.trend(address.system)
    write_atomic(place, page)
    link = store.keep_trend(address.area, address.system, page, hours)
    rows = trend_rows(runs)
    publish_table(
        f"{address.system}-trend", rows, f"{len(rows)} stored runs of {address.system}, newest first"
    )
    show_page(
        f"{address.system}-trend-page",
        "trend page",
        place,
        link,
        hours,
        f"Stored beside the runs, in `{address.area}/{address.system}`.",
    )


def compare(runs: Sequence[Manifest], now: Mapping[str, float], allowed_drop: float) -> list[Compared]:
    """Return each result of a new run beside the median of earlier ones.

    Args:
        runs: the earlier runs.
        now: the value of each result of the new run, by `<benchmark>/<scenario>`.
        allowed_drop: the share by which a result may be lower.
    """
    compared = []
    for result, value in now.items():
        found = [run.figures.get(result) for run in runs]
        values = [float(one) for one in found if isinstance(one, int | float) and one > 0]
        before = median(values) if values else None
        change = value / before - 1 if before else None
        # A latency is the worse the higher it is, and 10 % less speed is 11 % more of it.
        worse = 1 / (1 - allowed_drop) - 1 if result.rpartition("/")[2] in STREAMS else -allowed_drop
        fell = change is not None and (change > worse if worse > 0 else change < worse)
        compared.append(Compared(result=result, before=before, now=value, change=change, fell=fell))
    return compared
