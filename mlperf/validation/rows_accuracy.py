"""The rows of accuracy files and compliance tests, and how they are read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mlperf.accuracy import TOTALS
from mlperf.rounds import AccuracyTarget, ModelRules, Round, RunKind
from mlperf.validation.rows_result import LOGS, file_difference
from mlperf.validation.rules import Row
from mlperf.validation.tree import Text, Tree, lines, shown

_HASH = re.compile(r"^hash=([\w\d]+)$")
_COUNT = re.compile(r"'gen_num':\s(\d{1,9})")
_NUMBER = r"([\d.]+(?:[eE][+-]?\d+)?)"
"""Digits as the official checker reads them, and the exponent, which it overlooks."""
_OLD = {
    "acc": rf"^accuracy={_NUMBER}",
    "AUC": rf"^AUC={_NUMBER}",
    "mAP": rf"^mAP={_NUMBER}",
    "F1": rf"^{{[\"']exact_match[\"']:\s*[\d.]+,\s*[\"']f1[\"']:\s*{_NUMBER}}}",
    "WER": rf"Word Error Rate:.*, accuracy={_NUMBER}%",
    "DICE": rf"Accuracy:\s*mean\s*=\s*{_NUMBER}",
}
_IN_LINE = {
    "ROUGE1": "rouge1",
    "ROUGE2": "rouge2",
    "ROUGEL": "rougeL",
    "ROUGELSUM": "rougeLsum",
    "GEN_LEN": "gen_len",
    "TOKENS_PER_SAMPLE": "tokens_per_sample",
    "CLIP_SCORE": "CLIP_SCORE",
    "FID_SCORE": "FID_SCORE",
    "gsm8k_accuracy": "gsm8k",
    "mbxp_accuracy": "mbxp",
    "exact_match": "exact_match",
    "vbench_score": "vbench_score",
}
_QUOTED = {"ROUGE1", "ROUGE2", "ROUGEL", "ROUGELSUM", "CLIP_SCORE", "FID_SCORE"}
_NEW = {
    "acc": rf"^(?:{{\"accuracy|accuracy)[\": ]*=?\s*{_NUMBER}",
    "mAP": rf".*(?:mAP=|'Total':)\s*{_NUMBER}",
    "DLRM_NE": rf".*metric/lifetime_ne/rating:\s*{_NUMBER}",
    "DLRM_ACC": rf".*metric/lifetime_accuracy/rating:\s*{_NUMBER}",
    "DLRM_AUC": rf".*metric/lifetime_gauc/rating:\s*{_NUMBER}",
    "ACCURACY": rf"Word Error Rate:.*, accuracy={_NUMBER}%",
    "F1_HIERARCHICAL": rf"{{.*\"f1\":\s*{_NUMBER}.*}}",
    "E2E_ACCURACY": rf"Accuracy:\s*{_NUMBER}",
}


def metric_pattern(metric: str, newer: bool) -> re.Pattern[str]:
    """Return how a metric stands in a line of accuracy.txt (A-04; V-09 for the newer rounds)."""
    if newer and metric in _NEW:
        return re.compile(_NEW[metric])
    if metric in _OLD:
        return re.compile(_OLD[metric])
    quote = r"\s+'?" if newer and metric in _QUOTED else r"\s"
    return re.compile(rf".*'{_IN_LINE[metric]}':{quote}{_NUMBER}")


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
    needed = [target for target in targets if target.required]
    patterns = {target.metric: metric_pattern(target.metric, newer) for target in targets}
    seen: set[str] = set()
    below: list[str] = []
    short: list[str] = []
    above: list[str] = []
    unread: list[str] = []
    impossible: list[str] = []
    digest = value = ""
    problem = text.problem
    values: dict[str, str] = {}
    done = False
    for line in lines(text.content):
        if found := _HASH.match(line):
            digest = digest or found[1] if done else found[1]
        for target in targets:
            match = patterns[target.metric].match(line)
            if not match:
                continue
            number = _number(match[1])
            if math.isnan(number):
                problem = problem or f"{target.metric} is no number: {match[1]}"
                continue
            if target is targets[0] and not done:
                value = match[1]
            if target.required and not done:
                values[target.metric] = match[1]
            if number > 100 and target.metric in ("acc", "mAP", "F1", "AUC"):
                impossible.append(f"{target.metric}={match[1]}")
            if number >= target.floor:
                seen |= set() if done else {target.metric}
            else:
                few = number >= target.floor * _share(line, target, dataset_size)
                (unread if done else short if few else below).append(
                    f"{target.metric} {match[1]} < {target.floor:g}"
                )
            if target.ceiling is not None and number > target.ceiling:
                (unread if done else above).append(f"{target.metric} {match[1]} > {target.ceiling:g}")
        done = done or (bool(digest) and all(target.metric in seen for target in needed))
    found_below = {one.split(" ", 1)[0] for one in (*below, *short)}
    return AccuracyRow(
        scope=scope,
        path=shown(path),
        closed=closed,
        problem=shown(problem),
        below="; ".join(below),
        short="; ".join(short),
        above="; ".join(above),
        unseen=", ".join(
            target.metric
            for target in needed
            if target.metric not in seen and target.metric not in found_below
        ),
        has_hash=bool(digest),
        hash=shown(digest),
        value=value,
        values="  ".join(f"{metric}: {text}" for metric, text in values.items()),
        unread_failures="; ".join(unread),
        impossible=", ".join(impossible),
    )


def _share(line: str, target: AccuracyTarget, dataset_size: int) -> float:
    """Return which share of the data set a total is over; 1 for metrics that are no totals."""
    match = _COUNT.search(line)
    return min(int(match[1]) / dataset_size, 1.0) if match and target.metric in TOTALS else 1.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


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
        pattern = metric_pattern(target.metric, round_.is_newer)
        baseline, compliance = (_last_value(pattern, text) for text in texts)
        if not baseline or not compliance or math.isnan(baseline + compliance):
            problems.append(f"{target.metric} cannot be read from both files")
        elif not abs(1 - baseline / compliance) * 100 <= model.delta_percent(target.metric):
            change = abs(1 - baseline / compliance) * 100
            allowed = model.delta_percent(target.metric)
            problems.append(f"{target.metric} differs by {change:.3g}% (at most {allowed:g}%)")
    return _AuditAccuracy(verified, "", "; ".join(problems))


def _last_value(pattern: re.Pattern[str], text: Text) -> float:
    values = [_number(match[1]) for line in lines(text.content) if (match := pattern.match(line))]
    return values[-1] if values else 0.0


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
