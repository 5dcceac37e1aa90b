"""The accuracy side of TEST01: are the responses of the audit run those of the accuracy run?

Rules: `compliance/nvidia/TEST01/verify_accuracy.py` and `create_accuracy_baseline.sh` at the round's tag.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class ResponseComparison:
    """The responses of a TEST01 run against those of the accuracy run.

    Attributes:
        reasons: why a sampled response is not the accuracy run's, in all of its bytes; one line each.
        accuracy_entries, duplicate_keys, duplicate_mismatches: of the accuracy run's log.
        audit_entries: responses that TEST01 sampled.
        matched: those whose sample the accuracy run answered too.
        mismatches: those of them that differ anywhere.
        first_element_mismatches: those that differ in their first element, which is all that the official
            script compares.
        missing: sampled responses to samples that the accuracy run did not answer.
    """

    reasons: tuple[str, ...]
    accuracy_entries: int
    duplicate_keys: int
    duplicate_mismatches: int
    audit_entries: int
    matched: int
    mismatches: int
    first_element_mismatches: int
    missing: int

    @property
    def passed(self) -> bool:
        """Whether every sampled response is the accuracy run's."""
        return not self.reasons

    @property
    def text(self) -> str:
        """`verify_accuracy.txt`."""
        return (
            "Verifying accuracy. This might take a while...\n"
            "Reading accuracy mode results...\n"
            "Reading performance mode results...\n"
            f"num_acc_log_entries = {self.accuracy_entries}\n"
            f"num_acc_log_duplicate_keys = {self.duplicate_keys}\n"
            f"num_acc_log_data_mismatch = {self.duplicate_mismatches}\n"
            f"num_perf_log_entries = {self.audit_entries}\n"
            f"num_perf_log_qsl_idx_match = {self.matched}\n"
            f"num_perf_log_data_mismatch = {self.mismatches}\n"
            f"num_missing_qsl_idxs = {self.missing}\n"
            f"TEST {'PASS' if self.passed else 'FAIL'}\n\n"
        )


@dataclass(frozen=True)
class BaselineComparison:
    """The fallback of TEST01: the score of the sampled responses against that of the accuracy run's.

    Attributes:
        reasons: why a metric is not within the tolerance, one line each.
        baseline_text: `baseline_accuracy.txt`.
        compliance_text: `compliance_accuracy.txt`.
    """

    reasons: tuple[str, ...]
    baseline_text: str
    compliance_text: str

    @property
    def passed(self) -> bool:
        """Whether every metric is within the tolerance."""
        return not self.reasons


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
        reasons=tuple(reasons),
        accuracy_entries=accuracy_entries,
        duplicate_keys=duplicates,
        duplicate_mismatches=duplicate_mismatches,
        audit_entries=audit_entries,
        matched=matched,
        mismatches=mismatched,
        first_element_mismatches=first_mismatched,
        missing=missing,
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
    baseline = score(entry for entry in read_accuracy(accuracy_log) if entry.qsl_idx in sampled)
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
        reasons=tuple(reasons),
        baseline_text="\n".join(baseline.lines) + "\n",
        compliance_text="\n".join(compliance.lines) + "\n",
    )


def _kept(data: bytes, first: int) -> tuple[bytes, bytes]:
    """Return the first element and the whole response, the latter as its hash if it is long."""
    if len(data) <= _LONGEST_KEPT:
        return data[:first], data
    return data[:first], len(data).to_bytes(8, "little") + hashlib.sha256(data).digest()
