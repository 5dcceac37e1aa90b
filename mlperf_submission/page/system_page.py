"""The page of one system, with its data as CSV and JSON beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from mlperf_submission.files import write_atomic
from mlperf_submission.page import overview, pictures, tables
from mlperf_submission.page.compare import Comparison, compare, neighbours_in
from mlperf_submission.page.data import Result, SystemData
from mlperf_submission.page.evidence import PageEvidence, ResultEvidence
from mlperf_submission.page.links import Links, safe_href
from mlperf_submission.page.read import find_system, read_system
from mlperf_submission.page.render import render
from mlperf_submission.page.verdict import Again, Finding, SystemVerdict, named, verdict_on
from mlperf_submission.rounds import Scenario
from mlperf_submission.submission import description
from mlperf_submission.validation.verdict import Verdict

_STATUS = {"available": "Available", "preview": "Preview", "rdi": "Research, Development or Internal"}


@dataclass(frozen=True)
class ResultView:
    """One result with everything that is drawn or known beside the tree."""

    result: Result
    evidence: ResultEvidence | None
    findings: tuple[Finding, ...]
    latencies: Markup | None
    throughput: Markup | None
    probes: Markup | None


def write_page(
    tree: Path,
    system: str,
    out: Path,
    *,
    round_name: str,
    verdict: Verdict | None = None,
    evidence: PageEvidence | None = None,
    compare_trees: Sequence[Path] = (),
    again: Again = named,
) -> Path:
    """Write the self-contained page of one system, and `results.json` and `results.csv` beside it.

    Args:
        tree: root of a submission tree.
        system: the system's directory name, or `division/submitter/name` where that is not unique.
        out: folder that receives `index.html`; made if it is missing.
        round_name: the round whose targets and limits the results are held against.
        verdict: what the validation said of the tree; None: the page says that it was not validated.
        evidence: what a flow knows beyond the tree.
        compare_trees: trees to compare with: another run of this system, or a round's published systems.
        again: says what a failure's redo comes to.

    Returns:
        The path of the page.

    Raises:
        TreeError: the folder is no submission tree.
        SettingError: the tree has no such system, or the round is unknown.
    """
    place = find_system(tree, system)
    data = read_system(tree, place, round_name)
    found = verdict_on(verdict, place, again) if verdict else None
    comparisons = [
        compare(data, label, other, evidence)
        for tree_of_others in compare_trees
        for label, other in neighbours_in(tree_of_others, data)
    ]
    return write_system(data, out, found, evidence, comparisons)


def write_system(
    data: SystemData,
    out: Path,
    found: SystemVerdict | None,
    evidence: PageEvidence | None,
    comparisons: Sequence[Comparison] = (),
    *,
    fleet_link: str = "",
) -> Path:
    """Write the page of a system that was read already; see `write_page`.

    Args:
        data: the system.
        out: as for `write_page`.
        found: the verdict on the system.
        evidence: as for `write_page`.
        comparisons: with other systems.
        fleet_link: relative address of the fleet page, if there is one.
    """
    page = render(
        "system.html.j2",
        {
            "system": data,
            "availability": availability(data),
            "rehearsal": data.rehearsal
            or bool(evidence and evidence.rehearsal)
            or bool(found and found.rehearsal),
            "verdict": found,
            "evidence": evidence,
            "manifest": evidence.manifest if evidence else None,
            "views": {result.anchor: _view(result, found, evidence) for result in data.results},
            "links": Links.of(data.tree, out, evidence),
            "safe_href": safe_href,
            "ratios": overview.ratio_picture(data),
            "timeline": (line := overview.timeline_of(data, evidence)),
            "timeline_picture": overview.timeline_picture(line) if line else None,
            "comparisons": comparisons,
            "filled": sum(map(bool, data.fields.values())),
            "not_applicable": sum(value.lower() in ("n/a", "na") for value in data.fields.values()),
            "missing": [name for name in description.REQUIRED if name not in data.fields],
            "sources": {one.label: one.value for one in evidence.field_sources} if evidence else {},
            "fleet_link": fleet_link,
            "Scenario": Scenario,
        },
    )
    path = out / "index.html"
    write_atomic(path, page)
    write_atomic(out / "results.json", tables.as_json([data], [found]))
    write_atomic(out / "results.csv", tables.as_csv([data], [found]))
    return path


def availability(system: SystemData) -> str:
    """Return the availability as the published pages word it."""
    status = _STATUS.get(system.status.lower(), system.status)
    return f"{status} as of {system.published}" if system.published and not system.rehearsal else status


def _view(result: Result, verdict: SystemVerdict | None, evidence: PageEvidence | None) -> ResultView:
    known = evidence.of(result.benchmark, result.scenario) if evidence else None
    name = result.anchor
    limited = result.limit_ns is not None
    return ResultView(
        result=result,
        evidence=known,
        findings=verdict.of(result.benchmark, result.scenario) if verdict else (),
        latencies=pictures.latency_picture(f"latency-{name}", result) if limited else None,
        throughput=pictures.throughput_picture(f"throughput-{name}", result, known.throughput)
        if known
        else None,
        probes=pictures.probes_picture(f"probes-{name}", result, known.probes) if known else None,
    )
