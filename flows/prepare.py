"""The first part of a submission: from sources to an engine and samples, for one benchmark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from flows.incomplete import outcomes
from flows.request import SubmissionRequest
from mlperf_submission.benchmark.facts import Edition
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.errors import PipelineError
from mlperf_submission.steps.cache import StepRecord
from tasks.build_engine import build_engine
from tasks.download import assemble_dataset, download, verify_data
from tasks.engine.pending import later
from tasks.engine.runner import Runner
from tasks.mini import listing_of, make_mini
from tasks.preprocess import SUBSETS, preprocess
from tasks.quantize import quantize
from tasks.random_network import random_network, weights_label, with_random_network


@dataclass(frozen=True)
class Prepared:
    """One benchmark with everything that its measurements need; in a plan all but its name may be pending.

    Attributes:
        edition: where its network and data came from.
        dataset: the folder with the data and its ground truth; `dataset_hash` is its content.
        steps: every finished step of the preparation, in order.
    """

    benchmark: str
    edition: Edition
    dataset: Path
    dataset_hash: str
    samples: StepRecord
    quantized: StepRecord
    engine: StepRecord
    steps: Sequence[StepRecord]


_SMALL = 1_000_000_000
"""Bytes of host memory that are set aside for a benchmark whose network is small: a guess."""


def prepare_all(
    run: Runner, request: SubmissionRequest
) -> tuple[dict[str, Prepared], dict[str, PipelineError]]:
    """Prepare the benchmarks side by side, as many at a time as cores and memory bear.

    Returns:
        What is prepared, by benchmark, and why the others are not.

    Raises:
        PipelineError: one that is of the request or the host (`flows.incomplete.ENDS_ALL`).
    """
    largest_first = sorted(request.benchmarks, key=lambda one: _work(request, one), reverse=True)
    stories = {one.name: partial(prepare, run, request, one) for one in largest_first}
    each = max((request.host_bytes_to_convert(name) or _SMALL for name in stories), default=_SMALL)
    memory = psutil.virtual_memory().total // each
    width = max(1, min(len(stories), len(os.sched_getaffinity(0)), memory))
    with run.side_by_side("prepare", stories, width) as waiting:
        return outcomes(waiting)


def _work(request: SubmissionRequest, benchmark: Benchmark) -> int:
    """Return how much there is to prepare, in numbers and bytes: the longest part must not be the last."""
    sizes = benchmark.facts.sizes
    samples = request.sample_count(benchmark.name) * sizes.sample_values
    return samples if request.on_mini_data else samples + sizes.network


def prepare(run: Runner, request: SubmissionRequest, benchmark: Benchmark) -> Prepared:
    """Download, preprocess, quantise and build; each step is found if nothing that goes into it changed.

    With random weights the network is written in place of its download, and small data serve.
    """
    name, limits, system = benchmark.name, request.system.limits, request.system
    precision, random = request.settings_of(name).precision, request.weights == "random"
    of = f"{name} {'mini' if request.on_mini_data else 'full'}"
    converted = weights_label(f"{name} {precision}", request.weights)
    edition, steps = request.full_edition(benchmark), []
    if request.on_mini_data:
        made = run(make_mini(name, request.sample_count(name), limits.preprocess))
        edition = later(lambda: benchmark.data.mini_edition(listing_of(made, made.folder.as_uri())))
        steps.append(made)
    if random:
        layers = request.layers_of(name)
        network = run(random_network(converted, name, precision, layers, limits.quantize))
        edition = with_random_network(edition, network)
    else:
        network = run(download(f"{of} network", name, edition, "network", limits.download))
    data = run(download(f"{of} data", name, edition, "data", limits.download))
    steps += [network, data]
    dataset, dataset_hash = later(lambda: data.folder), later(lambda: data.content_hash)
    licensed = None if request.on_mini_data else benchmark.facts.full.licensed
    if licensed:
        dataset = run(assemble_dataset(of, name, data, licensed, system.licensed_data))
        own = system.licensed_data.get(licensed.key)
        verified = run(verify_data(of, name, edition, own, dataset, limits.preprocess))
        steps.append(verified)
        dataset_hash = later(lambda: verified.key)
    source = (dataset, dataset_hash, limits.preprocess)
    samples, calibration = (
        run(preprocess(f"{of} {subset}", name, edition, subset, precision, *source)) for subset in SUBSETS
    )
    converting = (edition, network, dataset, calibration, samples, limits.quantize)
    quantized = run(quantize(converted, name, precision, *converting))
    building = (quantized, request.largest_batch(name), system.accelerator, limits.build_engine)
    engine = run(build_engine(converted, name, precision, *building))
    return Prepared(
        benchmark=name,
        edition=edition,
        dataset=dataset,
        dataset_hash=dataset_hash,
        samples=samples,
        quantized=quantized,
        engine=engine,
        steps=[*steps, samples, calibration, quantized, engine],
    )
