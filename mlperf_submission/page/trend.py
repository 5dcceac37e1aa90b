"""One system over time: what each stored run of it reached, and what its measurements took of the GPUs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mlperf_submission.page.pictures import TrendPoint, trend_picture
from mlperf_submission.page.render import render
from mlperf_submission.page.text import significant
from mlperf_submission.rounds import ROUNDS
from mlperf_submission.store.manifest import GpuUse, Manifest, StoredRun
from mlperf_submission.submission.results import is_number, scenario_of

_MOST_RUNS = 100
_NONE = "–"

Row = dict[str, str | float]
"""One run in the table over time, by column; a cell whose value is not known says why."""


@dataclass(frozen=True)
class _Result:
    """One result of a run: `<benchmark>/<scenario>`, its units (empty for an unknown round), its value."""

    name: str
    units: str
    value: float

    @property
    def column(self) -> str:
        return ", ".join(filter(None, (self.name, self.units)))


@dataclass(frozen=True)
class _Trend:
    """One result over time, as the template shows it."""

    name: str
    picture: Markup
    change: float | None
    fell: bool


def trend_rows(runs: Sequence[StoredRun]) -> list[Row]:
    """Return the table over time: a row per run, newest first, with the same columns in each.

    Columns: `run`, `made (UTC)`, `round`, `version` of this project, each result with its units, `GPU hours`
    and `GPU kWh`. Of more than 100 runs the newest are taken.

    Args:
        runs: of one system, newest first.
    """
    runs = runs[:_MOST_RUNS]
    columns = _columns(runs)
    rows = []
    for one in runs:
        values: Row = {result.column: result.value for result in _results(one.manifest)}
        rows.append(
            {
                "run": one.manifest.run,
                "made (UTC)": f"{one.made:%Y-%m-%d %H:%M}",
                "round": one.manifest.round,
                "version": one.manifest.tool_version,
                **{column: values.get(column, _NONE) for column in columns},
                **_gpu_cells(one.manifest.gpus),
            }
        )
    return rows


def render_trend(runs: Sequence[StoredRun], before: Mapping[str, float], fallen: Collection[str]) -> str:
    """Return the page of a system over time: a picture per result, and the table.

    Args:
        runs: of one system, at least one, newest first.
        before: what the newest run's results are held against, by `<benchmark>/<scenario>`.
        fallen: the results of the newest run that fell too far.
    """
    runs = runs[:_MOST_RUNS]
    trends = [
        _trend(f"trend-{number}", column, runs, before, fallen)
        for number, column in enumerate(_columns(runs))
    ]
    newest = runs[0].manifest
    values = {"system": newest.system, "rehearsal": newest.rehearsal, "trends": trends}
    return render("trend.html.j2", {**values, "rows": trend_rows(runs)})


def _trend(
    name: str, column: str, runs: Sequence[StoredRun], before: Mapping[str, float], fallen: Collection[str]
) -> _Trend:
    found = [(one, result) for one in runs for result in _results(one.manifest) if result.column == column]
    run, newest = found[0]
    points = [TrendPoint(one.manifest.run, one.made, result.value) for one, result in reversed(found)]
    held = before.get(newest.name) if run is runs[0] else None
    fell = run is runs[0] and newest.name in fallen
    picture = trend_picture(name, newest.name, newest.units, points, held, fell)
    return _Trend(column, picture, newest.value / held - 1 if held else None, fell)


def _columns(runs: Sequence[StoredRun]) -> list[str]:
    """Return the results that any of the runs has, those of the newest first."""
    return list(dict.fromkeys(result.column for one in runs for result in _results(one.manifest)))


def _results(manifest: Manifest) -> list[_Result]:
    """Return the results of a run; a figure that is no number, or of no scenario, is none."""
    found, round_ = [], ROUNDS.get(manifest.round)
    for name, value in manifest.figures.items():
        path, _, folder = name.rpartition("/")
        scenario = scenario_of(folder)
        if is_number(value) and scenario:
            benchmark = round_.models.get(path.rpartition("/")[2]) if round_ else None
            units = round_.units(benchmark, scenario) if round_ else ""
            found.append(_Result(name, units, float(value)))
    return found


def _gpu_cells(gpus: GpuUse | None) -> Row:
    if gpus is None:
        hours, kwh = "not recorded", "not recorded"
    elif not gpus.hours:
        hours, kwh = "no GPU", "no GPU"
    else:
        hours = significant(gpus.hours)
        kwh = "NVML gave no energy" if gpus.kwh is None else significant(gpus.kwh)
    return {"GPU hours": hours, "GPU kWh": kwh}
