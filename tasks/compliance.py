"""Run the compliance tests of one result, each in its own folder, and judge them by the official rules."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.compliance.audits import KNOWN, AuditRuns, AuditVerdict, audit_config, judge_audit
from mlperf_submission.errors import AuditError, DisturbedRunError, InvalidRunError
from mlperf_submission.files import write_atomic
from mlperf_submission.harness.record import ACCURACY_LOG, DETAIL_LOG, RunOutcome
from mlperf_submission.rounds import RunKind, get_round
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.submission.detail_log import read_detail
from models.registry import get_benchmark
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec
from tasks.measurement import (
    RETRIES,
    Bench,
    Judged,
    Notice,
    detail_log,
    disturbances_of,
    run_inputs,
    run_loadgen,
)
from tasks.versions import library_versions

VERDICT_FILE = "audit_verdict.json"


def _may_be_tried_again(error: BaseException) -> bool:
    if isinstance(error, InvalidRunError):
        return not error.too_short
    return isinstance(error, DisturbedRunError) or (
        isinstance(error, AuditError) and not error.result_disturbed
    )


def _spec(kind: RunKind) -> StepSpec:
    takes = ("performance", "accuracy") if kind is RunKind.TEST01 else ("performance",)
    return StepSpec(kind.lower(), "audits", takes, retries=RETRIES, again=_may_be_tried_again)


AUDITS = tuple(map(_spec, KNOWN))


def audit(
    label: str,
    bench: Bench,
    kind: RunKind,
    performance: StepRecord,
    accuracy: StepRecord,
    edition: Edition,
    dataset: Path,
) -> Step:
    """Run one compliance test and judge it; `audit_verdict.json` is written beside LoadGen's files.

    Raises:
        InvalidRunError: INVALID in each attempt, or at once where only another target can help.
        AuditError: the test failed, or its log does not prove that the audit was applied. In a rehearsal the
            speed of the audit is a notice.
        DisturbedRunError: something disturbed it, and a retry is left.
    """
    sampled = kind is RunKind.TEST01

    def inputs() -> dict[str, JsonValue]:
        return run_inputs(
            bench,
            kind,
            performance=performance.content_hash,
            accuracy=accuracy.content_hash if sampled else None,
            judged_by=code_version("mlperf_submission.compliance.audits"),
            **(library_versions(bench.benchmark, "score") if sampled else {}),
        )

    def judge(folder: Path, outcome: RunOutcome) -> Judged:
        benchmark = get_benchmark(bench.benchmark)
        verdict = judge_audit(
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
            score=lambda entries: benchmark.scorer.score(entries, dataset, edition),
            rehearsal=not bench.settings[kind].official,
        )
        write_atomic(folder / VERDICT_FILE, verdict.model_dump_json(indent=1))
        if not verdict.passed:
            raise _failed(bench, kind, verdict, outcome, performance)
        scores: dict[str, JsonValue] = {
            "reference_score": verdict.reference_score,
            "audit_score": verdict.audit_score,
        }
        differs = f"{kind} is faster or slower than its result"
        return scores, [Notice(kind=differs, text=text) for text in verdict.notices]

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        config = audit_config(kind, bench.benchmark)
        return run_loadgen(bench, kind, folder, recorder, audit_config=config, judge=judge)

    return Step(_spec(kind), label, inputs, produce)


def _failed(
    bench: Bench, kind: RunKind, verdict: AuditVerdict, outcome: RunOutcome, performance: StepRecord
) -> AuditError:
    """Return the error of a failed audit: it names what disturbed either run, as far as that was recorded."""
    of_result = disturbances_of(performance)
    said = "".join(
        f"; {what} was disturbed: {'; '.join(texts)}"
        for what, texts in (("it", outcome.disturbances), ("the result's run", of_result))
        if texts
    )
    error = AuditError(
        f"{kind} of {bench.label()} failed: {'; '.join(verdict.reasons)}{said}",
        where=outcome.folder,
        remedy="keep the host free of other work; --measure-again repeats this run and the performance run"
        if verdict.only_performance
        else "compare the responses of both runs: the same sample has to get the same answer in every run",
        code="audit-rate-differs" if verdict.only_performance else "audit-failed",
    )
    error.result_disturbed = verdict.only_performance and bool(of_result)
    return error


def verdict_of(audited: StepRecord) -> AuditVerdict:
    """Return the verdict that a finished audit holds."""
    return AuditVerdict.model_validate_json(audited.file(VERDICT_FILE).read_text())
