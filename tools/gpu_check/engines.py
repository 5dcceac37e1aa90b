"""The parts that need TensorRT: the five engines with random weights that `run --weights random` built."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from flows.request import ResultRequest, SubmissionRequest
from mlperf_submission.benchmark.answer import LoopAnswer
from mlperf_submission.errors import PipelineError
from mlperf_submission.harness.backends.base import BackendOptions, open_backend
from mlperf_submission.harness.backends.onnxruntime import OnnxBackend
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.harness.settings import RunLength, settings_for
from mlperf_submission.rounds import RunKind
from mlperf_submission.steps.cache import StepCache, StepRecord
from models.registry import benchmark_names, get_benchmark
from tasks.build_engine import ENGINE_FILE
from tasks.quantize import NETWORK_FILE
from tasks.random_network import weights_label
from tools.gpu_check.device import against, gpus_here
from tools.gpu_check.parts import Bench, NotRunError, Part, answer, bare_loop

PUBLISHED = Path(__file__).with_name("published.json")
"""Offline samples/s per GPU of the model system in v4.1."""
_COMPARED = 4
_TOO_LARGE_FOR_THE_CPU = ("gptj-99",)
SHORT_IN_SERVER = ("resnet50", "retinanet", "bert-99")
"""Benchmarks of which a run of seconds tells the latency in Server."""


def engine_part(name: str, bench: Bench) -> dict[str, JsonValue]:
    """Measure an engine with the harness, beside a bare loop and the published rate; compare its answers."""
    gpus_here()
    request = SubmissionRequest.checked(bench.system, [name], ["Offline"], weights="random")
    [result] = request.results
    precision = request.settings_of(name).precision
    label = weights_label(f"{name} {precision}", "random")
    engine, network, samples = (
        _newest(bench, step, label)
        for step, label in (
            ("build_engine", label),
            ("quantize", label),
            ("preprocess", f"{name} mini validation"),
        )
    )
    benchmark = get_benchmark(name)
    batch, streams = result.tuning.batch_size, result.tuning.streams
    opened = benchmark.data.open(samples.folder)
    options = BackendOptions(
        benchmark, precision, engine.file(ENGINE_FILE), opened, batch, streams=streams, devices=(0,)
    )
    try:
        backend = open_backend("tensorrt", options)
    except PipelineError as error:
        raise NotRunError(error.what) from error
    try:
        in_loops = isinstance(benchmark.answer, LoopAnswer)
        each = batch
        found: dict[str, JsonValue] = dict(backend.details)
        bare = bare_loop(backend, len(opened), min(each, len(opened)), bench.seconds, in_loops=in_loops)
        if name not in _TOO_LARGE_FOR_THE_CPU:
            few = np.arange(min(_COMPARED, each, len(opened)))
            backend.load(few)
            ours = np.frombuffer(answer(backend, 0, few, in_loops=in_loops), np.uint8)
            found |= _compare(ours, options, network.file(NETWORK_FILE), few)
    finally:
        backend.close()
    published = json.loads(PUBLISHED.read_text())[name]
    found |= {"batch_size": batch, "streams": streams, "published per GPU, samples/s": published}
    found["of published"] = round(bare / published, 3)
    run = _run_request(request, result, bare, engine, samples)
    run = run.model_copy(update={"lock": bench.scratch / "lock"})
    return {**found, **against(run, bare, bench, in_server=name in SHORT_IN_SERVER)}


def _run_request(
    request: SubmissionRequest, result: ResultRequest, rate: float, engine: StepRecord, samples: StepRecord
) -> RunRequest:
    settings = request.settings_of(result.benchmark)
    return RunRequest(
        settings=settings_for(
            request.round,
            result.benchmark,
            RunKind.PERFORMANCE,
            result.scenario,
            target_qps=rate,
            performance_sample_count=settings.performance_sample_count,
            length=RunLength.rehearsal(1.0),
        ),
        benchmark=result.benchmark,
        precision=settings.precision,
        edition="mini",
        backend="tensorrt",
        engine=engine.file(ENGINE_FILE),
        samples=samples.folder,
        batch_size=result.tuning.batch_size,
        streams=result.tuning.streams,
        devices=(0,),
    )


def _compare(
    ours: NDArray[np.uint8], options: BackendOptions, network: Path, indices: NDArray[np.int64]
) -> dict[str, JsonValue]:
    """Return how far answers are from those of ONNX Runtime on the same network."""
    benchmark, _, samples = options.require("tensorrt")
    cpu = OnnxBackend(BackendOptions(benchmark, options.precision, network, samples, options.batch_size))
    cpu.load(indices)
    in_loops = isinstance(benchmark.answer, LoopAnswer)
    theirs = np.frombuffer(answer(cpu, 0, indices, in_loops=in_loops), np.uint8)
    dtype = np.dtype(benchmark.answer.response_dtype)
    if ours.size != theirs.size or ours.size % dtype.itemsize:
        return {"answers": f"{ours.size} bytes, ONNX Runtime's have {theirs.size}"}
    a, b = (one.view(dtype).astype(np.float64) for one in (ours, theirs))
    return {
        "equal to ONNX Runtime's": round(float((a == b).mean()), 4),
        "largest difference": float(np.abs(a - b).max(initial=0)),
    }


def _newest(bench: Bench, step: str, label: str) -> StepRecord:
    cache = StepCache(bench.work / "cache")
    found = [one for one in cache.records() if (one.step, one.label) == (step, label)]
    if not found:
        command = f"mlperf-submission run {bench.system} --weights random --work {bench.work}"
        raise NotRunError(f"{label}: {step} is not finished in {bench.work}; `{command}` makes it")
    return max(found, key=lambda one: one.created)


PARTS: dict[str, Part] = {f"engine {name}": partial(engine_part, name) for name in benchmark_names()}
