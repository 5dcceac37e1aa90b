"""Make the results page out of the tree, with what the flow knows beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from mlperf_submission.config.system import System
from mlperf_submission.description.check import RunFacts, differences
from mlperf_submission.description.describe import MachineDescription
from mlperf_submission.harness.interference import shown_states
from mlperf_submission.harness.record import DETAIL_LOG
from mlperf_submission.harness.search import SearchOutcome
from mlperf_submission.page.evidence import (
    EngineEvidence,
    Fact,
    Link,
    PageEvidence,
    Probe,
    ResultEvidence,
    ThroughputPoint,
    TimelineStep,
)
from mlperf_submission.page.render import TEMPLATES
from mlperf_submission.page.system_page import write_page
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.store.bucket import s3_address
from mlperf_submission.store.store import Area
from tasks.check_officially import read_check
from tasks.describe import to_fill_in
from tasks.engine.pending import derived
from tasks.engine.perform import Recorder
from tasks.engine.spec import Step, StepSpec, said_again
from tasks.measurement import child_report, detail_log, disturbances_of, notices_of
from tasks.package import Measured
from tasks.validate import read_verdict
from tasks.versions import files_version

PAGE_FILE = "index.html"
REPORT = StepSpec("report", "deliver", ("validate", "check_officially"), 0.2, 2.0, asset="page")


def page_templates_version() -> str:
    """Return the version of the page's templates."""
    return files_version(TEMPLATES)


def report(label: str, system: System, tree: StepRecord, verdict: StepRecord, evidence: PageEvidence) -> Step:
    """Write `index.html`, one file that needs no network."""

    def inputs() -> dict[str, JsonValue]:
        return {
            "tree": tree.content_hash,
            "verdict": verdict.content_hash,
            "evidence": evidence.model_dump(mode="json"),
            "code_version": code_version("mlperf_submission.page.system_page"),
            "templates": page_templates_version(),
        }

    def produce(folder: Path, _recorder: Recorder) -> dict[str, JsonValue]:
        written = write_page(
            tree.folder,
            system.name,
            folder,
            round_name=system.round,
            verdict=read_verdict(verdict),
            evidence=evidence,
            again=said_again,
        )
        return {"bytes": written.stat().st_size}

    return Step(REPORT, label, inputs, produce)


@derived
def page_evidence(
    system: System,
    results: Sequence[Measured],
    prepared: Sequence[StepRecord],
    run: str,
    notice: str,
    described: MachineDescription | None,
    official: StepRecord | None,
) -> PageEvidence:
    """Collect what a page shows beyond the tree: engines, links into the stored run, the time line.

    Args:
        system: as the tree describes it.
        results: what was measured.
        prepared: the steps of the preparation.
        run: the run's name.
        notice: what ran the networks.
        described: of a rehearsal: what the machine told, field by field.
        official: the official checker's verdict, where the system file asks for it.
    """
    area = Area.REHEARSALS if system.is_rehearsal else Area.RUNS  # a submission's, once it is published
    address = s3_address(system.store.bucket, system.store.prefix, f"{area}/{system.name}/{run}")
    return PageEvidence(
        run_id=run,
        s3_address=address,
        manifest=Link(label="manifest", href=f"{address}/manifest.json"),
        tree_link="../tree",
        notice=notice,
        rehearsal=system.is_rehearsal,
        warnings=(
            *([] if official is None else read_check(official).notes()),
            *_differences(system, results),
            *_left_to_a_person(described),
        ),
        field_sources=tuple(Fact(label=name, value=source) for name, source in described.sources().items())
        if described
        else (),
        results=tuple(_result(one) for one in results),
        timeline=tuple(sorted(_timeline(results, prepared), key=lambda step: step.start)),
    )


