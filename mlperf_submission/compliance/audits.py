"""The compliance tests: their configuration, the proof that it was applied, and the verdict on a run.

An audit is an ordinary performance run with an `audit.config` in its directory. LoadGen ignores the file
without a word where it does not find it, and LoadGen 6 ignores `test05` in it; so a run is only taken for an
audit when its own log shows the audit's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.benchmark.parts import Score
from mlperf_submission.compliance.responses import compare_accuracy, compare_with_baseline
from mlperf_submission.compliance.scores import compare_performance
from mlperf_submission.errors import AuditError, LogError
from mlperf_submission.files import sha256_of
from mlperf_submission.rounds import Round, RunKind, Scenario
from mlperf_submission.submission.accuracy_log import AccuracyLogEntry
from mlperf_submission.submission.conf import config_model
from mlperf_submission.submission.detail_log import DetailLog
from mlperf_submission.submission.round import SEED_KEYS

ACCURACY_LOG_RNG_SEED = 720381539243781796
"""TEST01: seed of the sampling (`compliance/nvidia/TEST01/*/audit.config`)."""
SAMPLING_TARGET = 4096
SAMPLING_TARGETS: Mapping[str, int] = {"retinanet": 256, "3d-unet": 64}
"""TEST01: responses to sample, where it is not 4,096."""
ISSUE_SAME_INDEX = 3
"""TEST04: the sample that is issued over and over (`compliance/nvidia/TEST04/audit.config`)."""
KNOWN = (RunKind.TEST01, RunKind.TEST04, RunKind.TEST05)
"""The audits that can be run and judged; those of the newer rounds' token benchmarks cannot."""
_FOUND = "Found Audit Config file"
_TEST05_FLAG = "Test05 flag detected"
_PERFORMANCE_MODE = 2
_NOTE = "# Times are in milliseconds; mode 2 is a performance run.\n"
_SCENARIOS = (Scenario.MULTI_STREAM, Scenario.OFFLINE, Scenario.SINGLE_STREAM, Scenario.SERVER)


class AuditVerdict(BaseModel):
    """The verdict on one audit, with the official files that record it.

    Attributes:
        kind: the test.
        passed: whether the official rules are met; in a rehearsal, those that do not hang on speed.
        reasons: why not, or why the fallback was needed, one line each.
        notices: what a rehearsal takes note of and a submission would be refused for, one line each.
        only_performance: whether nothing but the performance of the two runs is against it.
        reference_score: score of the result: samples/s, or ns for the streams (TEST04: queries/s).
        audit_score: the same of the audit run.
        verify_performance: text of `verify_performance.txt`.
        verify_accuracy: text of `verify_accuracy.txt`; TEST01 only.
        baseline_accuracy: text of `baseline_accuracy.txt`, if the responses were not bit exact.
        compliance_accuracy: text of `compliance_accuracy.txt`, likewise.
        evidence: SHA-256 of the logs that were judged, by `reference_detail`, `audit_detail`, `accuracy_log`,
            `audit_accuracy_log`.
    """

    model_config = ConfigDict(frozen=True)
    kind: RunKind
    passed: bool
    reasons: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    only_performance: bool = False
    reference_score: float | None
    audit_score: float | None
    verify_performance: str
    verify_accuracy: str | None = None
    baseline_accuracy: str | None = None
    compliance_accuracy: str | None = None
    evidence: Mapping[str, str]


