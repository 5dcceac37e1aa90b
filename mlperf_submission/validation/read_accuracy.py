"""From accuracy.txt and the folders of the compliance tests to their rows."""

from __future__ import annotations

import math
from typing import Any

from mlperf_submission.rounds import RunKind
from mlperf_submission.submission.accuracy import TOTALS
from mlperf_submission.submission.accuracy_text import official_part, read_lines
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, SUMMARY, Text, lines
from mlperf_submission.validation.frames import (
    Accuracy,
    Audits,
    Checks,
    Fallback,
    Files,
    Metrics,
)
from mlperf_submission.validation.read_run import read_run
from mlperf_submission.validation.reader import At, Place, Reader

ALWAYS_ALLOWED = frozenset({"mlperf_log_trace.json", "results.json", ".gitkeep"})
LOGS = frozenset({SUMMARY, DETAIL})
_WITH_RUN = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
_LATER_TESTS = {
    RunKind.TEST07: "verify_accuracy.txt",
    RunKind.TEST08: "verify_accuracy.txt",
    RunKind.TEST09: "verify_output_len.txt",
}
"""The tests of v6.0 and later, and the file that holds their outcome (V-43)."""


def add_files(
    reader: Reader,
    at: At,
    folder: str,
    place: str,
    required: frozenset[str],
    allowed: frozenset[str] = frozenset(),
    *,
    folder_too: bool = False,
    with_power: bool = False,
) -> bool:
    """Add the files of a folder that must be there or are.

    Args:
        reader: takes the rows.
        at: scope and path of what the folder belongs to.
        folder: what it is called in the frame.
        place: where it lies.
        required: the names that must be there.
        allowed: names that may be there.
        folder_too: the folder itself must be there; if it is not, that is all that is missing.
        with_power: the result has a power measurement.

    Returns:
        Whether all is as it must be.
    """
    about = {"folder": folder, "place": place, "with_power": with_power}
    if folder_too and not reader.tree.exists(place):
        reader.add(Files, at, **about, required=True)
        return False
    present = frozenset(reader.tree.listing(place).files)
    required, allowed = required - ALWAYS_ALLOWED, allowed | ALWAYS_ALLOWED
    missing, extra = sorted(required - present), sorted(present - required - allowed)
    for name in missing:
        reader.add(Files, at, **about, name=name, required=True)
    for name in extra:
        reader.add(Files, at, **about, name=name, exists=True)
    for name in present & (required | allowed):
        reader.add(Files, at, **about, name=name, exists=True, allowed=True)
    return not missing and not extra


def read_accuracy(reader: Reader, place: Place) -> tuple[str, str]:
    """Read an accuracy.txt as the checker does: until all metrics have passed and a hash was seen.

    Returns:
        The last value of the first metric, and all metrics with their last values, as the CSVs write them.
    """
    path, newer = f"{place.at.path}/accuracy/accuracy.txt", reader.round.is_newer
    targets = place.model.targets(place.scenario)
    by_metric = {target.metric: target for target in targets}
    text = reader.tree.text(path)
    problem, digest, values = text.problem, "", dict[str, str]()
    found: list[dict[str, Any]] = []
    for line, is_read in official_part(read_lines(text.content, list(by_metric), newer), targets):
        digest = line.digest or digest if is_read else digest or line.digest
        for one in line.readings:
            target = by_metric[one.metric]
            if math.isnan(one.number):
                problem = problem or f"{one.metric} is no number: {one.text[:40]}"
                continue
            if is_read and target.required:
                values[one.metric] = one.text
            share = 1.0
            if line.samples is not None and one.metric in TOTALS:
                share = min(line.samples / place.model.dataset_size, 1.0)
            found.append(
                {
                    "metric": one.metric,
                    "text": one.text[:40],
                    "rest": one.rest,
                    "number": one.number,
                    "floor": target.floor,
                    "few_floor": target.floor * share,
                    "ceiling": target.ceiling,
                    "is_read": is_read,
                }
            )
    stated = {one["metric"] for one in found if one["is_read"]}
    lacking = [one for one in targets if one.required and one.metric not in stated]
    found += [{"metric": one.metric, "floor": one.floor, "few_floor": one.floor} for one in lacking]
    at, about = At(place.at.scope, path), {"closed": place.at.closed, "readable": not problem}
    for row in found:
        reader.add(Metrics, at, **about, **row)
    value = values.get(targets[0].metric, "") if targets else ""
    reader.add(Accuracy, at, **about, digest=digest, value=value)
    reader.reading(at, problem, role="accuracy")
    return value, "  ".join(f"{metric}: {text}" for metric, text in values.items())


