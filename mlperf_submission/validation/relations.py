"""What only shows between the runs of a submission: overlaps, copies, audits of something else."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlperf_submission.rounds import RunKind
from mlperf_submission.submission.times import Span, overlaps
from mlperf_submission.validation.read_results import ResultRows
from mlperf_submission.validation.rows_run import RunRow
from mlperf_submission.validation.rules import Row, Rule

_ACCURACY_IN_NAME = re.compile(r"-[\d.]+$")
TARGET_TOLERANCE = 0.1
"""How far the target of a compliance run may lie from the result's, as a share of it."""


@dataclass(frozen=True)
class RelationRow(Row):
    """One result, beside its own audits and the other runs of its submitter.

    Attributes:
        overlaps: another run of the same system in the same time.
        audit_target: compliance runs with another target_qps.
        audit_system: compliance runs of another SUT or data set.
        audit_copy: compliance runs whose log is the result's own.
        same_log: another result with the same log.
    """

    overlaps: str
    audit_target: str
    audit_system: str
    audit_copy: str
    same_log: str


def relation_rows(results: Sequence[ResultRows]) -> list[RelationRow]:
    """Return a row per result."""
    overlaps = dict(_overlaps(results))
    same = dict(_same_logs(results))
    rows = []
    for one in results:
        scope = one.result.scope
        rows.append(
            RelationRow(
                scope,
                one.result.path,
                overlaps.get(scope, ""),
                _joined(_other_target(one.performance, run) for run in one.audit_runs),
                _joined(_other_system(one.performance, run) for run in one.audit_runs),
                _joined(_copy(one.performance, run) for run in one.audit_runs),
                same.get(scope, ""),
            )
        )
    return rows


def _runs(one: ResultRows) -> Iterator[RunRow]:
    yield from (run for run in (one.performance, one.accuracy_run, *one.audit_runs) if run)


def _overlaps(results: Sequence[ResultRows]) -> Iterator[tuple[str, str]]:
    """Yield scope and text of the first overlap of a result: same system, another log, one second or more."""
    systems: dict[str, list[RunRow]] = defaultdict(list)
    for one in results:
        system = "/".join(one.result.scope.split("/")[:3])
        systems[system].extend(run for run in _runs(one) if not math.isnan(run.begin + run.end))
    for runs in systems.values():
        told: set[str] = set()
        for one_overlap in overlaps((run, _span(run)) for run in runs):
            run, earlier = one_overlap.second, one_overlap.first
            copied = one_overlap.first_span == one_overlap.second_span
            if not copied and run.scope not in told:
                told.add(run.scope)
                yield (
                    run.scope,
                    f"{run.path} began {earlier.end - run.begin:.0f} s before {earlier.path} ended",
                )


def _span(run: RunRow) -> Span:
    return Span(datetime.fromtimestamp(run.begin, UTC), datetime.fromtimestamp(run.end, UTC))


def _same_logs(results: Sequence[ResultRows]) -> Iterator[tuple[str, str]]:
    """Yield scope and text for results whose performance log stands elsewhere too, but for 99 and 99.9."""
    first: dict[tuple[float, float, float, str], ResultRows] = {}
    for one in results:
        run = one.performance
        if run is None or run.inferred or math.isnan(run.begin + run.end):
            continue
        key = (run.begin, run.end, run.target_qps, run.seeds + run.scenario + str(run.measured_latency_ns))
        other = first.setdefault(key, one)
        if other is not one and not _twins(other, one):
            yield one.result.scope, f"the log of {other.result.path} is the same"


def _twins(one: ResultRows, other: ResultRows) -> bool:
    family = [_ACCURACY_IN_NAME.sub("", rows.result.model) for rows in (one, other)]
    system = ["/".join(rows.result.scope.split("/")[:3]) for rows in (one, other)]
    return family[0] == family[1] and system[0] == system[1]


def _other_target(performance: RunRow | None, audit: RunRow) -> str:
    if performance is None or audit.scenario != performance.scenario or audit.scenario != "Server":
        return ""
    if math.isnan(performance.target_qps + audit.target_qps) or not performance.target_qps:
        return ""
    if abs(audit.target_qps / performance.target_qps - 1) <= TARGET_TOLERANCE:
        return ""
    return f"{audit.kind}: {audit.target_qps:g} queries/s, the result {performance.target_qps:g}"


def _other_system(performance: RunRow | None, audit: RunRow) -> str:
    if performance is None or not performance.sut_name or not audit.sut_name:
        return ""
    if audit.sut_name != performance.sut_name:
        return f"{audit.kind}: SUT {audit.sut_name!r}, the result {performance.sut_name!r}"
    samples = (audit.library_samples, performance.library_samples)
    if not math.isnan(sum(samples)) and samples[0] != samples[1]:
        return f"{audit.kind}: a library of {samples[0]:g} samples, the result {samples[1]:g}"
    return ""


def _copy(performance: RunRow | None, audit: RunRow) -> str:
    if performance is None or math.isnan(performance.begin + performance.end):
        return ""
    same = (audit.begin, audit.end, audit.result) == (performance.begin, performance.end, performance.result)
    return str(audit.kind) if same and audit.kind != RunKind.PERFORMANCE else ""


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(text for text in texts if text)


RULES = (
    Rule(
        id="+overlap",
        row=RelationRow,
        what="The runs of one system do not overlap in time.",
        why="Two measurements of one machine disturb each other; the checker does not look (X-17). Runs on "
        "several machines of one kind are named too.",
        remedy="Run one after the other, or say in the README that these were several machines.",
        passes=lambda d: d.overlaps == "",
        message=lambda row: row.overlaps,
        severity="warning",
        covers="nothing",
    ),
    Rule(
        id="+audit-target",
        row=RelationRow,
        what="Compliance runs of Server have the result's target, within 10%.",
        why="The checker does not compare them (T-14).",
        remedy="Run the tests with the target of the result.",
        passes=lambda d: d.audit_target == "",
        message=lambda row: row.audit_target,
        severity="warning",
    ),
    Rule(
        id="+audit-system",
        row=RelationRow,
        what="Compliance runs are of the SUT and data set of the result.",
        why="The checker does not compare them (T-14).",
        remedy="Run the tests on the system of the result.",
        passes=lambda d: d.audit_system == "",
        message=lambda row: row.audit_system,
        severity="warning",
    ),
    Rule(
        id="+audit-copy",
        row=RelationRow,
        what="A compliance run is a run of its own.",
        why="The checker accepts the result's own log as a compliance run (T-14).",
        remedy="Run the test.",
        passes=lambda d: d.audit_copy == "",
        message=lambda row: f"the log of the result stands there as {row.audit_copy}",
        severity="warning",
    ),
    Rule(
        id="+same-log",
        row=RelationRow,
        what="A log stands for one result (the accuracies of a model, as 99 and 99.9, may share theirs).",
        why="The checker does not look (X-14).",
        remedy="Run each result itself.",
        passes=lambda d: d.same_log == "",
        message=lambda row: row.same_log,
        severity="warning",
        covers="nothing",
    ),
)