def _result(one: Measured) -> ResultEvidence:
    engine = one.engine
    ran_it = one.backend == "tensorrt"
    title = f"{engine.figures.get('library', 'TensorRT')} {engine.figures.get('version', '')}".strip()
    return ResultEvidence(
        benchmark=one.benchmark,
        scenario=one.scenario,
        precision=one.precision,
        batch_size=one.batch_size,
        remarks=tuple(
            f"{name}: {text}"
            for name, run in one.runs.items()
            for text in (
                *disturbances_of(run),
                *(f"would be INVALID as a submission: {notice.text}" for notice in notices_of(run)),
            )
        ),
        host=_host(one),
        throughput=_throughput(one),
        probes=_probes(one),
        notice="" if ran_it else "run by ONNX Runtime on the CPU; the TensorRT engine is kept as an artifact",
        engine=EngineEvidence(
            title=f"{title}, {one.precision.upper()}",
            sha256=engine.files[0].sha256 if engine.files else "",
            facts=tuple(Fact(label=name, value=str(value)) for name, value in sorted(engine.figures.items())),
            measured=ran_it,
        ),
        links=tuple(
            Link(
                label=f"{name}: {DETAIL_LOG}",
                href=f"../evidence/{one.benchmark}/{one.scenario}/{name}/{DETAIL_LOG}",
            )
            for name in one.runs
        ),
    )


def _host(one: Measured) -> tuple[Fact, ...]:
    """Return the host's state before and after the performance run."""
    child = child_report(one.performance)
    return tuple(Fact(label=name, value=text) for name, text in shown_states(child.before, child.after))


def _throughput(one: Measured) -> tuple[ThroughputPoint, ...]:
    """Return how many samples the performance run completed in each of its intervals."""
    found = child_report(one.performance).throughput
    return tuple(
        ThroughputPoint(seconds=seconds, samples=samples)
        for seconds, samples in zip(found.seconds, found.samples, strict=True)
    )


def _probes(one: Measured) -> tuple[Probe, ...]:
    """Return the probes of the search that found the Server target, in their order."""
    if one.search is None:
        return ()
    found = SearchOutcome.model_validate(one.search.figures)
    return tuple(
        Probe(
            target_qps=probe.target_qps,
            latency_ns=probe.p99_ns,
            valid=probe.valid,
            note="confirmation" if probe.confirmation else "",
        )
        for probe in found.probes
    )


def _differences(system: System, results: Sequence[Measured]) -> tuple[str, ...]:
    """Return how the description differs from what the runs logged; runs that logged the same are one.

    A rehearsal's description is of any machine.
    """
    if system.is_rehearsal:
        return ()
    names: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for one in results:
        for name, run in one.runs.items():
            child = child_report(run)
            loadgen = str(detail_log(run).values.get("loadgen_version", ""))
            names.setdefault((child.backend, child.devices, loadgen), []).append(
                f"{one.benchmark} {one.scenario} {name}"
            )
    return differences(
        system.description,
        [
            RunFacts(run=", ".join(runs), backend=backend, devices=devices, loadgen=loadgen)
            for (backend, devices, loadgen), runs in names.items()
        ],
    )


def _left_to_a_person(described: MachineDescription | None) -> tuple[str, ...]:
    names = to_fill_in(described) if described else []
    return (f"for a submission a person fills in: {', '.join(names)}",) if names else ()


def _timeline(results: Sequence[Measured], prepared: Sequence[StepRecord]) -> Iterator[TimelineStep]:
    yield from (_on_the_clock(record, "prepare") for record in prepared)
    for one in results:
        yield from (_on_the_clock(record, "measure") for record in (one.performance, one.accuracy))
        yield from (_on_the_clock(record, "audit") for record in one.audits.values())


def _on_the_clock(record: StepRecord, kind: Literal["prepare", "measure", "audit"]) -> TimelineStep:
    return TimelineStep(
        name=f"{record.step} {record.label}",
        start=record.created - timedelta(seconds=record.seconds),
        end=record.created,
        kind=kind,
    )
