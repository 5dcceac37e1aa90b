"""Judge a tree: read it, validate the frames, and say of each result whether it is accepted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.errors import TreeError
from mlperf_submission.rounds import Round, Scenario, get_round
from mlperf_submission.submission.files import Tree, shown
from mlperf_submission.validation import (
    accuracy,
    compliance,
    measurements,
    models,
    performance,
    relations,
    structure,
    systems,
    token_models,
)
from mlperf_submission.validation.csv_rows import columns, csv_rows
from mlperf_submission.validation.power import rules as power
from mlperf_submission.validation.read_result import Found
from mlperf_submission.validation.read_tree import Contents, read_tree
from mlperf_submission.validation.rules import DEPTH, Broken, Rule, broken
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
    broken: Broken
    severity: Severity
    by_design: str
    covers: str

    @property
    def refuses(self) -> str | None:
        """The scope that is refused with it; None if nothing is."""
        if self.severity != "error" or self.covers == "nothing":
            return None
        return "/".join(self.broken.row["scope"].split("/")[: DEPTH[self.covers]])

    @property
    def failure(self) -> Failure:
        """What the verdict says of it."""
        return Failure(
            rule=self.broken.rule.id,
            severity=self.severity,
            path=self.broken.row["path"],
            message=self.broken.message,
            remedy=self.broken.rule.remedy,
            by_design=self.by_design,
        )


def judge_tree(root: Path, round_name: str, *, strict: bool, rehearsal: bool) -> Verdict:
    """Judge a tree; see `mlperf_submission.validation.validate_tree`."""
    round_ = get_round(round_name)
    if not root.is_dir():
        raise TreeError(
            "there is no such folder",
            where=root,
            remedy="give the folder that holds closed/ or open/",
            code="no-tree",
        )
    tree = Tree(root)
    if problem := tree.listing("").problem:
        raise TreeError(
            f"the folder cannot be read: {problem}", where=root, remedy="give read permission", code="no-tree"
        )
    contents = read_tree(round_, tree)
    judged = list(_judge(round_, contents, strict=strict, rehearsal=rehearsal))
    refused = {scope for one in judged if (scope := one.refuses) is not None}
    failures = tuple(one.failure for one in judged)
    return Verdict(
        round=round_.name,
        ok=not any(one.severity == "error" for one in failures),
        results=tuple(_result(round_, found, refused) for found in contents.found),
        failures=failures,
        strict=strict,
        rehearsal=rehearsal,
        csv_columns=columns(round_),
    )


def _judge(round_: Round, contents: Contents, *, strict: bool, rehearsal: bool) -> Iterator[_Judged]:
    """Yield what is broken, in the order of the catalogue."""
    rules = [rule for rule in all_rules() if not rule.later or rule.id in round_.enforced]
    found: dict[str, list[Broken]] = {rule.id: [] for rule in rules}
    for frame, data in contents.frames.items():
        for one in broken(frame, data, [rule for rule in rules if rule.frame is frame]):
            found[one.rule.id].append(one)
    for rule in rules:
        severity = rule.severity_in(round_, strict=strict)
        for one in found[rule.id]:
            by_design = one.by_design if rehearsal else ""
            covers = round_.covers.get(rule.id, rule.covers)
            yield _Judged(one, "warning" if by_design else severity, by_design, covers)


def _result(round_: Round, found: Found, refused: set[str]) -> ResultVerdict:
    parts = found.at.scope.split("/")
    prefixes = {"/".join(parts[:depth]) for depth in range(len(parts) + 1)}
    accepted = 0 < found.value < math.inf and not {shown(prefix) for prefix in prefixes} & refused
    return ResultVerdict(
        division=found.at.division,
        submitter=shown(found.at.submitter),
        system=shown(found.at.system),
        benchmark=shown(found.at.directory),
        model=found.model,
        scenario=found.scenario,
        ok=accepted,
        value=found.value if math.isfinite(found.value) else None,
        units=round_.units(round_.models.get(found.model), Scenario(found.scenario))
        if found.scenario in list(Scenario)
        else "",
        accuracy=found.accuracy or None,
        location=shown(found.at.path),
        csv=csv_rows(round_, found) if accepted else (),
    )
