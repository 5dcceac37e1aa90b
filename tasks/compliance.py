"""Run the compliance tests of one result, each in its own folder, and judge them by the official rules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from common.errors import AuditError, DisturbedRunError, InvalidRunError
from common.files import write_atomic
from harness.record import ACCURACY_LOG, DETAIL_LOG, RunOutcome
from mlperf.audits import AuditRuns, AuditVerdict, audit_config, judge_audit
from mlperf.logs import AccuracyLogEntry, read_detail
from mlperf.rounds import RunKind, get_round
from models.benchmark import Edition, Score
from models.registry import get_benchmark
from storage.cache import StepRecord, code_version
from tasks.measurement import RETRIES, Bench, detail_log, run_loadgen, run_step
from tasks.step import Step, step_task
from tasks.versions import library_versions
from tasks.workspace import Workspace

VERDICT_FILE = "audit_verdict.json"
REHEARSAL_TOLERANCE = 0.5
"""Runs of two seconds on a shared machine differ by more than the official 5 or 10 %."""


def audit_step(bench: Bench, kind: RunKind, performance: StepRecord, accuracy: StepRecord) -> Step:
    """Return what goes into an audit: that of a run, and the runs of the result that it is judged against."""
    return run_step(
        bench,
        kind,
        performance=performance.content_hash,
        accuracy=accuracy.content_hash if kind is RunKind.TEST01 else None,
        judged_by=code_version("mlperf.audits"),
        **(library_versions(bench.benchmark, "score") if kind is RunKind.TEST01 else {}),
    )


@step_task(
    "audit",
    shown="{kind} {bench.benchmark} {bench.scenario}",
    retries=RETRIES,
    again=lambda error: isinstance(error, InvalidRunError | AuditError | DisturbedRunError),
)
def audit(
    workspace: Workspace,
    bench: Bench,
    kind: RunKind,
    performance: StepRecord,
    accuracy: StepRecord,
    edition: Edition,
    dataset: Path,
) -> StepRecord:
    """Run one compliance test and judge it; `audit_verdict.json` is written beside LoadGen's files.

    Raises:
        AuditError: the test failed, or its log does not prove that the audit was applied.
        DisturbedRunError: something disturbed it, and a retry is left.
    """

    def judge(folder: Path, _outcome: RunOutcome) -> dict[str, JsonValue]:
        verdict = _verdict(bench, kind, folder, performance, accuracy, edition, dataset)
        write_atomic(folder / VERDICT_FILE, verdict.model_dump_json(indent=1))
        if not verdict.passed:
            raise AuditError(
                f"{kind} of {bench.label()} failed: {'; '.join(verdict.reasons)}",
                where=folder,
                remedy="look for what disturbed the host during this run or the performance run; "
                "--measure-again repeats both",
            )
        return {"reference_score": verdict.reference_score, "audit_score": verdict.audit_score}

    return run_loadgen(
        workspace,
        bench,
        kind,
        audit_step(bench, kind, performance, accuracy),
        audit_config=audit_config(kind, bench.benchmark),
        judge=judge,
    )


def verdict_of(audited: StepRecord) -> AuditVerdict:
    """Return the verdict that a finished audit holds."""
    return AuditVerdict.model_validate_json(audited.file(VERDICT_FILE).read_text())


def _verdict(
    bench: Bench,
    kind: RunKind,
    folder: Path,
    performance: StepRecord,
    accuracy: StepRecord,
    edition: Edition,
    dataset: Path,
) -> AuditVerdict:
    benchmark = get_benchmark(bench.benchmark)

    def score(entries: Iterable[AccuracyLogEntry]) -> Score:
        return benchmark.scorer.score(entries, dataset, edition)

    sampled = kind is RunKind.TEST01
    return judge_audit(
        kind,
        AuditRuns(
            reference=detail_log(performance),
            audit=read_detail(folder / DETAIL_LOG),
            accuracy_log=accuracy.file(ACCURACY_LOG) if sampled else None,
            audit_accuracy_log=folder / ACCURACY_LOG if sampled else None,
        ),
        round_=get_round(bench.settings[kind].round_name),
        benchmark=bench.benchmark,
        response_dtype=benchmark.answer.response_dtype,
        score=score,
        rehearsal_tolerance=0.0 if bench.settings[kind].official else REHEARSAL_TOLERANCE,
    )
