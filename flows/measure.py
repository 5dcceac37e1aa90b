"""The second part of a submission: every run of every result, one at a time, with the host to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flows.incomplete import ENDS_ALL
from flows.prepare import Prepared
from flows.request import ResultRequest, SubmissionRequest
from flows.runner import runner_of
from mlperf_submission.errors import AuditError, InvalidRunError, PipelineError
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.harness.settings import RunLength, RunSettings, settings_for
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.submission.results import STREAMS
from tasks.accuracy import accuracy, accuracy_step
from tasks.build_engine import ENGINE_FILE
from tasks.compliance import audit, audit_step
from tasks.measurement import RETRIES, Bench
from tasks.package import Measured
from tasks.performance import performance, performance_step
from tasks.probe import probe
from tasks.quantize import NETWORK_FILE
from tasks.random_network import weights_of
from tasks.search import search
from tasks.step import Step, run_logger
from tasks.workspace import Workspace

PROBE_QPS = 16.0
"""The rate that a probe's first run expects: a few samples, whatever the benchmark."""
PROBE_SECONDS = 1.0
FULL_LENGTH_MARGIN = 1.05
"""LoadGen adds 10 % of its own to the expected samples of an Offline run."""
SERVER_SHARE = 0.25
"""Of the rate that a rehearsal's probe reached: queueing and neighbours hardly matter there."""
LEAST_SERVER_QUERIES = 2
"""So many are expected in a rehearsal's Server run, however slow the machine is."""
BASELINES = 3
"""How often a result is measured whose own run was disturbed and whose audit differs from it."""


def measure_all(
    workspace: Workspace,
    request: SubmissionRequest,
    prepared: Mapping[str, Prepared],
    forget_before: datetime | None,
) -> tuple[list[Measured], dict[str, PipelineError]]:
    """Measure every result whose benchmark is prepared; one that fails does not cost the others.

    Returns:
        The results, and why the others failed, by `<benchmark>/<scenario>`.

    Raises:
        PipelineError: one that the next result would meet as well (`flows.incomplete.ENDS_ALL`).
    """
    results, failures = [], {}
    for one in request.results:
        if one.benchmark not in prepared:
            continue
        try:
            results.append(measure_result(workspace, request, prepared[one.benchmark], one, forget_before))
        except ENDS_ALL:
            raise
        except PipelineError as error:
            run_logger().error("%s %s failed, the others go on: %s", one.benchmark, one.scenario, error)
            failures[f"{one.benchmark}/{one.scenario}"] = error
    return results, failures


def measure_result(
    workspace: Workspace,
    request: SubmissionRequest,
    prepared: Prepared,
    result: ResultRequest,
    forget_before: datetime | None,
) -> Measured:
    """Run performance, accuracy and the audits of one result.

    An audit that differs from a result whose own run was disturbed has the result measured again.

    Args:
        workspace: where finished runs are kept.
        request: what was asked for.
        prepared: the benchmark, ready to be measured.
        result: benchmark and scenario.
        forget_before: what finished before this time is made again; None: all that is finished is found.
    """
    rate = expected_rate(workspace, request, prepared, result)
    searched = search_target(workspace, request, prepared, result, rate)
    benches = benches_of(request, prepared, result, target_from(searched) if searched else rate)
    for baseline in range(1, BASELINES + 1):
        bench, measured = measure_performance(workspace, request, benches, forget_before)
        try:
            scored, audits = measure_rest(
                workspace, request, prepared, result, bench, measured, forget_before
            )
            break
        except AuditError as error:
            if not error.result_disturbed or baseline == BASELINES:
                raise
            run_logger().warning("%s: the result is measured again, since its own run was disturbed", error)
            workspace.cache.remove(measured)
    return Measured(
        benchmark=result.benchmark,
        scenario=result.scenario,
        precision=request.settings_of(result.benchmark).precision,
        backend=bench.request.backend,
        network_file=prepared.edition.network_for(request.settings_of(result.benchmark).precision).name,
        quantized=prepared.quantized,
        engine=prepared.engine,
        performance=measured,
        accuracy=scored,
        audits=audits,
        batch_size=bench.request.batch_size,
        search=searched,
    )


