"""Failure triage: every failure that a run can have, with its cause, remedy and the steps to do again."""

from __future__ import annotations

from mlperf_submission.triage.diagnose import (
    EVIDENCE,
    KNOWN,
    OTHERWISE,
    UNKNOWN,
    Diagnosis,
    diagnose,
    diagnose_error,
    diagnose_rule,
    explanation,
)

__all__ = [
    "EVIDENCE",
    "KNOWN",
    "OTHERWISE",
    "UNKNOWN",
    "Diagnosis",
    "diagnose",
    "diagnose_error",
    "diagnose_rule",
    "explanation",
]
