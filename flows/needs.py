"""The disk space, memory and GPUs that a request needs, each with its source; and whether the host has them.

What nobody knows before it is made is said to be unknown, and counts nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from flows.device_memory import DeviceMemory, buffer_bytes, described_memory, device_memory
from flows.durations import issued_samples, run_of
from flows.request import ResultRequest, SubmissionRequest
from flows.runner import Runner, runner_of
from mlperf_submission.addresses import shown
from mlperf_submission.benchmark.facts import Source
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.compliance.audits import sampling_target
from mlperf_submission.errors import HostTooSmallError, SettingError
from mlperf_submission.files import existing
from mlperf_submission.rounds import RunKind
from mlperf_submission.steps.cache import StepRecord
from models.registry import get_benchmark
from tasks.build_engine import BUILD_ENGINE
from tasks.download import ASSEMBLE_DATASET, DOWNLOAD, require_folder
from tasks.engine.runner import PlannedStep
from tasks.preprocess import PREPROCESS
from tasks.quantize import QUANTIZE

_LOADGEN_BYTES_PER_SAMPLE = 155
"""Host memory that LoadGen takes for a sample of an Offline query: about 4 GB for 26 million, measured."""
_LOG_BYTES_PER_ENTRY = 45
"""Of an accuracy log, beside the response's two hexadecimal digits per byte."""
_SPARE_DISK = 2_000_000_000
"""A guess of what detail logs, Prefect's database and the failed attempts of a submission take."""


@dataclass(frozen=True)
class Need:
    """Space for one thing; `size` in bytes, None if it is unknown."""

    what: str
    label: str
    size: int | None
    source: str


