"""The table of results, as a person reads it: on the terminal, on Prefect's pages, before approval."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tasks.measurement import disturbances_of
from tasks.package import Measured

HEADINGS = ("benchmark", "scenario", "performance", "accuracy", "p99 latency", "audits")


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

    def cells(self) -> tuple[str, ...]:
        """Return the line as text, in the order of `HEADINGS`."""
        latency = f"{self.p99_ms:.2f} ms" if self.p99_ms is not None else ""
        performance = f"{self.value:,.2f} {self.units}"
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
        units=_units(one),
        accuracy=", ".join(f"{name} {float(str(value)):.4f}" for name, value in metrics.items()),
        p99_ms=float(str(p99)) / 1e6 if p99 is not None and one.scenario == "Server" else None,
        audits=_passed([kind.value for kind in one.audits]),
    )


def notes_on(one: Measured) -> list[str]:
    """Return what a person should know of the runs of a result, e.g. that something disturbed one."""
    return [
        f"{one.benchmark} {one.scenario} {name} was disturbed, and is valid all the same: {text}"
        for name, run in one.runs.items()
        for text in disturbances_of(run)
    ]


def markdown_table(results: Sequence[ResultLine]) -> str:
    """Return the table as Markdown, for Prefect's pages."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(line.cells() for line in results)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows)


def _units(one: Measured) -> str:
    """Return the units of a result as the official tables name them."""
    units = str(one.performance.figures["units"])
    return "Queries/s" if one.scenario == "Server" and units == "Samples/s" else units


def _passed(audits: list[str]) -> str:
    """Return e.g. `TEST01, 04, 05 passed`: an audit that did not pass has failed the flow."""
    if not audits:
        return "none asked for"
    return ", ".join([audits[0], *(name.removeprefix("TEST") for name in audits[1:])]) + " passed"
