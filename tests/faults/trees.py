"""Whether two submission trees are the same but for what was measured.

A rerun after a fault has to give the tree of an undisturbed run: the same files, the same settings, the same
answers. What a clock, a processor or the probed rate decides differs between any two runs; it is named here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mlperf_submission.files import files_below
from mlperf_submission.validation import validate_tree

_LOG_PREFIX = ":::MLLOG "
_ANSWER = re.compile(r'"qsl_idx"\s*:\s*(\d+),\s*"data"\s*:\s*"([0-9a-fA-F]*)"')
_MEASURED_KEYS = re.compile(
    r"test_datetime|power_(begin|end)|get_sut_name_duration_ns|generated_(samples_per_query|query_duration)"
    r"|result_(completed_)?samples_per_sec(ond)?|result_(min|max|mean)_latency_ns|result_overlatency_query_count"
    r"|result_\d+\.\d+_percentile_latency_ns"
    # The rates come from a probe of the machine, and these follow from them.
    r"|requested_(offline_expected|server_target)_qps|effective_(samples_per_query|target_qps|min_sample_count)"
    r"|(generated|result)_query_count|result_scheduled_samples_per_sec"
)
"""Keys of LoadGen's detail log whose values are measured, or follow from the probe."""
_JUDGED_KEYS = re.compile(
    r"result_(validity|invalid_reason|perf_constraints_met|min_(duration|queries)_met)|early_stopping_\w+"
    r"|logger_swap_\w+|generic_warning"
)
"""Keys that are there, or say so, because of the speed of a run: it decides nothing in a rehearsal."""
_PARAMETERS = "Test Parameters Used"
"""Before this line of the summary stands what LoadGen thinks of the speed."""
_MEASURED_LINES = re.compile(
    r"(?P<name>"
    # mlperf_log_summary.txt
    r"Samples per second|Completed samples per second|(Min|Max|Mean) latency \(ns\)"
    r"|\d+\.\d+ percentile latency \(ns\)|samples_per_query|target_qps|\s*\* Processed at least|Overlatency"
    # verify_performance.txt, verify_accuracy.txt, accuracy.txt of an audit
    r"|(reference|test) score|num_perf_log_(entries|qsl_idx_match)|num_acc_log_(entries|duplicate_keys)"
    r"|accuracy=|hash="
    # README.md, calibration.md, calibration_process.adoc, user.conf
    r"|target rate \(.*\)|samples per query|began \(UTC\)|(\w*_)?seconds|peak_(\w+_)?bytes"
    r"|- ((\w*_)?seconds|peak_(\w+_)?bytes)|\*\.(Offline|Server)\.target_qps"
    r")(?P<sign>\s*[:=]?\s*)\S.*"
)
"""Lines of all other files of which only the name before the sign has to be the same."""


def same_but_measured(tree_a: Path, tree_b: Path, round_name: str = "v4.1") -> list[str]:
    """Return every difference between two trees of rehearsals that no measurement explains; none: the same.

    The files are the same; each has the same content but for measured values, whose places and names are the
    same; logs hold the same settings, responses the same answers; the verdicts rest on the same rules.
    """
    names_a, names_b = (
        {path.relative_to(tree).as_posix() for path in files_below(tree)} for tree in (tree_a, tree_b)
    )
    found = [f"{name}: only in {tree_a}" for name in sorted(names_a - names_b)]
    found += [f"{name}: only in {tree_b}" for name in sorted(names_b - names_a)]
    for name in sorted(names_a & names_b):
        found += [f"{name}: {text}" for text in _file_differences(tree_a / name, tree_b / name)]
    failures_a, failures_b = (
        {
            (failure.severity, failure.rule, failure.path)
            for failure in validate_tree(tree, round_name, rehearsal=True).failures
            if not failure.by_design
        }
        for tree in (tree_a, tree_b)
    )
    return found + [f"only one verdict has {failure}" for failure in sorted(failures_a ^ failures_b)]


def _file_differences(file_a: Path, file_b: Path) -> Iterator[str]:
    content_a, content_b = file_a.read_bytes(), file_b.read_bytes()
    if content_a == content_b:
        return
    if file_a.name == "mlperf_log_accuracy.json":
        yield from _answer_differences(content_a, content_b)
        return
    kept = _log_line if file_a.name == "mlperf_log_detail.txt" else _text_line
    try:
        lines_a, lines_b = (
            [kept(line) for line in _lines(file_a.name, content.decode())]
            for content in (content_a, content_b)
        )
    except UnicodeDecodeError:
        yield "the content differs"
        return
    if len(lines_a) != len(lines_b):
        yield f"{len(lines_a)} lines / {len(lines_b)}"
    yield from (f"{a!r} / {b!r}" for a, b in zip(lines_a, lines_b, strict=False) if a != b)


def _lines(name: str, text: str) -> list[str]:
    """Return the lines of a file without what the speed of a run decides."""
    if name == "mlperf_log_summary.txt":
        text = text[max(0, text.find(_PARAMETERS)) :]
    if name == "mlperf_log_detail.txt":
        return [line for line in text.splitlines() if not _is_judged(line)]
    if name == "verify_performance.txt":
        return [line for line in text.splitlines() if not line.startswith("TEST ")]
    return text.splitlines()


def _is_judged(line: str) -> bool:
    entry = json.loads(line.removeprefix(_LOG_PREFIX)) if line.startswith(_LOG_PREFIX) else {"key": ""}
    return bool(_JUDGED_KEYS.fullmatch(entry["key"]))


def _log_line(line: str) -> str:
    """Return the key of an entry of the detail log, and its value unless that is measured."""
    if not line.startswith(_LOG_PREFIX):
        return line
    entry = json.loads(line.removeprefix(_LOG_PREFIX))
    value = "measured" if _MEASURED_KEYS.fullmatch(entry["key"]) else json.dumps(entry["value"])
    return f"{entry['key']} = {value}"


def _text_line(line: str) -> str:
    measured = _MEASURED_LINES.fullmatch(line)
    return f"{measured['name']}{measured['sign']}measured" if measured else line


def _answer_differences(content_a: bytes, content_b: bytes) -> Iterator[str]:
    """Compare the answers to the samples that both logs hold.

    An audit's log holds a random part of them; and of a long log the tree holds the beginning and the end.
    """
    answers_a, answers_b = (dict(_ANSWER.findall(content.decode())) for content in (content_a, content_b))
    for index in sorted(answers_a.keys() & answers_b.keys()):
        if answers_a[index] != answers_b[index]:
            yield f"sample {index} was answered {answers_a[index]} / {answers_b[index]}"