def measure_performance(
    workspace: Workspace,
    request: SubmissionRequest,
    benches: Sequence[Bench],
    forget_before: datetime | None,
) -> tuple[Bench, StepRecord]:
    """Measure at the first target that is met; return its bench and run.

    A lower target that was met in an earlier call is found, and the ones above it are not measured again.

    Args:
        workspace: where finished runs are kept.
        request: what was asked for.
        benches: the result at its target, then at lower ones (`benches_of`).
        forget_before: see `measure_result`.

    Raises:
        InvalidRunError: INVALID at every target.
    """
    for bench in benches:
        forget(workspace, performance_step(bench), forget_before)
    found = reached_bench(workspace, benches)
    retries = RETRIES if request.full_length else 0
    for bench in [found] if found else benches:
        try:
            return bench, performance.with_options(retries=retries)(workspace, bench)
        except InvalidRunError as error:
            if not error.over_latency or bench is benches[-1]:
                raise
            run_logger().warning("%s\n%s is measured again at a lower target", error, bench.label())
    raise AssertionError("no bench was given")


def reached_bench(workspace: Workspace, benches: Sequence[Bench]) -> Bench | None:
    """Return the bench of the highest target that was met already; None if none was."""
    for bench in benches:
        step = performance_step(bench)
        if workspace.cache.find(step.name, step.label, step.inputs, sizes_only=True):
            return bench
    return None


def measure_rest(
    workspace: Workspace,
    request: SubmissionRequest,
    prepared: Prepared,
    result: ResultRequest,
    bench: Bench,
    measured: StepRecord,
    forget_before: datetime | None,
) -> tuple[StepRecord, dict[RunKind, StepRecord]]:
    """Measure what belongs to a performance run: accuracy, and the audits by kind."""
    rules, retries = request.rules_of(result.benchmark), RETRIES if request.full_length else 0
    forget(workspace, accuracy_step(bench, prepared.dataset_hash), forget_before)
    scored = accuracy(workspace, bench, prepared.edition, prepared.dataset, prepared.dataset_hash, rules)
    audits = {}
    for kind in rules.audits:
        forget(workspace, audit_step(bench, kind, measured, scored), forget_before)
        audits[kind] = audit.with_options(retries=retries)(
            workspace, bench, kind, measured, scored, prepared.edition, prepared.dataset
        )
    return scored, audits


def forget(workspace: Workspace, step: Step, before: datetime | None) -> None:
    """Remove a finished step if it was made before a time, so that it is made again; None: keep it.

    A flow that is resumed or retried with `measure_again` comes here a second time, and must not repeat what
    it has measured itself: the time is that of its first start.
    """
    found = workspace.cache.find(step.name, step.label, step.inputs) if before else None
    if found and before and found.created < before:
        workspace.cache.remove(found)


def search_target(
    workspace: Workspace,
    request: SubmissionRequest,
    prepared: Prepared,
    result: ResultRequest,
    rate: float,
) -> StepRecord | None:
    """Return the search of the highest Server target, if one is asked for; it starts at a rate."""
    if result.scenario is not Scenario.SERVER or request.search_seconds is None:
        return None
    return search(workspace, bench_of(request, prepared, result, rate), request.search_seconds)


def expected_rate(
    workspace: Workspace, request: SubmissionRequest, prepared: Prepared, result: ResultRequest
) -> float:
    """Return the rate of the system file's target, or the one that follows from a short probe."""
    if result.tuning.rate is not None:
        return result.tuning.rate
    return rate_from(request, result, probe(workspace, probe_bench(request, prepared, result)))


def target_from(found: StepRecord) -> float:
    """Return the target that a search confirmed."""
    return float(str(found.figures["target_qps"]))


