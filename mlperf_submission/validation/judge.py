"""Judge a tree: read it, validate the frames, and say of each result whether it is accepted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.errors import TreeError
from mlperf_submission.rounds import Round, get_round
from mlperf_submission.submission.files import Tree, shown
from mlperf_submission.validation import (
    accuracy,
    compliance,
    measurements,
    models,
    performance,
    power,
    relations,
    structure,
    systems,
    token_models,
)
from mlperf_submission.validation.csv_rows import columns, csv_rows, units
from mlperf_submission.validation.read_tree import Contents, Found, read_tree
from mlperf_submission.validation.relations import RelationRow, relation_rows
from mlperf_submission.validation.rows_accuracy import AccuracyRow, AuditRow
from mlperf_submission.validation.rows_power import PowerRow
from mlperf_submission.validation.rows_result import ResultRow
from mlperf_submission.validation.rows_run import RunRow
from mlperf_submission.validation.rows_system import EntryRow, ModelRow, PlaceRow, ScenarioRow, SystemRow
from mlperf_submission.validation.rules import DEPTH, Row, Rule, broken
from mlperf_submission.validation.verdict import Failure, ResultVerdict, Severity, Verdict

SECTIONS = (
    structure,
    systems,
    models,
    measurements,
    performance,
    token_models,
    accuracy,
    compliance,
    power,
    relations,
)
"""The files of the rules, in the order of the catalogue."""


def all_rules() -> tuple[Rule, ...]:
    """Return every rule, in the order of the catalogue."""
    return tuple(rule for section in SECTIONS for rule in section.RULES)


@dataclass(frozen=True)
class _Judged:
    rule: Rule
    row: Row
    severity: Severity
    message: str
    by_design: str
    covers: str

    @property
    def refuses(self) -> str | None:
        """The scope that is refused with it; None if nothing is."""
        if self.severity != "error" or self.covers == "nothing":
            return None
        return "/".join(self.row.scope.split("/")[: DEPTH[self.covers]])


def judge_tree(root: Path, round_name: str, *, strict: bool, rehearsal: bool) -> Verdict:
    """Judge a tree; see `mlperf_submission.validation.validate_tree`."""
    round_ = get_round(round_name)
    if not root.is_dir():
        raise TreeError(
            "there is no such folder", where=root, remedy="give the folder that holds closed/ or open/"
        )
    tree = Tree(root)
    if tree.listing("").problem:
        raise TreeError(
            f"the folder cannot be read: {tree.listing('').problem}",
            where=root,
            remedy="give read permission",
        )
    contents = read_tree(round_, tree)
    judged = list(_judge(round_, contents, strict=strict, rehearsal=rehearsal))
    refused = {scope for one in judged if (scope := one.refuses) is not None}
    results = tuple(_result(round_, found, refused) for found in contents.found)
    failures = tuple(
        Failure(
            rule=one.rule.id,
            severity=one.severity,
            path=one.row.path,
            message=one.message,
            remedy=one.rule.remedy,
            by_design=one.by_design,
        )
        for one in judged
    )
    ok = not any(one.severity == "error" for one in failures)
    return Verdict(
        round=round_.name,
        ok=ok,
        results=results,
        failures=failures,
        strict=strict,
        rehearsal=rehearsal,
        csv_columns=columns(round_),
    )


def _frames(contents: Contents) -> list[tuple[type[Row], Sequence[Row]]]:
    results = contents.results
    runs = [run for one in results for run in (one.performance, one.accuracy_run, *one.audit_runs) if run]
    return [
        (PlaceRow, contents.places),
        (EntryRow, contents.entries),
        (SystemRow, contents.systems),
        (ModelRow, contents.models),
        (ScenarioRow, contents.scenarios),
        (ResultRow, [one.result for one in results]),
        (RunRow, runs),
        (AccuracyRow, [one.accuracy for one in results if one.accuracy]),
        (AuditRow, [audit for one in results for audit in one.audits]),
        (PowerRow, [one.power for one in results if one.power]),
        (RelationRow, relation_rows(results)),
    ]


def _judge(round_: Round, contents: Contents, *, strict: bool, rehearsal: bool) -> Iterator[_Judged]:
    rules = [rule for rule in all_rules() if not rule.later or rule.id in round_.enforced]
    for kind, rows in _frames(contents):
        for rule, row in broken(rows, kind, [rule for rule in rules if rule.row is kind]):
            severity = rule.severity
            message = shown(rule.message(row))
            if rule.id in round_.unenforced:
                severity = "warning"
            if rule.id in round_.enforced or strict:
                severity = "error"
            by_design = ""
            if rehearsal and rule.in_rehearsal:
                severity, by_design = "warning", shown(rule.in_rehearsal(row))
            yield _Judged(rule, row, severity, message, by_design, round_.covers.get(rule.id, rule.covers))


def _result(round_: Round, found: Found, refused: set[str]) -> ResultVerdict:
    parts = found.at.scope.split("/")
    prefixes = {"/".join(parts[:depth]) for depth in range(len(parts) + 1)}
    run = found.rows.performance if found.rows else None
    value = run.result if run else math.nan
    accepted = 0 < value < math.inf and not prefixes & refused
    accuracy_row = found.rows.accuracy if found.rows else None
    return ResultVerdict(
        division=found.at.division,
        submitter=shown(found.at.submitter),
        system=shown(found.at.system),
        benchmark=shown(found.at.directory),
        model=found.model,
        scenario=found.scenario,
        ok=accepted,
        value=value if math.isfinite(value) else None,
        units=units(round_, found.model, found.scenario),
        accuracy=accuracy_row.value or None if accuracy_row else None,
        location=shown(found.at.path),
        csv=csv_rows(round_, found) if accepted else (),
    )
