"""The rows of accuracy files and compliance tests, and how they are read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlperf_submission.rounds import AccuracyTarget, ModelRules, Round, RunKind
from mlperf_submission.submission.accuracy import TOTALS
from mlperf_submission.submission.accuracy_text import Line, official_part, read_lines
from mlperf_submission.submission.files import Text, Tree, lines, shown
from mlperf_submission.validation.rows_result import LOGS, file_difference
from mlperf_submission.validation.rules import Row


@dataclass(frozen=True)
class AccuracyRow(Row):
    """What an accuracy.txt says.

    Attributes:
        problem: why it cannot be read.
        below: metrics under their floor (in the lines that the checker reads), with the numbers.
        short: totals over the samples (GEN_LEN) under their floor, where the file says that fewer samples
            were scored, and the mean per sample reaches it.
        above: metrics over their ceiling.
        unseen: metrics that are missing.
        has_hash: a hash line was seen.
        hash: its value.
        value: the last value of the first metric, as text.
        values: all metrics with their last values, as the later CSVs write them.
        unread_failures: failing values in lines that the checker does not read any more.
        impossible: percentages over 100.
    """

    closed: bool
    problem: str
    below: str
    short: str
    above: str
    unseen: str
    has_hash: bool
    hash: str
    value: str
    values: str
    unread_failures: str
    impossible: str


def accuracy_row(
    scope: str,
    path: str,
    closed: bool,
    targets: tuple[AccuracyTarget, ...],
    text: Text,
    newer: bool,
    dataset_size: int,
) -> AccuracyRow:
    """Read an accuracy.txt as the checker does: until all metrics have passed and a hash was seen."""
    needed = [target.metric for target in targets if target.required]
    by_metric = {target.metric: target for target in targets}
    seen: set[str] = set()
    below: list[str] = []
    short: list[str] = []
    above: list[str] = []
    unread: list[str] = []
    impossible: list[str] = []
    values: dict[str, str] = {}
    digest = ""
    problem = text.problem
    for line, is_read in official_part(read_lines(text.content, list(by_metric), newer), targets):
        digest = line.digest or digest if is_read else digest or line.digest
        for one in line.readings:
            target = by_metric[one.metric]
            if math.isnan(one.number):
                problem = problem or f"{one.metric} is no number: {one.text[:40]}"
                continue
            if is_read and target.required:
                values[one.metric] = one.text
            if one.number > 100 and one.metric in ("acc", "mAP", "F1", "AUC"):
                impossible.append(f"{one.metric}={one.text[:40]}")
            if one.number >= target.floor:
                seen |= {one.metric} if is_read else set()
            else:
                few = one.number >= target.floor * _share(line, target, dataset_size)
                (short if few and is_read else below if is_read else unread).append(
                    f"{one.metric} {one.text[:40]} < {target.floor:g}"
                )
            if target.ceiling is not None and one.number > target.ceiling:
                (above if is_read else unread).append(f"{one.metric} {one.text[:40]} > {target.ceiling:g}")
    told = {one.split(" ", 1)[0] for one in (*below, *short)}
    return AccuracyRow(
        scope=scope,
        path=shown(path),
        closed=closed,
        problem=shown(problem),
        below="; ".join(below),
        short="; ".join(short),
        above="; ".join(above),
        unseen=", ".join(metric for metric in needed if metric not in seen | told),
        has_hash=bool(digest),
        hash=shown(digest),
        value=values.get(targets[0].metric, "") if targets else "",
        values="  ".join(f"{metric}: {found}" for metric, found in values.items()),
        unread_failures="; ".join(unread),
        impossible=", ".join(impossible),
    )


def _share(line: Line, target: AccuracyTarget, dataset_size: int) -> float:
    """Return which share of the data set a total is over; 1 for metrics that are no totals."""
    if line.samples is None or target.metric not in TOTALS:
        return 1.0
    return min(line.samples / dataset_size, 1.0)


@dataclass(frozen=True)
class AuditRow(Row):
    """One compliance test of a result (closed and network).

    Attributes:
        test: TEST01, …
        exists: its folder is there.
        has_performance: the test has a performance run (all but TEST06 and later ones).
        verify_performance: `missing`, `fails` or `passes`.
        has_run: performance/run_1 is there.
        run_files: names that are missing or too many in it.
        verify_accuracy: `missing`, `fails`, `passes` or empty where the test has none.
        accuracy_problem: why its accuracy part is refused: files, difference, missing lines.
        accuracy_files: names that are missing or too many in accuracy/.
        first_token_skipped: TEST06 skipped the first token check.
        scenario: the result's scenario.
    """

    test: str
    exists: bool
    has_performance: bool
    verify_performance: str
    has_run: bool
    run_files: str
    verify_accuracy: str
    accuracy_files: str
    accuracy_problem: str
    first_token_skipped: bool
    scenario: str


def audit_row(
    round_: Round, tree: Tree, scope: str, folder: str, test: RunKind, model: ModelRules, scenario: str
) -> AuditRow:
    """Read what lies in the folder of a compliance test besides the log of its run."""
    exists = tree.exists(folder)
    has_performance = test in (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
    run = f"{folder}/performance/run_1"
    performance = tree.text(f"{folder}/verify_performance.txt")
    verify_performance = _passes(performance)
    accuracy = _AuditAccuracy.read(round_, tree, folder, test, model)
    return AuditRow(
        scope=scope,
        path=shown(folder),
        test=str(test),
        exists=exists,
        has_performance=has_performance,
        verify_performance=verify_performance,
        has_run=tree.exists(run),
        run_files=file_difference(tree.listing(run).files, LOGS, frozenset({"mlperf_log_accuracy.json"})),
        verify_accuracy=accuracy.verified,
        accuracy_files=accuracy.files,
        accuracy_problem=shown(accuracy.problem),
        first_token_skipped=accuracy.skipped,
        scenario=scenario,
    )


def _passes(text: Text, *, own_line: bool = False) -> str:
    """Return `missing`, `passes` or `fails`; with `own_line` the words must be a line of their own."""
    if text.problem:
        return "missing"
    places = [line.strip() for line in lines(text.content)] if own_line else text.content
    return "passes" if "TEST PASS" in places else "fails"


_LATER_TESTS = {
    RunKind.TEST07: "verify_accuracy.txt",
    RunKind.TEST08: "verify_accuracy.txt",
    RunKind.TEST09: "verify_output_len.txt",
}
"""The tests of v6.0 and later, and the file that holds their outcome (V-43)."""


@dataclass(frozen=True)
class _AuditAccuracy:
    verified: str = ""
    files: str = ""
    problem: str = ""
    skipped: bool = False

    @staticmethod
    def read(round_: Round, tree: Tree, folder: str, test: RunKind, model: ModelRules) -> _AuditAccuracy:
        if test in _LATER_TESTS:
            later = tree.text(f"{folder}/{_LATER_TESTS[test]}")
            problem = later.problem or "it does not say TEST PASS"
            verified = _passes(later, own_line=test is RunKind.TEST08)
            return _AuditAccuracy(
                verified, problem="" if verified == "passes" else f"{_LATER_TESTS[test]}: {problem}"
            )
        # The checker recognises these two by a part of the whole path (T-15).
        if test not in (RunKind.TEST01, RunKind.TEST06):
            return _AuditAccuracy()
        text = tree.text(f"{folder}/verify_accuracy.txt")
        if text.problem:
            return _AuditAccuracy("missing", problem=f"verify_accuracy.txt: {text.problem}")
        if "TEST01" in folder:
            return _test01(round_, tree, folder, _passes(text, own_line=round_.is_newer), model)
        return _test06(text)


def _test01(round_: Round, tree: Tree, folder: str, verified: str, model: ModelRules) -> _AuditAccuracy:
    required = frozenset({"mlperf_log_accuracy.json", "accuracy.txt"})
    if verified != "passes":
        required |= {"baseline_accuracy.txt", "compliance_accuracy.txt"}
    files = file_difference(tree.listing(f"{folder}/accuracy").files, required)
    if not tree.exists(f"{folder}/accuracy"):
        files = "the folder is missing"
    if verified == "passes":
        return _AuditAccuracy(verified, files)
    if files:
        return _AuditAccuracy(verified, files, f"accuracy: {files}")
    texts = [tree.text(f"{folder}/accuracy/{name}_accuracy.txt") for name in ("baseline", "compliance")]
    problems = []
    for target in model.accuracy:
        if not target.required:
            continue
        baseline, compliance = (_last_value(target.metric, text, round_.is_newer) for text in texts)
        if not baseline or not compliance or math.isnan(baseline + compliance):
            problems.append(f"{target.metric} cannot be read from both files")
        elif not abs(1 - baseline / compliance) * 100 <= model.delta_percent(target.metric):
            change = abs(1 - baseline / compliance) * 100
            allowed = model.delta_percent(target.metric)
            problems.append(f"{target.metric} differs by {change:.3g}% (at most {allowed:g}%)")
    return _AuditAccuracy(verified, "", "; ".join(problems))


def _last_value(metric: str, text: Text, newer: bool) -> float:
    found = [one.number for line in read_lines(text.content, [metric], newer) for one in line.readings]
    return found[-1] if found else 0.0


def _test06(text: Text) -> _AuditAccuracy:
    found = {line.strip() for line in lines(text.content)}
    skipped = "First token check pass: Skipped" in found
    missing = [
        check
        for check, good in (
            ("First token check pass", skipped or "First token check pass: True" in found),
            ("EOS check pass", "EOS check pass: True" in found),
            ("Sample length check pass", "Sample length check pass: True" in found),
        )
        if not good
    ]
    problem = f"not passed: {', '.join(missing)}" if missing else ""
    return _AuditAccuracy("fails" if missing else "passes", "", problem, skipped)