def rate_from(request: SubmissionRequest, result: ResultRequest, probed: StepRecord) -> float:
    """Return the rate of a result after a probe: what it reached, in Server a share of it."""
    reached = float(str(probed.figures["value"]))
    if result.scenario in STREAMS:
        return float(f"{reached:.3g}")
    if result.scenario is Scenario.SERVER:
        least = LEAST_SERVER_QUERIES / request.system.rehearsal_seconds
        return float(f"{max(SERVER_SHARE * reached, least):.3g}")
    return float(f"{reached * (FULL_LENGTH_MARGIN if request.full_length else 1.0):.3g}")


def probed_result(request: SubmissionRequest, result: ResultRequest) -> ResultRequest:
    """Return what a probe measures for a result: a stream's own queries, else Offline, once for both."""
    if result.scenario in STREAMS:
        return result
    offline = request.settings_of(result.benchmark).offline
    return ResultRequest(result.benchmark, Scenario.OFFLINE, offline or result.tuning)


def probe_bench(request: SubmissionRequest, prepared: Prepared, result: ResultRequest) -> Bench:
    """Return the bench of a probe, whose runs are short whatever the rate."""
    length = RunLength.rehearsal(seconds=PROBE_SECONDS)
    return bench_of(request, prepared, probed_result(request, result), PROBE_QPS, length)


def benches_of(
    request: SubmissionRequest, prepared: Prepared, result: ResultRequest, target_qps: float
) -> list[Bench]:
    """Return a result at its target, and a submission's Server result at the lower ones that it may take."""
    floor = result.tuning.target_qps_floor
    shares = [1.0]
    if result.scenario is Scenario.SERVER and request.full_length and floor < 1:
        shares += [(1 + floor) / 2, floor]
    return [
        bench_of(request, prepared, result, float(f"{target_qps * share:.6g}") if share < 1 else target_qps)
        for share in shares
    ]


def bench_of(
    request: SubmissionRequest,
    prepared: Prepared,
    result: ResultRequest,
    target_qps: float,
    length: RunLength | None = None,
) -> Bench:
    """Return what is measured: TensorRT's engine on a GPU, the same network in ONNX Runtime on a CPU."""
    system, settings, tuning = request.system, request.settings_of(result.benchmark), result.tuning
    runner = runner_of(request)
    on_gpu = runner.backend == "tensorrt"
    runs = prepared.engine if on_gpu else prepared.quantized
    rules = request.rules_of(result.benchmark)
    official, short = RunLength.official(), RunLength.rehearsal(seconds=system.rehearsal_seconds)
    long_enough = length or (official if request.full_length else short)

    def settings_of(kind: RunKind) -> RunSettings:
        return settings_for(
            request.round,
            result.benchmark,
            kind,
            result.scenario,
            target_qps=target_qps * (tuning.audit_qps_factor if kind.is_audit else 1.0),
            performance_sample_count=settings.performance_sample_count,
            length=long_enough,
        )

    by_kind = {kind: settings_of(kind) for kind in (RunKind.PERFORMANCE, RunKind.ACCURACY, *rules.audits)}
    return Bench(
        benchmark=result.benchmark,
        scenario=result.scenario,
        request=RunRequest(
            settings=by_kind[RunKind.PERFORMANCE],
            benchmark=result.benchmark,
            precision=settings.precision,
            edition=prepared.edition.name,
            backend="tensorrt" if on_gpu else "onnxruntime",
            engine=runs.file(ENGINE_FILE if on_gpu else NETWORK_FILE),
            samples=prepared.samples.folder,
            batch_size=tuning.batch_size,
            max_wait_us=tuning.max_wait_us,
            streams=tuning.streams,
            devices=runner.devices,
            disturbance_limits=system.interference.limits,
        ),
        engine_hash=runs.content_hash,
        samples_hash=prepared.samples.content_hash,
        settings=by_kind,
        limit_seconds=system.limits.run,
        repeat_disturbed=system.repeats_disturbed_runs,
        weights=weights_of(prepared.quantized),
    )
