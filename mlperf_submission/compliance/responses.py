"""The accuracy side of TEST01: are the responses of the audit run those of the accuracy run?

Rules: `compliance/nvidia/TEST01/verify_accuracy.py` and `create_accuracy_baseline.sh` at the round's tag.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.benchmark.parts import Score
from mlperf_submission.errors import SettingError
from mlperf_submission.submission.accuracy_log import AccuracyLogEntry, read_accuracy

ITEM_BYTES: Mapping[str, int] = {
    "byte": 1,
    "uint8": 1,
    "int8": 1,
    "float16": 2,
    "float32": 4,
    "int32": 4,
    "int64": 8,
}
"""Size of one element of a response; the official script knows byte, float32, int32 and int64."""
_LONGEST_KEPT = 64
"""Bytes; of longer responses the SHA-256 is kept instead."""


class ResponseComparison(BaseModel):
    """The responses of a TEST01 run against those of the accuracy run.

    Attributes:
        passed: whether every sampled response is the accuracy run's, in all of its bytes.
        reasons: why not, one line each.
        accuracy_entries, duplicate_keys, duplicate_mismatches: of the accuracy run's log.
        audit_entries: responses that TEST01 sampled.
        matched: those whose sample the accuracy run answered too.
        mismatches: those of them that differ anywhere.
        first_element_mismatches: those that differ in their first element, which is all that the official
            script compares.
        missing: sampled responses to samples that the accuracy run did not answer.
        text: `verify_accuracy.txt`.
    """

    model_config = ConfigDict(frozen=True)
    passed: bool
    reasons: tuple[str, ...]
    accuracy_entries: int
    duplicate_keys: int
    duplicate_mismatches: int
    audit_entries: int
    matched: int
    mismatches: int
    first_element_mismatches: int
    missing: int
    text: str


class BaselineComparison(BaseModel):
    """The fallback of TEST01: the score of the sampled responses against that of the accuracy run's.

    Attributes:
        passed: whether every metric is within the tolerance.
        reasons: why not, one line each.
        baseline: metrics of the accuracy run's responses to the sampled samples.
        compliance: metrics of the audit run's responses.
        baseline_text: `baseline_accuracy.txt`.
        compliance_text: `compliance_accuracy.txt`.
    """

    model_config = ConfigDict(frozen=True)
    passed: bool
    reasons: tuple[str, ...]
    baseline: Mapping[str, float]
    compliance: Mapping[str, float]
    baseline_text: str
    compliance_text: str


def compare_accuracy(accuracy_log: Path, audit_log: Path, dtype: str) -> ResponseComparison:
    """Compare the sampled responses of a TEST01 run with the accuracy run, byte by byte.

    The official script compares the first element of `dtype` only; here the whole response counts, and a
    sample that the accuracy run did not answer fails as well. At least one response must have been compared.
    Both logs are read as streams; memory grows with the number of samples, not with the responses' length.

    Args:
        accuracy_log: complete `mlperf_log_accuracy.json` of the accuracy run.
        audit_log: the same of the TEST01 run.
        dtype: NumPy name of a response's elements, for the count that the official script would give.

    Raises:
        LogError: a log cannot be read, is damaged or truncated.
        SettingError: the dtype is unknown.
    """
    if dtype not in ITEM_BYTES:
        raise SettingError(
            f"unknown response dtype {dtype!r}", remedy=f"known dtypes: {', '.join(sorted(ITEM_BYTES))}"
        )
    first = ITEM_BYTES[dtype]
    seen: dict[int, tuple[bytes, bytes]] = {}
    accuracy_entries = duplicates = duplicate_mismatches = 0
    for entry in read_accuracy(accuracy_log):
        accuracy_entries += 1
        kept = _kept(entry.data, first)
        if seen.setdefault(entry.qsl_idx, kept) is not kept:
            duplicates += 1
            duplicate_mismatches += seen[entry.qsl_idx] != kept
    audit_entries = matched = mismatched = first_mismatched = missing = 0
    unanswered: set[int] = set()
    for entry in read_accuracy(audit_log):
        audit_entries += 1
        kept = _kept(entry.data, first)
        reference = seen.get(entry.qsl_idx)
        if reference is None:
            missing += 1
            unanswered.add(entry.qsl_idx)
        else:
            matched += 1
            mismatched += kept != reference
            first_mismatched += kept[0] != reference[0]
    reasons = []
    if duplicate_mismatches:
        reasons.append(f"the accuracy run gave {duplicate_mismatches} samples two different responses")
    if mismatched:
        reasons.append(
            f"{mismatched} of {audit_entries} sampled responses differ from the accuracy run's "
            f"({first_mismatched} in the first {dtype})"
        )
    if missing:
        reasons.append(f"the accuracy run did not answer {len(unanswered)} of the sampled samples")
    if not matched:
        reasons.append("no sampled response could be compared: the audit's accuracy log has none that fits")
    return ResponseComparison(
        passed=not reasons,
        reasons=tuple(reasons),
        accuracy_entries=accuracy_entries,
        duplicate_keys=duplicates,
        duplicate_mismatches=duplicate_mismatches,
        audit_entries=audit_entries,
        matched=matched,
        mismatches=mismatched,
        first_element_mismatches=first_mismatched,
        missing=missing,
        text=_text(
            accuracy_entries,
            duplicates,
            duplicate_mismatches,
            audit_entries,
            matched,
            mismatched,
            missing,
            verdict="TEST FAIL" if reasons else "TEST PASS",
        ),
    )


def compare_with_baseline(
    accuracy_log: Path,
    audit_log: Path,
    score: Callable[[Iterable[AccuracyLogEntry]], Score],
    *,
    tolerance_percent: Callable[[str], float],
) -> BaselineComparison:
    """Judge a TEST01 run that is not bit exact by its score (rule T-11).

    The baseline are the accuracy run's responses to the samples that TEST01 sampled; both sets are scored by
    the benchmark's own accuracy script. Every metric must be close to the baseline.

    Args:
        accuracy_log: complete log of the accuracy run.
        audit_log: accuracy log of the TEST01 run.
        score: scores a stream of responses.
        tolerance_percent: gives the allowed difference of a metric in percent (`ModelRules.delta_percent`).

    Raises:
        LogError: a log cannot be read, is damaged or truncated.
    """
    sampled = {entry.qsl_idx for entry in read_accuracy(audit_log)}
    baseline = score(_only(accuracy_log, sampled))
    compliance = score(read_accuracy(audit_log))
    reasons = []
    if not sampled:
        reasons.append("TEST01 sampled no response")
    if not baseline.metrics:
        reasons.append("the accuracy script found no metric")
    for metric, wanted in baseline.metrics.items():
        value = compliance.metrics.get(metric)
        if not value or not wanted or not math.isfinite(value) or not math.isfinite(wanted):
            reasons.append(f"{metric} cannot be compared: baseline {wanted}, TEST01 {value}")
            continue
        delta = abs(1 - wanted / value) * 100
        if delta > tolerance_percent(metric):
            reasons.append(
                f"{metric} is {value:.7g} in TEST01, {wanted:.7g} for the same samples in the accuracy run: "
                f"{delta:.3g} % apart, allowed are {tolerance_percent(metric):g} %"
            )
    return BaselineComparison(
        passed=not reasons,
        reasons=tuple(reasons),
        baseline=dict(baseline.metrics),
        compliance=dict(compliance.metrics),
        baseline_text="\n".join(baseline.lines) + "\n",
        compliance_text="\n".join(compliance.lines) + "\n",
    )


def _only(log: Path, indices: set[int]) -> Iterator[AccuracyLogEntry]:
    return (entry for entry in read_accuracy(log) if entry.qsl_idx in indices)


def _kept(data: bytes, first: int) -> tuple[bytes, bytes]:
    """Return the first element and the whole response, the latter as its hash if it is long."""
    if len(data) <= _LONGEST_KEPT:
        return data[:first], data
    return data[:first], len(data).to_bytes(8, "little") + hashlib.sha256(data).digest()


def _text(
    accuracy_entries: int,
    duplicates: int,
    duplicate_mismatches: int,
    audit_entries: int,
    matched: int,
    mismatched: int,
    missing: int,
    *,
    verdict: str,
) -> str:
    return (
        "Verifying accuracy. This might take a while...\n"
        "Reading accuracy mode results...\n"
        "Reading performance mode results...\n"
        f"num_acc_log_entries = {accuracy_entries}\n"
        f"num_acc_log_duplicate_keys = {duplicates}\n"
        f"num_acc_log_data_mismatch = {duplicate_mismatches}\n"
        f"num_perf_log_entries = {audit_entries}\n"
        f"num_perf_log_qsl_idx_match = {matched}\n"
        f"num_perf_log_data_mismatch = {mismatched}\n"
        f"num_missing_qsl_idxs = {missing}\n"
        f"{verdict}\n\n"
    )
