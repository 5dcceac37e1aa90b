"""The second part of a submission: every run of every result, one at a time, with the host to itself."""

from __future__ import annotations

from datetime import datetime

from flows.prepare import Prepared
from flows.request import ResultRequest, SubmissionRequest
from flows.runner import runner_of
from harness.record import RunRequest
from harness.settings import RunLength, RunSettings, settings_for
from mlperf.rounds import RunKind, Scenario
from storage.steps.cache import StepRecord
from tasks.accuracy import accuracy, accuracy_step
from tasks.build_engine import ENGINE_FILE
from tasks.compliance import audit, audit_step
from tasks.measurement import REHEARSAL_RETRIES, RETRIES, Bench
from tasks.package import Measured
from tasks.performance import performance, performance_step
from tasks.probe import probe
from tasks.quantize import NETWORK_FILE
from tasks.random_network import weights_of
from tasks.search import search
from tasks.step import Step
from tasks.workspace import Workspace

PROBE_QPS = 16.0
"""The rate that a probe's first run expects: a few samples, whatever the benchmark."""
PROBE_SECONDS = 1.0
FULL_LENGTH_MARGIN = 1.05
"""LoadGen adds 10 % of its own to the expected samples of an Offline run."""
REHEARSAL_MARGIN = 2.0
"""A probe of a second on a shared machine may be far off, and a run that is too short is INVALID."""


def measure_result(
    workspace: Workspace,
    request: SubmissionRequest,
    prepared: Prepared,
    result: ResultRequest,
    forget_before: datetime | None,
) -> Measured:
    """Run performance, accuracy and the audits of one result.

    Args:
        workspace: where finished runs are kept.
        request: what was asked for.
        prepared: the benchmark, ready to be measured.
        result: benchmark and scenario.
        forget_before: what finished before this time is made again; None: all that is finished is found.
    """
    rules = request.rules_of(result.benchmark)
    searched = search_target(workspace, request, prepared, result)
    rate = target_from(searched) if searched else expected_rate(workspace, request, prepared, result)
    bench = bench_of(request, prepared, result, rate)

    forget(workspace, performance_step(bench), forget_before)
    retries = RETRIES if request.full_length else REHEARSAL_RETRIES
    measured = performance.with_options(retries=retries)(workspace, bench)
    forget(workspace, accuracy_step(bench, prepared.dataset_hash), forget_before)
    scored = accuracy(workspace, bench, prepared.edition, prepared.dataset, prepared.dataset_hash, rules)
    audits = {}
    for kind in rules.audits:
        forget(workspace, audit_step(bench, kind, measured, scored), forget_before)
        audits[kind] = audit.with_options(retries=retries)(
            workspace, bench, kind, measured, scored, prepared.edition, prepared.dataset
        )
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


def forget(workspace: Workspace, step: Step, before: datetime | None) -> None:
    """Remove a finished step if it was made before a time, so that it is made again; None: keep it.

    A flow that is resumed or retried with `measure_again` comes here a second time, and must not repeat what
    it has measured itself: the time is that of its first start.
    """
    found = workspace.cache.find(step.name, step.label, step.inputs) if before else None
    if found and before and found.created < before:
        workspace.cache.remove(found)


def search_target(
    workspace: Workspace, request: SubmissionRequest, prepared: Prepared, result: ResultRequest
) -> StepRecord | None:
    """Return the search of the highest Server target, if one is asked for; it starts at the file's target."""
    target = result.tuning.target_qps
    if target is None or result.scenario is not Scenario.SERVER or request.search_seconds is None:
        return None
    return search(workspace, bench_of(request, prepared, result, target), request.search_seconds)


def expected_rate(
    workspace: Workspace, request: SubmissionRequest, prepared: Prepared, result: ResultRequest
) -> float:
    """Return the system file's target_qps, or in Offline what a short probe reaches, with a margin."""
    if result.tuning.target_qps is not None:
        return result.tuning.target_qps
    return rate_from(request, probe(workspace, probe_bench(request, prepared, result)))


def target_from(found: StepRecord) -> float:
    """Return the target that a search confirmed."""
    return float(str(found.figures["target_qps"]))


def rate_from(request: SubmissionRequest, probed: StepRecord) -> float:
    """Return the rate to expect after a probe: too high only lengthens a run, too low makes it INVALID."""
    margin = FULL_LENGTH_MARGIN if request.full_length else REHEARSAL_MARGIN
    return float(f"{float(str(probed.figures['value'])) * margin:.3g}")


def probe_bench(request: SubmissionRequest, prepared: Prepared, result: ResultRequest) -> Bench:
    """Return the bench of a probe, whose runs are short whatever the rate."""
    return bench_of(request, prepared, result, PROBE_QPS, RunLength.rehearsal(seconds=PROBE_SECONDS))


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
