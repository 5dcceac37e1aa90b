"""The table of results, as a person reads it: on the terminal, on Prefect's pages, before approval."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from tasks.measurement import disturbances_of, notices_of
from tasks.package import Measured

HEADINGS = ("benchmark", "scenario", "performance", "accuracy", "p99 latency", "audits")


class ResultLine(BaseModel):
    """One line of the table of results; an asterisk marks what a submission would be refused for."""

    model_config = ConfigDict(frozen=True)
    benchmark: str
    scenario: str
    value: float
    units: str
    accuracy: str
    p99_ms: float | None
    audits: str
    refused: bool = False

    def cells(self) -> tuple[str, ...]:
        """Return the line as text, in the order of `HEADINGS`."""
        latency = f"{self.p99_ms:.2f} ms" if self.p99_ms is not None else ""
        unit = self.units.removeprefix("Latency (").removesuffix(")")
        performance = f"{self.value:,.2f} {unit}{' *' if self.refused else ''}"
        return (self.benchmark, self.scenario, performance, self.accuracy, latency, self.audits)


def result_line(one: Measured) -> ResultLine:
    """Return the line of one result."""
    figures = one.performance.figures
    latencies, metrics = figures["latencies"], one.accuracy.figures["metrics"]
    assert isinstance(metrics, dict)  # noqa: S101 - written by the accuracy task
    p99 = latencies["p99"] if isinstance(latencies, dict) else None
    return ResultLine(
        benchmark=one.benchmark,
        scenario=one.scenario.value,
        value=float(str(figures["value"])),
        units=str(figures["units"]),
        accuracy=", ".join(f"{name} {float(str(value)):.4f}" for name, value in metrics.items()),
        p99_ms=float(str(p99)) / 1e6 if p99 is not None and one.scenario == "Server" else None,
        audits=_passed({kind.value: bool(notices_of(run)) for kind, run in one.audits.items()}),
        refused=bool(notices_of(one.performance)),
    )


def notes_on(results: Sequence[Measured]) -> list[str]:
    """Return what a person should know of the runs: what a submission would be refused for, what disturbed.

    What happened to many runs is said once, with the runs that it happened to.
    """
    refused: dict[str, list[str]] = {}
    disturbed: dict[str, list[tuple[str, str]]] = {}
    for one in results:
        for name, run in one.runs.items():
            label = f"{one.benchmark} {one.scenario} {name}"
            for notice in notices_of(run):
                refused.setdefault(notice.kind, []).append(label)
            for text in disturbances_of(run):
                disturbed.setdefault(_FIGURES.sub("", text), []).append((label, text))
    return [
        *(f"* would be INVALID as a submission: {kind} ({_runs(runs)})" for kind, runs in refused.items()),
        *(
            f"disturbed, and kept all the same: {runs[0][1]} ({_runs([label for label, _ in runs])})"
            for runs in disturbed.values()
        ),
    ]


_FIGURES = re.compile(r"\d[\d.,]*%?")
_NAMED = 4


def _runs(names: Sequence[str]) -> str:
    named = ", ".join(names[:_NAMED])
    return named if len(names) <= _NAMED else f"{len(names)} runs, e.g. {named}"


def markdown_table(results: Sequence[ResultLine]) -> str:
    """Return the table as Markdown, for Prefect's pages."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(line.cells() for line in results)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows)


def _passed(audits: Mapping[str, bool]) -> str:
    """Return e.g. `TEST01, 04*, 05 passed`: an audit that did not pass has failed the flow.

    Args:
        audits: by name, whether a submission would be refused for it.
    """
    if not audits:
        return "none asked for"
    marked = [f"{name}{'*' if refused else ''}" for name, refused in audits.items()]
    return ", ".join([marked[0], *(name.removeprefix("TEST") for name in marked[1:])]) + " passed"