def read_audits(reader: Reader, base: str, place: Place) -> None:
    """Read the compliance tests of a result, in `base`.

    An unreadable log of a test is overlooked if the checker has read that of another one before (T-08).
    """
    one_was_read = False
    for test in place.model.audits:
        at = At(place.at.scope, f"{base}/{test}")
        exists = reader.tree.exists(at.path)
        skipped = exists and _read_audit(reader, at, test, place)
        reader.add(Audits, at, test=test, exists=exists, scenario=place.scenario, first_token_skipped=skipped)
        if exists and test in _WITH_RUN and RunKind.TEST06 not in place.model.audits:
            forgiven = one_was_read and not reader.round.is_newer
            run = read_run(reader, place, test, f"{at.path}/performance/run_1", forgiven=forgiven)
            one_was_read = one_was_read or not run.problem


def _read_audit(reader: Reader, at: At, test: RunKind, place: Place) -> bool:
    """Read what a test verifies; return whether TEST06 skipped the first token check."""
    folder, newer = at.path, reader.round.is_newer
    if test in _WITH_RUN:
        _check(reader, at, test, "verify_performance.txt", "performance", own_line=False)
        run = f"{folder}/performance/run_1"
        add_files(reader, at, "test run", run, LOGS, frozenset({ACCURACY_LOG}), folder_too=True)
    if test in _LATER_TESTS:
        own_line = test is RunKind.TEST08
        _check(reader, at, test, _LATER_TESTS[test], "accuracy", own_line=own_line)
    # The checker recognises these two by a part of the whole path (T-15).
    elif test in (RunKind.TEST01, RunKind.TEST06) and "TEST01" in folder:
        found, passes = _check(reader, at, test, "verify_accuracy.txt", "accuracy", own_line=newer)
        if found:
            _fallback(reader, at, test, place, passes)
    elif test is RunKind.TEST06:
        return _test06(reader, at)
    return False


def _check(
    reader: Reader, at: At, test: RunKind, file: str, kind: str, *, own_line: bool
) -> tuple[bool, bool]:
    """Add whether a file says TEST PASS, with `own_line` in a line of its own: found, passes."""
    text = reader.tree.text(f"{at.path}/{file}")
    found = not text.problem
    said = [line.strip() for line in lines(text.content)] if own_line else text.content
    passes = found and "TEST PASS" in said
    problem = text.problem or "it does not say TEST PASS"
    if kind == "performance":
        problem = "does not say TEST PASS" if found else "is missing"
    reader.add(Checks, at, test=test, file=file, kind=kind, found=found, passes=passes, problem=problem)
    return found, passes


def _fallback(reader: Reader, at: At, test: RunKind, place: Place, passes: bool) -> None:
    """Read the accuracy folder of TEST01 and, if it is not bit-exact, both accuracies."""
    folder, rows = f"{at.path}/accuracy", reader.rows[Files]
    required = frozenset({ACCURACY_LOG, "accuracy.txt"})
    if not passes:
        required |= {"baseline_accuracy.txt", "compliance_accuracy.txt"}
    before = len(rows)
    whole = add_files(reader, at, "test accuracy", folder, required, folder_too=True)
    if passes:
        return
    if not whole:
        wrong = [one for one in rows[before:] if not one.get("allowed")]
        names = [f"+{one['name']}" if one.get("exists") else one.get("name") for one in wrong]
        problem = ", ".join(name or "the folder is missing" for name in names)
        reader.add(Fallback, at, test=test, problem=problem)
        return
    texts = [reader.tree.text(f"{folder}/{name}_accuracy.txt") for name in ("baseline", "compliance")]
    for metric in (target.metric for target in place.model.accuracy if target.required):
        baseline, compliance = (_last_value(metric, text, reader.round.is_newer) for text in texts)
        values = {"baseline": baseline, "compliance": compliance}
        allowed = place.model.delta_percent(metric)
        reader.add(Fallback, at, test=test, metric=metric, **values, allowed_percent=allowed)


def _last_value(metric: str, text: Text, newer: bool) -> float:
    found = [one.number for line in read_lines(text.content, [metric], newer) for one in line.readings]
    return found[-1] if found else 0.0


def _test06(reader: Reader, at: At) -> bool:
    """Add the three checks of TEST06; return whether it skipped the first."""
    file = "verify_accuracy.txt"
    text = reader.tree.text(f"{at.path}/{file}")
    said = {line.strip() for line in lines(text.content)}
    skipped = "First token check pass: Skipped" in said
    for kind in ("First token check pass", "EOS check pass", "Sample length check pass"):
        passes = f"{kind}: True" in said or (skipped and kind.startswith("First"))
        about = {"test": RunKind.TEST06, "file": file, "kind": kind, "found": not text.problem}
        reader.add(Checks, at, **about, passes=passes, problem=text.problem)
    return skipped
