"""What a submission tree is refused for, before a file of it is written: all reasons at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from mlperf_submission.compliance.audits import applied_audit, prove_applied
from mlperf_submission.compliance.scores import REHEARSAL_LINE
from mlperf_submission.errors import AuditError, LogError, PipelineError
from mlperf_submission.files import sha256_of
from mlperf_submission.rounds import ModelRules, Round, RunKind
from mlperf_submission.submission import conf, description
from mlperf_submission.submission.accuracy import hash_in
from mlperf_submission.submission.detail_log import DetailLog, read_detail
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, LARGEST_FILE, SUMMARY
from mlperf_submission.submission.times import Span, overlaps, run_span
from mlperf_submission.tree.plan import ResultPlan, RunFolder, TreePlan

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+=.-]*")
_MISLEADING = ("TEST01", "TEST04", "TEST05", "TEST06")
"""The checker looks for these anywhere in a path (rules T-07, T-15)."""


class Evidence:
    """The logs and hashes of the runs' files; each file is read once for each of the two."""

    def __init__(self) -> None:
        self._read = cache(read_detail)
        self._hash = cache(sha256_of)

    def log(self, path: Path) -> DetailLog:
        """Return a detail log; LogError if it cannot be read."""
        return self._read(path)

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file; the empty text if it cannot be read."""
        try:
            return self._hash(path)
        except OSError:
            return ""


def refusals(plan: TreePlan, round_: Round, evidence: Evidence) -> list[str]:
    """Return every reason not to write this tree, each beginning with the place it is about."""
    found = [f"plan: {reason}" for reason in _names(plan)]
    wrong = refused_description(plan.description, plan.division, plan.submitter, plan.system_type)
    found += [f"systems/{plan.system}.json: {reason}" for reason in wrong]
    for result in plan.results:
        found += [f"{result.place}: {reason}" for reason in _result(plan, result, round_, evidence)]
    found += _overlaps(plan, evidence)
    return found


def _names(plan: TreePlan) -> Iterator[str]:
    names = [plan.submitter, plan.system]
    names += [name for result in plan.results for name in (result.benchmark, result.implementation)]
    for name in dict.fromkeys(names):
        if not _NAME.fullmatch(name):
            yield f"{name!r} is no directory name (letters, digits and _ + = . -; no blank, no leading dot)"
        if any(word in name for word in _MISLEADING):
            yield f"{name!r} holds the name of an audit, which the official checker takes for that audit"
    places = [result.place for result in plan.results]
    for place in sorted({place for place in places if places.count(place) > 1}):
        yield f"{place} is there twice"
    if plan.rehearsal and "rehearsal" not in plan.system.lower():
        yield f"a rehearsal must be named so, and the system is called {plan.system!r}"
    if not plan.tuning_file.is_file():
        yield f"there is no tuning file {plan.tuning_file}"


def refused_description(
    given: Mapping[str, str | int], division: str, submitter: str, category: str, *, told_later: bool = False
) -> Iterator[str]:
    """Yield every reason not to write a system's description.

    Args:
        given: the fields of `systems/<system>.json`, by name.
        division: the tree's; filled in where the description lacks it, like the two others.
        submitter: the tree's.
        category: the `system_type` where the description has none.
        told_later: whether the machine tells what is missing (in a rehearsal).
    """
    for field, value in (("division", division), ("submitter", submitter)):
        if given.get(field, value) != value:
            yield f"{field} is {given[field]!r}, the tree's is {value!r}"
    if str(given.get("is_network", "false")).lower() != "false":
        yield "is_network is set; systems of the network division cannot be written"
    if str(given.get("status", "")).lower() not in description.STATUSES:
        yield f"status is {given.get('status')!r}, not one of {', '.join(description.STATUSES)}"
    if given.get("system_type", category) not in description.SYSTEM_TYPES:
        types = ", ".join(description.SYSTEM_TYPES)
        yield f"system_type is {given.get('system_type')!r}, not one of {types}"
    filled_in = {"division", "submitter", "system_type", "status"}
    for field in description.REQUIRED:
        if field in filled_in or field in description.MAY_BE_EMPTY or given.get(field):
            continue
        if told_later and field not in given:
            continue
        zero = ' (write the text "0" for none)' if given.get(field) == 0 else ""
        yield f"{field} is missing or empty{zero}"
    for field in (*description.JOINED, "hw_notes", "sw_notes"):
        if field in given and not isinstance(given[field], str):
            yield f"{field} must be text, not {given[field]!r}"
    for field in sorted(set(given) - description.KNOWN):
        yield f"unknown field {field!r}"


def _result(plan: TreePlan, result: ResultPlan, round_: Round, evidence: Evidence) -> Iterator[str]:
    try:
        rules = round_.model(result.benchmark)
    except PipelineError as error:
        yield error.what
        return
    system_type = str(plan.description.get("system_type", plan.system_type))
    if result.scenario not in rules.required(system_type) | rules.optional(system_type):
        yield f"the round has no {result.scenario} for this benchmark on a {system_type} system"
    for run in result.runs:
        yield from (f"{run.kind}: {reason}" for reason in _files(run, evidence))
        try:
            log = evidence.log(run.detail)
        except LogError as error:
            yield f"{run.kind}: {error.what} ({error.where})"
            continue
        yield from (f"{run.kind}: {reason}" for reason in _log(plan, result, run, log, round_, rules))
        if run is result.performance:
            yield from _conf(result, log, round_)
    yield from _accuracy(result, evidence)
    yield from _audits(plan, result, rules, evidence)


def _files(run: RunFolder, evidence: Evidence) -> Iterator[str]:
    for name in (DETAIL, SUMMARY):
        path = run.folder / name
        if not path.is_file():
            yield f"{name} is missing in {run.folder}"
        elif path.stat().st_size > LARGEST_FILE:
            yield f"{path} is larger than 50 MiB, which the official checker refuses"
    for name, wanted in run.hashes.items():
        path = run.folder / name
        if evidence.sha256(path) != wanted:
            yield f"{path} is not the file that was recorded when the run finished (SHA-256 {wanted[:12]}…)"


def _log(
    plan: TreePlan, result: ResultPlan, run: RunFolder, log: DetailLog, round_: Round, rules: ModelRules
) -> Iterator[str]:
    said = log.values.get("effective_scenario")
    if said != result.scenario:
        yield f"the log is of scenario {said!r}, not {result.scenario} ({log.path})"
    mode = log.values.get("effective_test_mode")
    wanted = "AccuracyOnly" if run.kind is RunKind.ACCURACY else "PerformanceOnly"
    if mode != wanted:
        yield f"the log is of mode {mode!r}, not {wanted} ({log.path})"
    if log.error_count:
        yield f"LoadGen logged {log.error_count} errors: {'; '.join(log.errors[:3])} ({log.path})"
    if run.kind is not RunKind.ACCURACY and not log.valid and not plan.rehearsal:
        reason = str(log.values.get("result_invalid_reason", "no reason given")).strip()
        yield f"the run is INVALID: {reason} ({log.path})"
    if run.kind.is_audit:
        try:
            prove_applied(run.kind, log, round_, result.benchmark)
        except AuditError as error:
            yield f"{error.what} ({log.path})"
    elif (audit := applied_audit(log, round_)) is not None:
        yield f"the log shows the settings of {audit} ({log.path})"
    count = log.values.get("qsl_reported_total_count")
    if not plan.rehearsal and count != rules.dataset_size:
        yield f"the data set had {count} samples, the benchmark has {rules.dataset_size} ({log.path})"


def _accuracy(result: ResultPlan, evidence: Evidence) -> Iterator[str]:
    try:
        text = result.accuracy_txt.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield f"accuracy: {result.accuracy_txt} cannot be read: {error}"
        return
    log = result.accuracy.accuracy_log
    if not log.is_file():
        yield f"accuracy: {ACCURACY_LOG} is missing in {log.parent}"
        return
    stated = hash_in(text)
    if stated is None:
        yield f"accuracy: {result.accuracy_txt} has no hash line"
    elif stated != evidence.sha256(log):
        yield f"accuracy: the hash in {result.accuracy_txt} is not that of {log}"


def _audits(plan: TreePlan, result: ResultPlan, rules: ModelRules, evidence: Evidence) -> Iterator[str]:
    kinds = [audit.run.kind for audit in result.audits]
    if plan.division != "open":
        yield from (f"{kind} is missing" for kind in rules.audits if kind not in kinds)
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"{kind} is there twice"
    for audit in result.audits:
        verdict, kind = audit.verdict, audit.run.kind
        if verdict.kind is not kind:
            yield f"{kind}: the verdict is that of {verdict.kind}"
        if not verdict.passed:
            yield f"{kind} did not pass: {'; '.join(verdict.reasons) or 'no reason given'}"
        if not plan.rehearsal and REHEARSAL_LINE in verdict.verify_performance:
            yield f"{kind} was judged as in a rehearsal, where speed decides nothing"
        judged = {
            "reference_detail": result.performance.detail,
            "audit_detail": audit.run.detail,
        }
        if kind is RunKind.TEST01:
            judged["accuracy_log"] = result.accuracy.accuracy_log
            judged["audit_accuracy_log"] = audit.run.accuracy_log
        for name, path in judged.items():
            if not path.is_file():
                yield f"{kind}: {path} is missing"
            elif verdict.evidence.get(name) != evidence.sha256(path):
                yield f"{kind}: the verdict was not given on {path}"
        if kind is RunKind.TEST01 and verdict.verify_accuracy is None:
            yield f"{kind}: the verdict does not say what became of the accuracy"


def _conf(result: ResultPlan, log: DetailLog, round_: Round) -> Iterator[str]:
    try:
        user = conf.user_conf(log, result.benchmark, result.scenario, round_)
        mlperf = conf.mlperf_conf(log, result.benchmark, result.scenario, round_)
    except PipelineError as error:
        yield f"user.conf and mlperf.conf cannot be written: {error.what} ({error.where})"
        return
    yield from conf.check(user, mlperf, log, result.benchmark)


def _overlaps(plan: TreePlan, evidence: Evidence) -> Iterator[str]:
    spans: list[tuple[str, Span]] = []
    places: dict[str, str] = {}
    for result in plan.results:
        for run in result.runs:
            label = f"{result.place} {run.kind}"
            try:
                span = run_span(evidence.log(run.detail))
            except LogError as error:
                if run.detail.is_file():
                    yield f"{result.place}: {run.kind}: {error.what} ({error.where})"
                continue
            if span is None:
                yield f"{label}: the log does not say when the run began and ended ({run.detail})"
                continue
            first = places.setdefault(evidence.sha256(run.detail), label)
            if first != label:  # rules T-14, X-14: the official checker accepts one log in two places
                yield f"{first} and {label} are one and the same run"
                continue
            spans.append((label, span))
    for (first, earlier), (second, later) in overlaps(spans):
        yield (
            f"{first} and {second} overlap: the first ended at {earlier.end:%H:%M:%S}, "
            f"the second began at {later.begin:%H:%M:%S} UTC"
        )