def audit_config(kind: RunKind, benchmark: str) -> str:
    """Return the official `audit.config` of a test.

    LoadGen 6 does not read `test05` from this file; with it, TEST05 is set by attributes.

    Args:
        kind: TEST01, TEST04 or TEST05.
        benchmark: directory name; TEST01 samples a different number of responses of some.

    Raises:
        AuditError: the run kind is no audit, or one that cannot be run here.
    """
    _require_known(kind)
    if kind is RunKind.TEST01:
        lines = [
            f"*.*.mode = {_PERFORMANCE_MODE}",
            f"*.*.accuracy_log_rng_seed = {ACCURACY_LOG_RNG_SEED}",
            f"*.*.accuracy_log_sampling_target = {sampling_target(benchmark)}",
        ]
    elif kind is RunKind.TEST04:
        lines = [
            f"*.{scenario}.{setting}"
            for scenario in _SCENARIOS
            for setting in (
                f"mode = {_PERFORMANCE_MODE}",
                "performance_issue_unique = 0",
                "performance_issue_same = 1",
                f"performance_issue_same_index = {ISSUE_SAME_INDEX}",
            )
        ]
    else:
        lines = ["*.*.test05 = 1"]
    return _NOTE + "\n".join(lines) + "\n"


def _require_known(kind: RunKind, where: object = "") -> None:
    if kind not in KNOWN:
        what = "an audit that cannot be run here" if kind.is_audit else "no audit"
        raise AuditError(f"{kind} is {what}", where=where, remedy=f"the audits are {', '.join(KNOWN)}")


def sampling_target(benchmark: str) -> int:
    """Return how many responses TEST01 samples of a benchmark."""
    return SAMPLING_TARGETS.get(config_model(benchmark), SAMPLING_TARGET)


def prove_applied(kind: RunKind, log: DetailLog, round_: Round, benchmark: str | None = None) -> None:
    """Read the proof out of a log that a run was the audit that it is said to be.

    Args:
        kind: the test.
        log: detail log of the audit run.
        round_: its seeds; TEST05 runs with its own.
        benchmark: directory name; with it TEST01's sampling target is compared too.

    Raises:
        AuditError: the log does not show the audit's settings; the message says which, and what the run was.
    """
    _require_known(kind, log.path)
    seeds = round_.test05_seeds if kind is RunKind.TEST05 else round_.seeds
    if seeds is None:
        raise AuditError(f"round {round_.name} has no {kind}", where=log.path, remedy="leave this audit out")
    wanted: dict[str, object] = {"effective_test_mode": "PerformanceOnly"}
    wanted |= zip(SEED_KEYS, astuple(seeds), strict=True)
    warning = _FOUND
    if kind is RunKind.TEST01:
        wanted["effective_accuracy_log_rng_seed"] = ACCURACY_LOG_RNG_SEED
        if benchmark is not None:
            wanted["effective_accuracy_log_sampling_target"] = sampling_target(benchmark)
    elif kind is RunKind.TEST04:
        wanted["effective_performance_issue_same"] = True
        wanted["effective_performance_issue_same_index"] = ISSUE_SAME_INDEX
        wanted["effective_performance_issue_unique"] = False
    else:
        warning = _TEST05_FLAG
    found = [
        f"{key} is {log.values.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if log.values.get(key) != value
    ]
    target = log.values.get("effective_accuracy_log_sampling_target")
    if kind is RunKind.TEST01 and (not isinstance(target, int) or target <= 0):
        found.append("no responses were sampled (effective_accuracy_log_sampling_target)")
    if not any(warning in text for text in log.warnings):
        found.append(f"LoadGen did not say {warning!r}")
    if found:
        raise AuditError(
            f"the log does not prove that {kind} was applied; this was {_what_it_was(log, round_)}: "
            + "; ".join(found),
            where=log.path,
            remedy="run the audit with its audit.config in the run's own directory (TEST05: by attributes)",
            code="audit-not-applied",
        )


@dataclass(frozen=True)
class AuditRuns:
    """The logs that a verdict needs.

    Attributes:
        reference: detail log of the result's performance run.
        audit: detail log of the audit run.
        accuracy_log: complete accuracy log of the accuracy run; TEST01 only.
        audit_accuracy_log: complete accuracy log of the audit run; TEST01 only.
    """

    reference: DetailLog
    audit: DetailLog
    accuracy_log: Path | None = None
    audit_accuracy_log: Path | None = None


