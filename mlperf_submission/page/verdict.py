"""The validation's verdict as one system's page shows it: what concerns it, and what lies elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlperf_submission.failures import diagnose_rule
from mlperf_submission.page.read import SystemPlace
from mlperf_submission.page.text import clean
from mlperf_submission.submission.files import DIVISIONS
from mlperf_submission.validation.verdict import Verdict

Again = Callable[[tuple[str, ...]], str]
"""Says in words what is done again, given the first steps: the page knows no steps."""
named: Again = ", ".join
_AUDIT_NAME = re.compile(r"\s*\(TEST\d\d\)")


@dataclass(frozen=True)
class Finding:
    """One failure, ready to show. Cause and redo are given of errors only.

    Its severity is `error`, `warning`, or `notice` for what a rehearsal need not keep.
    """

    rule: str
    severity: str
    path: str
    message: str
    remedy: str
    cause: str = ""
    redo: str = ""
    benchmark: str = ""
    scenario: str = ""


def together(findings: Sequence[Finding]) -> list[tuple[Finding, list[str]]]:
    """Put together what differs only in its place, each with its places; the order stays."""
    groups: dict[Finding, dict[str, None]] = {}
    for one in findings:
        message = _AUDIT_NAME.sub("", one.message)
        same = replace(one, message=message, path="", benchmark="", scenario="")
        groups.setdefault(same, {})[one.path] = None
    return [(one, [*paths]) for one, paths in groups.items()]


@dataclass(frozen=True)
class SystemVerdict:
    """The verdict on one system.

    Attributes:
        findings: what was found in its files, its submitter's and the tree's own; errors first.
        errors_elsewhere: number of errors in other parts of the tree.
        refused: benchmark and scenario of the results that are not accepted.
        rehearsal: whether the tree was judged as a rehearsal.
    """

    findings: tuple[Finding, ...]
    errors_elsewhere: int
    refused: frozenset[tuple[str, str]]
    rehearsal: bool

    @property
    def errors(self) -> int:
        """Findings that the official rules refuse."""
        return sum(one.severity == "error" for one in self.findings)

    @property
    def warnings(self) -> int:
        """Findings that the rules let pass and that are wrong all the same."""
        return sum(one.severity == "warning" for one in self.findings)

    @property
    def ok(self) -> bool:
        """Whether nothing of this system is refused."""
        return self.errors == 0 and not self.refused

    @property
    def word(self) -> str:
        """The verdict in a word or few."""
        if not self.ok:
            return "refused"
        return "passed as a rehearsal" if self.rehearsal else "accepted"

    def of(self, benchmark: str, scenario: str) -> tuple[Finding, ...]:
        """Return the findings of one result."""
        return tuple(one for one in self.findings if (one.benchmark, one.scenario) == (benchmark, scenario))


def verdict_on(verdict: Verdict, place: SystemPlace, again: Again) -> SystemVerdict:
    """Keep of a tree's verdict what concerns one system, its submitter or the whole tree; errors first."""
    findings, elsewhere = [], 0
    for failure in verdict.failures:
        parts = [part for part in str(failure.path).replace("\\", "/").split("/") if part not in ("", ".")]
        if not _concerns(parts, place):
            elsewhere += failure.severity == "error"
            continue
        is_error = failure.severity == "error"
        known = diagnose_rule(failure.rule, failure.message) if is_error else None
        below = parts[parts.index(place.system) + 1 :] if place.system in parts else []
        findings.append(
            Finding(
                rule=clean(failure.rule),
                severity="notice" if failure.by_design else clean(failure.severity),
                path=clean(failure.path),
                message=clean(failure.by_design or failure.message),
                remedy="" if failure.by_design else clean(failure.remedy),
                cause=known.cause if known else "",
                redo=again(known.redo) if known else "",
                benchmark=clean(below[0]) if below else "",
                scenario=clean(below[1]) if len(below) > 1 else "",
            )
        )
    findings.sort(key=lambda one: one.severity != "error")
    refused = frozenset(
        (clean(one.benchmark), clean(one.scenario))
        for one in verdict.results
        if not one.ok and SystemPlace(one.division, one.submitter, one.system) == place
    )
    return SystemVerdict(tuple(findings), elsewhere, refused, verdict.rehearsal)


def _concerns(parts: Sequence[str], place: SystemPlace) -> bool:
    """Whether a path is this system's, or common to all systems of the submitter or of the tree."""
    if parts[:1] and parts[0] not in DIVISIONS:
        return True
    if any(part != mine for part, mine in zip(parts, (place.division, place.submitter), strict=False)):
        return False
    if len(parts) > 3 and parts[2] in ("results", "measurements", "compliance", "systems"):
        return parts[3] in (place.system, f"{place.system}.json")
    return True
