"""The second part of a submission: every run of every result, one at a time, with the host to itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from flows.incomplete import outcomes
from flows.prepare import Prepared
from flows.request import ResultRequest, SubmissionRequest
from flows.runner import runner_of
from mlperf_submission.errors import AuditError, InvalidRunError, PipelineError
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.harness.settings import RunLength, RunSettings
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.submission.results import STREAMS
from tasks.accuracy import accuracy
from tasks.build_engine import ENGINE_FILE
from tasks.compliance import audit
from tasks.engine.pending import derived, later
from tasks.engine.perform import run_logger
from tasks.engine.runner import Runner
from tasks.engine.spec import Step
from tasks.measurement import Bench
from tasks.package import Measured
from tasks.performance import performance
from tasks.probe import probe
from tasks.quantize import NETWORK_FILE
from tasks.random_network import weights_label, weights_of
from tasks.search import search

PROBE_QPS = 16.0
"""The rate that a probe's first run expects: a few samples, whatever the benchmark."""
PROBE_SECONDS = 1.0
FULL_LENGTH_MARGIN = 1.05
"""LoadGen adds 10 % of its own to the expected samples of an Offline run."""
AUDIT_MARGIN = 1.1
"""Times the target of an Offline result: its audits, which may be 10 % faster, last long enough, too."""
LONGER = (1.5, 3.0)
"""Times the target: what a run that ended too soon is measured at next."""
SERVER_SHARE = 0.25
"""Of the rate that a rehearsal's probe reached: queueing and neighbours hardly matter there."""
LEAST_SERVER_QUERIES = 2
"""So many are expected in a rehearsal's Server run, however slow the machine is."""
BASELINES = 3
"""How often a result is measured whose own run was disturbed and whose audit differs from it."""


def measure_all(
    run: Runner, request: SubmissionRequest, prepared: Mapping[str, Prepared]
) -> tuple[list[Measured], dict[str, PipelineError]]:
    """Measure every result whose benchmark is prepared; one that fails does not cost the others.

    Returns:
        The results, and why the others failed, by `<benchmark>/<scenario>`.

    Raises:
        PipelineError: one that the next result would meet as well (`flows.incomplete.ENDS_ALL`).
    """
    parts = {
        f"{one.benchmark}/{one.scenario}": partial(
            run.part,
            f"measure {one.benchmark} {one.scenario}",
            partial(measure, request=request, prepared=prepared[one.benchmark], result=one),
        )
        for one in request.results
        if one.benchmark in prepared
    }
    results, failures = outcomes(parts)
    return [*results.values()], failures


def measure(run: Runner, request: SubmissionRequest, prepared: Prepared, result: ResultRequest) -> Measured:
    """Run performance, accuracy and the audits of one result.

    An audit that differs from a result whose own run was disturbed has the result measured again.
    """
    label, rules = label_of(request, result), request.rules_of(result.benchmark)
    rate, searched = expected_rate(run, request, prepared, result), None
    if result.scenario is Scenario.SERVER and request.search_seconds is not None:
        bench = bench_of(request, prepared, result, rate)
        searched = run(search(label, bench, request.search_seconds))
        rate = target_from(searched)
    benches = benches_of(request, prepared, result, rate)

    def audited(kind: RunKind, performed: StepRecord, scored: StepRecord, bench: Bench) -> Step:
        return audit(label, bench, kind, performed, scored, prepared.edition, prepared.dataset)

    for baseline in range(1, BASELINES + 1):
        bench, performed = at_first_target(run, label, benches, partial(performance, label))
        scored = run(accuracy(label, bench, prepared.edition, prepared.dataset, prepared.dataset_hash, rules))
        # Of Server's targets, an audit is held to the one that its result met.
        last = benches.index(bench) + 1 if result.scenario is Scenario.SERVER else len(benches)
        may_take = benches[benches.index(bench) : last]
        try:
            audits = {
                kind: at_first_target(run, label, may_take, partial(audited, kind, performed, scored))[1]
                for kind in rules.audits
            }
            break
        except AuditError as error:
            if not error.result_disturbed or baseline == BASELINES:
                raise
            run_logger().warning("%s: the result is measured again, since its own run was disturbed", error)
            run.forget(performed)
    precision = request.settings_of(result.benchmark).precision
    return Measured(
        benchmark=result.benchmark,
        scenario=result.scenario,
        precision=precision,
        backend=backend_of(request),
        network_file=later(lambda: prepared.edition.network_for(precision).name),
        quantized=prepared.quantized,
        engine=prepared.engine,
        performance=performed,
        accuracy=scored,
        audits=audits,
        batch_size=result.tuning.batch_size,
        search=searched,
    )


