"""`python -m tools.benchmarks`: measures everything, and prints the tables of docs/performance.md."""

from __future__ import annotations

import argparse
import datetime
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from mlperf_submission.harness.backends.onnxruntime import cpu_model, usable_cores
from mlperf_submission.harness.interference import disturbances, host_state
from mlperf_submission.harness.lock import host_lock
from mlperf_submission.harness.record import RunRequest
from mlperf_submission.rounds import Scenario
from models.registry import benchmark_names, get_benchmark
from tools.benchmarks import mini, preprocessing, search, store, validation
from tools.benchmarks.ceilings import (
    harness_runner,
    in_turn,
    loadgen_runner,
    offline_rate,
    server_ceiling,
    server_probe,
    settings_of,
    stream_latency,
)

MODEL_SYSTEM_SERVER = 132_008
"""Queries/s of the model system in Server, resnet50, v4.1."""
_PARTS = ("ceilings", "latency", "streams", "networks", "search", "preprocessing", "store", "validation")
_BATCH = 256
_STREAM_NS = 10_000.0
"""A query of a stream takes LoadGen alone longer than this, so that it never runs out of queries."""
_WAIT_US = 1000
_LOCK_SECONDS = 24 * 3600
_WITH_A_CORE_LEFT = ("resnet50", "retinanet", "bert-99")
"""Networks whose Server rate a short run tells are also run with one core left to LoadGen."""