@dataclass(frozen=True)
class Needs:
    """What a request still needs.

    Attributes:
        disk: below the work folder, for steps that are not finished.
        upload: bytes that go to S3: networks, engines and the full logs.
        memory: of the host, for the run or the preparation that needs most.
        device: of each GPU, for each result that is not measured yet.
        free_disk, free_memory: what this host has.
        gpus: why runs would fail for want of GPUs; empty if they would not.
        device_memory: bytes of a GPU; None where neither CUDA nor the system file says.
        too_large: those of `device` that are more than that.
        absent: what a person brings, and is not where the system file says.
    """

    disk: tuple[Need, ...]
    upload: int
    memory: tuple[Need, ...]
    device: tuple[Need, ...]
    free_disk: int
    free_memory: int
    gpus: str = ""
    device_memory: int | None = None
    too_large: tuple[Need, ...] = ()
    absent: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Return what does not fit, in words."""
        found = []
        disk, memory = total(self.disk), total(self.memory)
        if disk > self.free_disk:
            found.append(f"{in_bytes(disk)} of disk space are needed, {in_bytes(self.free_disk)} are free")
        if memory > self.free_memory:
            found.append(f"{in_bytes(memory)} of memory are needed, {in_bytes(self.free_memory)} are free")
        if self.gpus:
            found.append(f"the GPUs of the system file cannot be used: {self.gpus}")
        has = in_bytes(self.device_memory or 0)
        found += [
            f"{need.label} takes {in_bytes(need.size or 0)} of a GPU that has {has} ({need.source})"
            for need in self.too_large
        ]
        return [*found, *self.absent]


def total(needs: tuple[Need, ...]) -> int:
    """Return the bytes of all needs that are known."""
    return sum(need.size or 0 for need in needs)


def needs_of(
    request: SubmissionRequest, work: Path, steps: Sequence[PlannedStep], engines: Mapping[str, StepRecord]
) -> Needs:
    """Return what the steps that are not finished need.

    Args:
        request: what is asked for. Of a rehearsal only the samples are known beforehand.
        work: the work folder, whose disk counts.
        steps: the plan of the request.
        engines: the engines that are built, by benchmark.
    """
    left = [step for step in steps if not step.done]
    disk = tuple(need for step in left for need in _space(request, step))
    if disk and not request.on_mini_data:
        disk += (Need("other files", request.system.name, _SPARE_DISK, "a guess: logs, database, failures"),)
    upload = sum(need.size or 0 for step in steps for need in _space(request, step) if need.what in _UPLOADED)
    runner = runner_of(request)
    runs = [run for step in left if (run := run_of(request, step.name, step.label))]
    todo = [result for result, kind in runs if kind is RunKind.PERFORMANCE]
    converting = [(need,) for step in left for need in _converting(request, step)]
    memory = max([*(_memory(request, one, runner) for one in todo), *converting], key=total, default=())
    gpus = {
        f"{one.benchmark} {one.scenario}": found
        for one in request.results
        if one in todo or not runner.backend
        if (found := device_memory(request, one, engines.get(one.benchmark), runner))
    }
    device = tuple(_device(label, found) for label, found in gpus.items())
    too_small = tuple(label for label, found in gpus.items() if not found.fits)
    free = shutil.disk_usage(existing(work)).free, psutil.virtual_memory().available
    return Needs(
        disk,
        upload,
        memory,
        device,
        *free,
        gpus=runner.obstacle if runner.is_stuck else "",
        device_memory=runner.memory or described_memory(request),
        too_large=tuple(need for need in device if need.label in too_small),
        absent=tuple(text for step in left for text in _absent(request, step)),
    )


def require_fit(needs: Needs, work: Path) -> None:
    """Raise unless the host has what is needed.

    Raises:
        HostTooSmallError: what is missing, and where.
    """
    if problems := needs.problems():
        raise HostTooSmallError(
            f"the plan does not fit this host: {'; '.join(problems)}",
            where=work,
            remedy="free, install or bring what is missing (docs/full_edition.md), choose another folder "
            "with --work, or run with --anyway",
        )


_UPLOADED = ("network", "engine", "accuracy log", "TEST01 log")


def _space(request: SubmissionRequest, step: PlannedStep) -> Iterator[Need]:
    """Yield the disk space of what a step makes, where that is much."""
    label, small = step.label, request.on_mini_data
    benchmark = _benchmark_of(request, step)
    if benchmark is None:
        return
    name, sizes = benchmark.name, benchmark.facts.sizes
    if step.name == DOWNLOAD.name and not small:
        full = request.full_edition(benchmark)
        if label.endswith(" network"):
            yield Need("sources", label, sizes.network, _own(full.networks) or sizes.network_source)
        elif own := _own(full.data):
            known = [one.size for one in full.data if one.size is not None]
            yield Need("sources", label, sum(known) if len(known) == len(full.data) else None, own)
    elif step.name == PREPROCESS.name and label.endswith(" validation"):
        count, (samples, source) = request.sample_count(name), _sample_bytes(request, name)
        whole = None if samples is None else samples * count
        yield Need("samples", label, whole, f"{count:,} of {source}")
    elif small and request.weights == "trained":
        return
    elif step.name == QUANTIZE.name:
        yield Need("network", label, sizes.converted, "number of weights")
    elif step.name == BUILD_ENGINE.name:
        yield Need("engine", label, sizes.converted, "at most as large as its network")
    elif not small and (run := run_of(request, step.name, label)):
        response = sizes.response
        logged = {
            RunKind.ACCURACY: request.rules_of(name).dataset_size,
            RunKind.TEST01: sampling_target(name),
        }
        if entries := logged.get(run[1]):
            size = None if response is None else entries * (2 * response + _LOG_BYTES_PER_ENTRY)
            of = "an unknown number of" if response is None else f"{response:,}"
            yield Need(f"{run[1]} log", label, size, f"{entries:,} responses of {of} bytes")


def _own(sources: Sequence[Source]) -> str:
    """Say which sources a person replaced, and by what; empty if none."""
    own = [f"{source.name}: {shown(source.own)}" for source in sources if source.own]
    return f"your own {', '.join(own)}" if own else ""


def _absent(request: SubmissionRequest, step: PlannedStep) -> Iterator[str]:
    """Yield what a person brings for a step, and is not where the system file says."""
    benchmark = _benchmark_of(request, step)
    if benchmark is None or request.on_mini_data:
        return
    full = request.full_edition(benchmark)
    if step.name == ASSEMBLE_DATASET.name and full.licensed:
        try:
            require_folder(full.licensed, request.system.licensed_data)
        except SettingError as error:
            yield f"{error.what} ({error.where or 'licensed_data'})"
    elif step.name == DOWNLOAD.name:
        for source in full.networks if step.label.endswith(" network") else full.data:
            if source.own_path and not source.own_path.exists():
                yield f"there is no {source.own} (sources of {benchmark.name})"


def _converting(request: SubmissionRequest, step: PlannedStep) -> Iterator[Need]:
    """Yield the host memory that a full-sized network takes on its way to an engine."""
    benchmark = _benchmark_of(request, step)
    if benchmark and step.name == BUILD_ENGINE.name:
        size = request.host_bytes_to_convert(benchmark.name)
        if size is not None:
            yield Need("host: network", step.label, size, benchmark.facts.sizes.converting_source)


def _benchmark_of(request: SubmissionRequest, step: PlannedStep) -> Benchmark | None:
    subject = step.label.partition(" ")[0]  # a step's label begins with what it is done for
    return next((one for one in request.benchmarks if one.name == subject), None)


def _memory(request: SubmissionRequest, result: ResultRequest, runner: Runner) -> tuple[Need, ...]:
    """Return what the performance run of a result takes of the host."""
    name, label = result.benchmark, f"{result.benchmark} {result.scenario}"
    count = request.loaded_samples(name)
    sample, source = _sample_bytes(request, name)
    resident = None if sample is None else sample * min(count, request.sample_count(name))
    rate = result.tuning.rate
    issued = issued_samples(request, result, rate) if rate else None
    loadgen = None if issued is None else issued * _LOADGEN_BYTES_PER_SAMPLE
    about = f"{issued:,} samples of {_LOADGEN_BYTES_PER_SAMPLE} bytes" if issued else "no target is given"
    samples = f"{count:,} of {source}"
    needs = (
        Need("host: LoadGen", label, loadgen, about),
        Need("host: resident samples", label, resident, samples),
    )
    if runner.backend == "onnxruntime":
        return needs
    lanes, rows = result.tuning.streams * request.system.accelerator.count, result.tuning.batch_size
    row = buffer_bytes(request, name)
    pinned = f"{lanes} streams x {rows} rows of {in_bytes(row)}, at most"
    return (*needs, Need("host: pinned buffers", label, lanes * rows * row, pinned))


def _device(label: str, memory: DeviceMemory) -> Need:
    """Return what a result takes of each GPU, with its parts in words."""
    scratch = (
        "scratch: known when it is built" if memory.scratch is None else f"scratch {in_bytes(memory.scratch)}"
    )
    row = f"{memory.rows} x {in_bytes(memory.row)} of state and buffers"
    largest = memory.largest_batch
    most = "" if largest is None else f"; a batch_size of at most {largest} fits"
    source = f"weights {in_bytes(memory.weights)}, {row}, {scratch}{most}"
    return Need("each GPU", label, memory.size, source)


def _sample_bytes(request: SubmissionRequest, name: str) -> tuple[int | None, str]:
    benchmark, precision = get_benchmark(name), request.settings_of(name).precision
    dtype, sizes = benchmark.network.inputs(precision)[0].dtype, benchmark.facts.sizes
    values = sizes.mini_sample_values if request.on_mini_data else sizes.sample_values
    if values is None:
        return None, "sizes that the mini edition chooses"
    return values * np.dtype(dtype).itemsize, f"{values:,} values of {dtype}, {sizes.sample_source}"


def in_bytes(size: int | None) -> str:
    """Return a number of bytes as people say it."""
    if size is None:
        return "unknown"
    if size < 50_000:
        return f"{size / 1e3:,.1f} KB"
    return f"{size / 1e9:,.1f} GB" if size >= 50_000_000 else f"{size / 1e6:,.1f} MB"
