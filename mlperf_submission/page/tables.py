"""The pages' data for machines: one row per result as CSV, everything as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from mlperf_submission.page.data import Result, SystemData
from mlperf_submission.page.text import table_cell
from mlperf_submission.page.verdict import SystemVerdict

_COLUMNS = (
    "round", "division", "category", "submitter", "system", "system_name", "status", "rehearsal",
    "accelerator", "accelerators", "benchmark", "model", "scenario", "value", "units", "validity", "accuracy",
    "accuracy_target", "accuracy_reached", "p99_latency_ns", "latency_limit_ns", "precision", "verdict",
    "source",
)  # fmt: skip


def as_csv(systems: Sequence[SystemData], verdicts: Sequence[SystemVerdict | None]) -> str:
    """Return one row per result. Texts that look like a formula get an apostrophe before them."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for system, verdict in zip(systems, verdicts, strict=True):
        for result in system.results:
            row = _row(system, result, verdict)
            writer.writerow([table_cell(one) if isinstance(one, str) else one for one in row.values()])
    return stream.getvalue()


def as_json(systems: Sequence[SystemData], verdicts: Sequence[SystemVerdict | None]) -> str:
    """Return the systems with their description, results, accuracy, latencies and audits."""
    content = [
        {
            **_head(system),
            "verdict": _verdict(verdict),
            "description": dict(system.fields),
            "results": [_result(system, result, verdict) for result in system.results],
        }
        for system, verdict in zip(systems, verdicts, strict=True)
    ]
    return json.dumps({"systems": content}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _head(system: SystemData) -> dict[str, Any]:
    return {
        "round": system.round_name,
        "division": system.division,
        "category": system.category,
        "submitter": system.submitter,
        "system": system.system,
        "system_name": system.title,
        "status": system.status,
        "rehearsal": system.rehearsal,
        "accelerator": system.accelerator,
        "accelerators": system.accelerators,
    }


def _row(system: SystemData, result: Result, verdict: SystemVerdict | None) -> dict[str, Any]:
    p99 = next((one.nanoseconds for one in result.percentiles if one.label == "p99"), None)
    return {
        **_head(system),
        "benchmark": result.benchmark,
        "model": result.model,
        "scenario": result.scenario.value,
        "value": result.value,
        "units": result.units,
        "validity": result.validity,
        "accuracy": ", ".join(f"{one.metric}: {one.measured}" for one in result.accuracy),
        "accuracy_target": ", ".join(f"{one.metric}: {one.floor}" for one in result.accuracy),
        "accuracy_reached": bool(result.accuracy) and all(one.reached for one in result.accuracy),
        "p99_latency_ns": p99,
        "latency_limit_ns": result.limit_ns,
        "precision": result.precision,
        "verdict": _verdict(verdict),
        "source": f"{result.place.path}:{result.place.line}" if result.place else "",
    }


def _verdict(verdict: SystemVerdict | None) -> str:
    return verdict.word if verdict else "not validated"


def _result(system: SystemData, result: Result, verdict: SystemVerdict | None) -> dict[str, Any]:
    row = _row(system, result, verdict)
    own = {name: value for name, value in row.items() if name not in (*_head(system), "verdict")}
    own["accuracy"] = {one.metric: one.measured for one in result.accuracy}
    own["accuracy_target"] = {one.metric: one.floor for one in result.accuracy}
    own["latency_ns"] = {one.label: one.nanoseconds for one in result.percentiles}
    own["audits"] = [
        {"name": one.name, "passed": one.passed, "reference": one.reference, "score": one.score}
        for one in result.audits
    ]
    own["problems"] = list(result.problems)
    return own
