"""The second part of a submission: every run of every result, one at a time, with the host to itself."""

from __future__ import annotations

from flows.prepare import Prepared
from flows.request import ResultRequest, SubmissionRequest
from harness.record import RunRequest
from harness.settings import RunLength, RunSettings, settings_for
from mlperf.rounds import RunKind
from tasks.accuracy import accuracy, accuracy_step
from tasks.build_engine import ENGINE_FILE
from tasks.compliance import audit, audit_step
from tasks.hardware import gpu_names
from tasks.measurement import Bench
from tasks.package import Measured
from tasks.performance import performance, performance_step
from tasks.quantize import NETWORK_FILE
from tasks.step import Step
from tasks.workspace import Workspace


def measure_result(
    workspace: Workspace, request: SubmissionRequest, prepared: Prepared, result: ResultRequest, again: bool
) -> Measured:
    """Run performance, accuracy and the audits of one result.

    Args:
        again: forget the finished runs of this result first.
    """
    bench = bench_of(request, prepared, result)
    rules = request.rules_of(result.benchmark)

    def fresh(step: Step) -> None:
        found = workspace.cache.find(step.name, step.label, step.inputs) if again else None
        if found:
            workspace.cache.remove(found)

    fresh(performance_step(bench))
    measured = performance(workspace, bench)
    fresh(accuracy_step(bench, prepared.dataset_hash))
    scored = accuracy(workspace, bench, prepared.edition, prepared.dataset, prepared.dataset_hash, rules)
    audits = {}
    for kind in rules.audits:
        fresh(audit_step(bench, kind, measured, scored))
        audits[kind] = audit(workspace, bench, kind, measured, scored, prepared.edition, prepared.dataset)
    return Measured(
        benchmark=result.benchmark,
        scenario=result.scenario,
        precision=request.settings_of(result.benchmark).precision,
        backend=bench.request.backend,
        network_file=prepared.edition.network.name,
        quantized=prepared.quantized,
        engine=prepared.engine,
        performance=measured,
        accuracy=scored,
        audits=audits,
    )


def bench_of(request: SubmissionRequest, prepared: Prepared, result: ResultRequest) -> Bench:
    """Return what is measured: TensorRT's engine on a GPU, the same network in ONNX Runtime on a CPU."""
    system, settings, tuning = request.system, request.settings_of(result.benchmark), result.tuning
    on_gpu = system.backend == "tensorrt" or (system.backend == "auto" and bool(gpu_names()))
    runs = prepared.engine if on_gpu else prepared.quantized
    rules = request.rules_of(result.benchmark)
    length = (
        RunLength.official() if request.full_length else RunLength.rehearsal(seconds=system.rehearsal_seconds)
    )

    def settings_of(kind: RunKind) -> RunSettings:
        factor = tuning.audit_qps_factor if kind.is_audit else 1.0
        return settings_for(
            request.round,
            result.benchmark,
            kind,
            result.scenario,
            target_qps=tuning.target_qps * factor,
            performance_sample_count=settings.performance_sample_count,
            length=length,
        )

    kinds = (RunKind.PERFORMANCE, RunKind.ACCURACY, *rules.audits)
    by_kind = {kind: settings_of(kind) for kind in kinds}
    return Bench(
        benchmark=result.benchmark,
        scenario=result.scenario,
        request=RunRequest(
            settings=by_kind[RunKind.PERFORMANCE],
            benchmark=result.benchmark,
            precision=settings.precision,
            edition=system.edition,
            backend="tensorrt" if on_gpu else "onnxruntime",
            engine=runs.file(ENGINE_FILE if on_gpu else NETWORK_FILE),
            samples=prepared.samples.folder,
            batch_size=tuning.batch_size,
            max_wait_us=tuning.max_wait_us,
            streams=tuning.streams,
        ),
        engine_hash=runs.content_hash,
        samples_hash=prepared.samples.content_hash,
        settings=by_kind,
        limit_seconds=system.limits.run,
    )
