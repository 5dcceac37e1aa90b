"""The first part of a submission: from sources to an engine and samples, for one benchmark."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict

from flows.incomplete import ENDS_ALL
from flows.request import SubmissionRequest
from mlperf_submission.errors import PipelineError
from mlperf_submission.process import ended_together
from mlperf_submission.steps.cache import StepRecord
from models.benchmark import Benchmark, Edition
from models.registry import get_benchmark
from tasks.build_engine import build_engine
from tasks.download import assemble_dataset, download, licensed_folder, verify_data
from tasks.mini import listing_of, make_mini
from tasks.preprocess import SUBSETS, preprocess
from tasks.quantize import quantize
from tasks.random_network import random_network, with_random_network
from tasks.step import run_logger
from tasks.workspace import Workspace


class Prepared(BaseModel):
    """One benchmark with everything that its measurements need.

    Attributes:
        edition: where its network and data came from.
        dataset: the folder with the data and its ground truth; `dataset_hash` is its content.
        steps: every finished step of the preparation, in order.
    """

    model_config = ConfigDict(frozen=True)
    benchmark: str
    edition: Edition
    dataset: Path
    dataset_hash: str
    samples: StepRecord
    quantized: StepRecord
    engine: StepRecord
    steps: list[StepRecord]


_BYTES_EACH = {True: 1_000_000_000, False: 32_000_000_000}
"""Host memory that is set aside for each benchmark in work, of the mini and of the full editions: a guess
from the largest conversions (docs/full_edition.md)."""


def prepare_all(
    workspace: Workspace, request: SubmissionRequest
) -> tuple[dict[str, Prepared], dict[str, PipelineError]]:
    """Prepare the benchmarks side by side, as many at a time as cores and memory bear.

    Returns:
        What is prepared, by benchmark, and why the others are not.

    Raises:
        PipelineError: one that is of the request or the host (`flows.incomplete.ENDS_ALL`).
    """
    names = [benchmark.name for benchmark in request.benchmarks]
    memory = psutil.virtual_memory().total // _BYTES_EACH[request.on_mini_data]
    width = max(1, min(len(names), len(os.sched_getaffinity(0)), memory))
    prepared: dict[str, Prepared] = {}
    failures: dict[str, PipelineError] = {}
    runner: ThreadPoolTaskRunner[Prepared] = ThreadPoolTaskRunner(max_workers=width)
    with runner, ended_together():
        futures = {
            name: runner.submit(prepare_benchmark, {"workspace": workspace, "request": request, "name": name})
            for name in names
        }
        for name, future in futures.items():
            try:
                prepared[name] = future.result()
            except ENDS_ALL:
                raise
            except PipelineError as error:
                run_logger().error("%s cannot be prepared, the others go on: %s", name, error)
                failures[name] = error
    return prepared, failures


@task(name="prepare", task_run_name="prepare {name}", cache_policy=NO_CACHE)
def prepare_benchmark(workspace: Workspace, request: SubmissionRequest, name: str) -> Prepared:
    """Prepare one benchmark; its steps are tasks of their own, below this one."""
    return prepare(workspace, request, get_benchmark(name))


def prepare(workspace: Workspace, request: SubmissionRequest, benchmark: Benchmark) -> Prepared:
    """Download, preprocess, quantise and build; each step is found if nothing that goes into it changed.

    With random weights the network is written in place of its download, and small data serve.
    """
    limits, settings = request.system.limits, request.settings_of(benchmark.name)
    edition, made = edition_of(workspace, request, benchmark)
    if request.weights == "random":
        layers = request.layers_of(benchmark.name)
        network = random_network(workspace, benchmark.name, settings.precision, layers, limits.quantize)
        edition = with_random_network(edition, network)
    else:
        network = download(workspace, benchmark.name, edition, "network", limits.download)
    data = download(workspace, benchmark.name, edition, "data", limits.download)
    steps = [*made, network, data]
    dataset, dataset_hash = data.folder, data.content_hash
    if edition.licensed:
        own = licensed_folder(edition.licensed, request.system.licensed_data)
        dataset = assemble_dataset(workspace, benchmark.name, data, edition.licensed.key, own)
        verified = verify_data(workspace, benchmark.name, edition, own, dataset, limits.preprocess)
        steps.append(verified)
        dataset_hash = verified.key
    samples, calibration = (
        preprocess(
            workspace,
            benchmark.name,
            edition,
            subset,
            settings.precision,
            dataset,
            dataset_hash,
            limits.preprocess,
        )
        for subset in SUBSETS
    )
    quantized = quantize(
        workspace,
        benchmark.name,
        settings.precision,
        edition,
        network,
        dataset,
        calibration,
        samples,
        limits.quantize,
    )
    engine = build_engine(
        workspace,
        benchmark.name,
        settings.precision,
        quantized,
        request.largest_batch(benchmark.name),
        request.system.accelerator,
        limits.build_engine,
    )
    return Prepared(
        benchmark=benchmark.name,
        edition=edition,
        dataset=dataset,
        dataset_hash=dataset_hash,
        samples=samples,
        quantized=quantized,
        engine=engine,
        steps=[*steps, samples, calibration, quantized, engine],
    )


def edition_of(
    workspace: Workspace, request: SubmissionRequest, benchmark: Benchmark
) -> tuple[Edition, list[StepRecord]]:
    """Return the edition, and the steps that made it: a mini edition is made on this host."""
    if not request.on_mini_data:
        return request.full_edition(benchmark), []
    made = make_mini(
        workspace, benchmark.name, request.sample_count(benchmark.name), request.system.limits.preprocess
    )
    return benchmark.data.mini_edition(listing_of(made, made.folder.as_uri())), [made]