def at_first_target(
    run: Runner, label: str, benches: Sequence[Bench], step_at: Callable[[Bench], Step]
) -> tuple[Bench, StepRecord]:
    """Measure at the first target that is met; return its bench and run.

    A target that was met in an earlier call is found, and the ones before it are not measured again.

    Args:
        run: does it.
        label: of the result.
        benches: the result at its target, then at the others that it may take (`benches_of`).
        step_at: the run of a bench.

    Raises:
        InvalidRunError: INVALID at every target.
    """
    found = [bench for bench in benches if run.finds(step_at(bench))]
    for bench in found[:1] or benches:
        try:
            return bench, run(step_at(bench))
        except InvalidRunError as error:
            if not (error.over_latency or error.too_short) or bench is benches[-1]:
                raise
            other = "higher" if error.too_short else "lower"
            run_logger().warning("%s\n%s is measured again at a %s target", error, label, other)
    raise AssertionError("no bench was given")


def label_of(request: SubmissionRequest, result: ResultRequest) -> str:
    """Return what a person reads of a result: benchmark and scenario."""
    return weights_label(f"{result.benchmark} {result.scenario}", request.weights)


def expected_rate(
    run: Runner, request: SubmissionRequest, prepared: Prepared, result: ResultRequest
) -> float:
    """Return the rate of the system file's target, or the one that follows from a short probe."""
    if result.tuning.rate is not None:
        return result.tuning.rate
    label = label_of(request, probed_result(request, result))
    return rate_from(request, result, run(probe(label, probe_bench(request, prepared, result))))


@derived
def target_from(found: StepRecord) -> float:
    """Return the target that a search confirmed."""
    return float(str(found.figures["target_qps"]))


@derived
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
    """Return a result at its target, and one of official length at the others that it may take.

    In Server they are lower: the target has to be met. Elsewhere they are higher: there the target only says
    how many queries a run has, and a system that is faster than a file or a disturbed probe says ends too
    soon.
    """
    floor = result.tuning.target_qps_floor
    shares = [1.0]
    if request.full_length and result.scenario is not Scenario.SERVER:
        shares += LONGER
    elif request.full_length and floor < 1:
        shares += [(1 + floor) / 2, floor]
    return [bench_of(request, prepared, result, share_of(target_qps, share)) for share in shares]


@derived
def share_of(target_qps: float, share: float) -> float:
    """Return a share of a target, to six digits."""
    return float(f"{target_qps * share:.6g}") if share != 1 else target_qps


def backend_of(request: SubmissionRequest) -> str:
    """Return what runs the networks of a request: TensorRT's engine, or the same network in ONNX Runtime."""
    return "tensorrt" if runner_of(request).backend == "tensorrt" else "onnxruntime"


@derived
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
    on_gpu = backend_of(request) == "tensorrt"
    runs = prepared.engine if on_gpu else prepared.quantized
    rules = request.rules_of(result.benchmark)
    official, short = RunLength.official(), RunLength.rehearsal(seconds=system.rehearsal_seconds)
    long_enough = length or (official if request.full_length else short)

    longer = request.full_length and result.scenario is Scenario.OFFLINE
    of_audits = tuning.audit_qps_factor * (AUDIT_MARGIN if longer else 1.0)

    def settings_of(kind: RunKind) -> RunSettings:
        rate = share_of(target_qps, of_audits if kind.is_audit else 1.0)
        return request.settings_for(result, kind, rate, long_enough)

    by_kind = {kind: settings_of(kind) for kind in (RunKind.PERFORMANCE, RunKind.ACCURACY, *rules.audits)}
    return Bench(
        benchmark=result.benchmark,
        scenario=result.scenario,
        request=RunRequest(
            settings=by_kind[RunKind.PERFORMANCE],
            benchmark=result.benchmark,
            precision=settings.precision,
            edition=prepared.edition.name,
            backend=backend_of(request),
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
