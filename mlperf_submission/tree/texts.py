"""The texts of a submission tree that are written here: system description, measurements, README files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mlperf_submission.rounds import get_round
from mlperf_submission.submission import description
from mlperf_submission.submission.detail_log import DetailLog
from mlperf_submission.submission.times import run_span
from mlperf_submission.tree.plan import REHEARSAL, Calibration, Layout, ResultPlan, TreePlan

_FOLDER = Path(__file__).resolve().parent / "templates"
_MEASURED: Mapping[str, str] = {
    "LoadGen": "loadgen_version",
    "samples in the data set": "qsl_reported_total_count",
    "samples loaded": "effective_performance_sample_count",
    "target rate (samples/s)": "effective_target_qps",
    "samples per query": "effective_samples_per_query",
    "latency limit (ns)": "effective_target_latency_ns",
    "least duration (ms)": "effective_min_duration_ms",
}
"""What a README tells from the log of the performance run."""


def _line(value: object) -> str:
    """Put a value on one line of Markdown or AsciiDoc; it cannot open a tag."""
    return " ".join(str(value).split()).replace("<", "&lt;").replace("`", "'")


def _fenced(text: str) -> str:
    """Put text into a fence that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.strip()}\n{fence}"


_TEXTS = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - Markdown and AsciiDoc; every value goes through one of the two filters
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEXTS.filters.update(line=_line, fenced=_fenced)


def tuning_name(plan: TreePlan) -> str:
    """Return the name of the system file beside the code: each system of a merged tree keeps its own."""
    return f"{plan.system}.yaml"


def system_json(plan: TreePlan) -> str:
    """Return `systems/<system>.json`: all 35 required fields (rule Y-05), `is_network` left out.

    A rehearsal says in `system_name` and `sw_notes` what it is.
    """
    fields: dict[str, str | int] = {
        **dict.fromkeys(description.REQUIRED, ""),
        "system_type": plan.system_type,
        **plan.description,
        "division": plan.division,
        "submitter": plan.submitter,
    }
    fields.pop("is_network", None)
    if plan.rehearsal:
        for field in ("system_name", "sw_notes"):
            fields[field] = f"{REHEARSAL}. {fields[field]}".strip()
    return _json(fields)


def measurements_json(result: ResultPlan) -> str:
    """Return the measurements file with its five values (rule E-06)."""
    return _json({name: getattr(result, name) for name in description.MEASURED})


def measurement_readme(plan: TreePlan, result: ResultPlan, log: DetailLog) -> str:
    """Return the README.md of a result's measurements, with the exact command."""
    measured = [f"{title}: {log.values[key]}" for title, key in _MEASURED.items() if key in log.values]
    if span := run_span(log):
        measured.append(f"began (UTC): {span.begin:%Y-%m-%dT%H:%M:%SZ}")
    return _render(
        "measurement.md.j2",
        plan,
        result=result,
        code_folder=f"{Layout(get_round(plan.round)).code}/{result.benchmark}/{result.implementation}",
        tuning_name=tuning_name(plan),
        measured="\n".join(measured),
        engine="\n".join(result.engine) or "no engine record",
    )


def calibration_process(plan: TreePlan, result: ResultPlan) -> str:
    """Return the calibration_process.adoc of a result's measurements."""
    return _render("calibration_process.adoc.j2", plan, result=result, facts=_facts(result.calibration))


def code_readme(plan: TreePlan, results: Sequence[ResultPlan], sources: Sequence[str]) -> str:
    """Return the README.md of a code folder, for the results (one or more scenarios) made with it."""
    return _render(
        "code.md.j2",
        plan,
        benchmark=results[0].benchmark,
        implementation=results[0].implementation,
        results=results,
        sources=sources,
        systems_file=Layout(get_round(plan.round)).system(plan.system),
        tuning_name=tuning_name(plan),
    )


def calibration_document(plan: TreePlan) -> str:
    """Return documentation/calibration.md, one section for each way that a network was quantised."""
    groups: dict[tuple[str, ...], list[ResultPlan]] = {}
    for result in plan.results:
        key = (result.benchmark, result.implementation, result.calibration.model_dump_json())
        groups.setdefault(key, []).append(result)
    sections = [
        {
            "benchmark": results[0].benchmark,
            "implementation": results[0].implementation,
            "scenarios": ", ".join(result.scenario for result in results),
            "method": results[0].calibration.method,
            "facts": _facts(results[0].calibration),
        }
        for results in groups.values()
    ]
    return _render("calibration.md.j2", plan, sections=sections)


def _facts(calibration: Calibration) -> str:
    return "\n".join(f"{_line(name)}: {_line(value)}" for name, value in calibration.facts.items()) or "none"


def _render(template: str, plan: TreePlan, **values: Any) -> str:
    return _TEXTS.get_template(template).render(plan=plan, rehearsal=REHEARSAL, **values)


def _json(fields: Mapping[str, str | int]) -> str:
    return json.dumps(fields, indent=4, sort_keys=True, ensure_ascii=False) + "\n"