def judge_audit(
    kind: RunKind,
    runs: AuditRuns,
    *,
    round_: Round,
    benchmark: str,
    response_dtype: str,
    score: Callable[[Iterable[AccuracyLogEntry]], Score] | None = None,
    rehearsal: bool = False,
) -> AuditVerdict:
    """Give the verdict on an audit run: applied, belonging to its result, fast enough, the same responses.

    Where the responses of TEST01 are not bit exact and a `score` is given, the official fallback decides: the
    scores of the sampled responses in both runs must agree within the round's tolerance, usually 1 %.

    Args:
        kind: the test.
        runs: the logs.
        round_: its seeds.
        benchmark: directory name.
        response_dtype: NumPy name of a response's elements.
        score: the benchmark's accuracy script, for the fallback.
        rehearsal: see `compare_performance`; never for an official run.

    Raises:
        AuditError: the run was not this audit, or TEST01 lacks an accuracy log.
        LogError: a log cannot be read or lacks a score.
        SettingError: the round has no such benchmark.
    """
    prove_applied(kind, runs.audit, round_, benchmark)
    performance = compare_performance(kind, runs.reference, runs.audit, rehearsal=rehearsal)
    verdict = AuditVerdict(
        kind=kind,
        passed=performance.passed,
        reasons=performance.reasons,
        notices=performance.notices,
        only_performance=not performance.passed,
        reference_score=performance.reference_score,
        audit_score=performance.audit_score,
        verify_performance=performance.text,
        evidence=_evidence(runs),
    )
    if kind is not RunKind.TEST01:
        return verdict
    if runs.accuracy_log is None or runs.audit_accuracy_log is None:
        raise AuditError(
            "TEST01 needs the accuracy logs of the accuracy run and of the audit run",
            where=runs.audit.path.parent,
            remedy="keep the complete mlperf_log_accuracy.json of both runs",
            code="audit-failed",
        )
    responses = compare_accuracy(runs.accuracy_log, runs.audit_accuracy_log, response_dtype)
    passed, reasons = responses.passed, list(responses.reasons)
    baseline = None
    only_numerics = responses.matched and not responses.missing and not responses.duplicate_mismatches
    if not passed and score is not None and only_numerics:
        baseline = compare_with_baseline(
            runs.accuracy_log,
            runs.audit_accuracy_log,
            score,
            tolerance_percent=round_.model(benchmark).delta_percent,
        )
        passed = baseline.passed
        reasons += baseline.reasons
    return verdict.model_copy(
        update={
            "passed": performance.passed and passed,
            "only_performance": passed and not performance.passed,
            "reasons": (*performance.reasons, *reasons),
            "verify_accuracy": responses.text,
            "baseline_accuracy": baseline.baseline_text if baseline else None,
            "compliance_accuracy": baseline.compliance_text if baseline else None,
        }
    )


def _evidence(runs: AuditRuns) -> dict[str, str]:
    paths = {
        "reference_detail": runs.reference.path,
        "audit_detail": runs.audit.path,
        "accuracy_log": runs.accuracy_log,
        "audit_accuracy_log": runs.audit_accuracy_log,
    }
    try:
        return {name: sha256_of(path) for name, path in paths.items() if path is not None}
    except OSError as error:
        raise LogError(
            f"a log cannot be read: {error.strerror or error}",
            where=error.filename or "",
            remedy="keep all files of the runs, or run them again",
        ) from error


def applied_audit(log: DetailLog, round_: Round) -> RunKind | None:
    """Return which audit a log shows signs of, or None for a plain run."""
    if log.values.get("effective_performance_issue_same") is True:
        return RunKind.TEST04
    if log.values.get("effective_accuracy_log_sampling_target"):
        return RunKind.TEST01
    seeds = round_.test05_seeds
    if seeds and log.values.get("effective_qsl_rng_seed") == seeds.qsl:
        return RunKind.TEST05
    return None


def _what_it_was(log: DetailLog, round_: Round) -> str:
    mode = log.values.get("effective_test_mode", "a run without settings")
    return f"a plain run ({mode})" if applied_audit(log, round_) is None else f"another run ({mode})"
