"""The first part of a submission: from sources to an engine and samples, for one benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows.request import SubmissionRequest
from models.benchmark import Benchmark, Edition
from storage.cache import StepRecord
from storage.origin import serve_folder
from tasks.build_engine import build_engine
from tasks.download import assemble_dataset, download, licensed_folder, verify_data
from tasks.mini import listing_of, make_mini
from tasks.preprocess import SUBSETS, preprocess
from tasks.quantize import quantize
from tasks.random_network import random_network, with_random_network
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


def prepare(workspace: Workspace, request: SubmissionRequest, benchmark: Benchmark) -> Prepared:
    """Download, preprocess, quantise and build; each step is found if nothing that goes into it changed.

    With random weights the network is written in place of its download, and small data serve.
    """
    limits, settings = request.system.limits, request.settings_of(benchmark.name)
    with edition_offered(workspace, request, benchmark) as (edition, made):
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


@contextmanager
def edition_offered(
    workspace: Workspace, request: SubmissionRequest, benchmark: Benchmark
) -> Iterator[tuple[Edition, list[StepRecord]]]:
    """Yield the edition while its sources can be reached: a mini edition is made and served on this host."""
    if not request.on_mini_data:
        yield benchmark.facts.full, []
        return
    made = make_mini(
        workspace, benchmark.name, request.sample_count(benchmark.name), request.system.limits.preprocess
    )
    with serve_folder(made.folder) as address:
        yield benchmark.data.mini_edition(listing_of(made, address)), [made]