def main() -> None:
    """Measure what the command line names; print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(_PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one timed run")
    parser.add_argument("--repeats", type=int, default=3, help="how often a pair is measured in turn")
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 2, 4, 8], help="null devices")
    parser.add_argument(
        "--models",
        nargs="*",
        default=benchmark_names(),
        choices=benchmark_names(),
        help="of part networks",
    )
    parser.add_argument("--tree", type=Path, help="of part validation: a published tree")
    parser.add_argument("--checkout", type=Path, help="of part validation: mlcommons/inference at its round")
    chosen = parser.parse_args()
    parts = chosen.parts or [part for part in _PARTS if part != "validation" or chosen.tree]
    if "validation" in parts and not (chosen.tree and chosen.checkout):
        parser.error("the validation needs --tree and --checkout")
    unknown = set(parts) - set(_PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(_PARTS)}")
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="mlperf-benchmarks-"))
    steps: dict[str, Callable[[], None]] = {
        "ceilings": lambda: _ceilings(work, chosen.seconds, chosen.repeats, chosen.devices),
        "latency": lambda: _latency(work, chosen.seconds),
        "streams": lambda: _streams(work, chosen.seconds, chosen.repeats),
        "networks": lambda: _networks(work, chosen.models, chosen.seconds, chosen.repeats),
        "search": lambda: _search(work, chosen.seconds),
        "preprocessing": lambda: _preprocessing(work, chosen.repeats),
        "store": lambda: _store(work, chosen.repeats),
        "validation": lambda: _validation(chosen.tree, chosen.checkout, chosen.repeats),
    }
    try:
        # The host is held for all of it, so that the children's locks are private.
        with host_lock(None, False, _LOCK_SECONDS, what="the benchmarks", on_wait=_say):
            _print_machine()
            for part in _PARTS:
                if part in parts:
                    before = host_state()
                    steps[part]()
                    found = disturbances(before, host_state())
                    print(f"\nOther work on the machine meanwhile: {'; '.join(found) or 'none to speak of'}.")
            print(f"\nAll of it took {(time.monotonic() - started) / 60:.0f} minutes.")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def null_request(devices: int, work: Path) -> RunRequest:
    """Return a run of the null backend on so many devices, with a lock of its own."""
    settings = settings_of(Scenario.SERVER, 1000, 1)
    return RunRequest(
        settings=settings,
        benchmark=settings.benchmark,
        backend="null",
        batch_size=_BATCH,
        max_wait_us=_WAIT_US,
        devices=tuple(range(devices)),
        lock=work / "lock",
    )


def _ceilings(work: Path, seconds: float, repeats: int, devices: list[int]) -> None:
    _heading("The harness alone against LoadGen alone (null backend; an empty callback)")
    print("| devices | scenario | LoadGen alone | harness | ratio |")
    print("|---|---|---|---|---|")
    alone = loadgen_runner(null_request(1, work))
    bound = server_ceiling(alone, seconds, work, start=MODEL_SYSTEM_SERVER).rate
    for count in devices:
        ours = harness_runner(null_request(count, work))
        offline = in_turn(
            lambda: offline_rate(alone, seconds, work, guess=1e6),
            lambda ours=ours: offline_rate(ours, seconds, work, guess=1e6),  # type: ignore[misc]
            repeats,
        )
        print(f"| {count} | Offline, samples/s | {offline[0]:,.0f} | {offline[1]:,.0f} | {offline[2]:.2f} |")
        rate = server_ceiling(ours, seconds, work, start=MODEL_SYSTEM_SERVER).rate
        print(
            f"| {count} | Server, queries/s | {bound:,.0f} | {rate:,.0f} | {rate / bound:.2f} |",
            flush=True,
        )


def _streams(work: Path, seconds: float, repeats: int) -> None:
    _heading("Latency of a query in the streams: the harness alone beside LoadGen alone")
    print("| scenario | LoadGen alone, µs | harness, µs | ratio | harness adds, µs |")
    print("|---|---|---|---|---|")
    alone, ours = loadgen_runner(null_request(1, work)), harness_runner(null_request(1, work))
    for scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM):
        first, second, ratio = in_turn(
            lambda scenario=scenario: stream_latency(alone, scenario, _STREAM_NS, seconds, work) / 1e3,  # type: ignore[misc]
            lambda scenario=scenario: stream_latency(ours, scenario, _STREAM_NS, seconds, work) / 1e3,  # type: ignore[misc]
            repeats,
        )
        print(f"| {scenario} | {first:.1f} | {second:.1f} | {ratio:.2f} | {second - first:.1f} |", flush=True)


def _latency(work: Path, seconds: float) -> None:
    _heading("Latency of the harness alone in Server (null backend, one device)")
    runner = harness_runner(null_request(1, work))
    ceiling = server_ceiling(runner, seconds, work, start=MODEL_SYSTEM_SERVER)
    print(f"The ceiling is {ceiling.rate:,.0f} queries/s, found with {ceiling.probes} probes.\n")
    print("| load | queries/s | 99th percentile |")
    print("|---|---|---|")
    rates = [(f"{share:.0%}", share * ceiling.rate) for share in (0.5, 0.8, 0.95)]
    for name, rate in [*rates, ("the model system's", MODEL_SYSTEM_SERVER * 1.0)]:
        probe = server_probe(runner, rate, seconds, work)
        print(f"| {name} | {rate:,.0f} | {probe.p99_ns / 1e6:.2f} ms |", flush=True)


def _networks(work: Path, models: Sequence[str], seconds: float, repeats: int) -> None:
    _heading("ONNX Runtime: the harness against a bare loop over the same backend (mini networks)")
    print(
        "| network | streams x threads | batch | bare loop, samples/s | Offline, samples/s | ratio "
        "| by CPU time | Server, queries/s | of Offline | of network beside LoadGen |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    cores = usable_cores()
    unequal: list[str] = []
    for name in models:
        prepared = mini.prepare(get_benchmark(name), work / name)
        batch = mini.BATCHES[name]
        shapes = [mini.Shape(batch, 1, cores), mini.Shape(batch, cores, 1)]
        if name in _WITH_A_CORE_LEFT and cores > 1:
            shapes.append(mini.Shape(batch, 1, cores - 1))
        for number, shape in enumerate(shapes):
            folder = work / f"{name}-{number}"
            rates = mini.offline(prepared, folder, shape, seconds=seconds, repeats=repeats)
            served = mini.server(prepared, folder, shape, seconds=seconds, offline_rate=rates.harness)
            last = "no Server | |"
            if served:
                last = (
                    f"{served.rate:,.0f} | {served.rate / rates.harness:.3f} "
                    f"| {served.rate / served.beside:.3f} |"
                )
            layout = f"{shape.streams} x {shape.threads}"
            print(
                f"| {name} | {layout} | {shape.batch} | {rates.loop:,.1f} | {rates.harness:,.1f} "
                f"| {rates.ratio:.3f} | {rates.cpu_ratio:.3f} | {last}",
                flush=True,
            )
            if rates.plain is not None and rates.gain is not None:
                unequal.append(
                    f"| {name} | {layout} | {shape.batch} | {rates.plain:,.1f} | {rates.harness:,.1f} "
                    f"| {rates.gain:.2f} |"
                )
    _heading("Samples of unequal cost: batches as they are listed, finished together, against the harness")
    print("| network | streams x threads | batch | as listed, samples/s | Offline, samples/s | gain |")
    print("|---|---|---|---|---|---|")
    print("\n".join(unequal))


def _search(work: Path, seconds: float) -> None:
    _heading("The search for the Server target, on a null backend with a known limit")
    found = search.search_known_limit(work, probe_seconds=seconds, confirm_seconds=5 * seconds)
    confirmed = f"{found.confirmed:,.0f}" if found.confirmed else "none"
    print("| true limit (simulated) | found | error | confirmed target | runs | time |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {found.truth:,.0f} | {found.found:,.0f} | {found.found / found.truth - 1:+.2%} | {confirmed} "
        f"| {found.probes} | {found.seconds:.0f} s |"
    )


def _preprocessing(work: Path, repeats: int) -> None:
    _heading("Preprocessing against the reference's way: one sample after the other")
    print("| benchmark | one after the other, samples/s | ours, all cores, samples/s | ratio |")
    print("|---|---|---|---|")
    for name in preprocessing.REFERENCE:
        prepared = mini.prepare(get_benchmark(name), work / f"preprocessing-{name}")
        rates = preprocessing.against_reference(prepared, work / "preprocessing", repeats=repeats)
        print(f"| {name} | {rates.first:,.1f} | {rates.second:,.1f} | {rates.ratio:.2f} |", flush=True)


def _store(work: Path, repeats: int) -> None:
    _heading("The store against rclone, through one rclone S3 server")
    print(
        "| files | | store, s | `rclone copy --checksum`, s | the same with `check --download`, s "
        "| rclone / store | rclone, checked / store |"
    )
    print("|---|---|---|---|---|---|---|")
    for files, kinds in store.SETS.items():
        for one in store.against_rclone(work / files, kinds, repeats=repeats):
            print(
                f"| {files} | {one.name} | {one.ours:.2f} | {one.copied:.2f} | {one.checked:.2f} "
                f"| {one.copied / one.ours:.2f} | {one.checked / one.ours:.2f} |",
                flush=True,
            )


def _validation(tree: Path, checkout: Path, repeats: int) -> None:
    _heading("The validation of a tree against the official checker")
    print("| | processor time, s | wall time, s | most memory, MB | official checker's time / its own |")
    print("|---|---|---|---|---|")
    found = list(validation.against_checker(tree, checkout, repeats=repeats))
    for one in found:
        print(
            f"| {one.name} | {one.cpu_seconds:.2f} | {one.seconds:.2f} | {one.peak_bytes / 1e6:.0f} "
            f"| {found[-1].cpu_seconds / one.cpu_seconds:.2f} |"
        )


def _heading(text: str) -> None:
    print(f"\n### {text}\n")


def _print_machine() -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(
        f"Measured on {today}: {cpu_model()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}."
    )


if __name__ == "__main__":
    main()
