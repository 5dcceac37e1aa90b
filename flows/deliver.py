"""The last part of a submission before it is published: package, validate, report, upload."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.request import SubmissionRequest
from flows.runner import runner_of
from mlperf_submission.steps.cache import StepRecord, code_version
from mlperf_submission.store.store import Store
from tasks.check_officially import OFFICIAL, check_officially
from tasks.describe import describe, described, read_description
from tasks.engine.pending import derived, later
from tasks.engine.runner import Runner
from tasks.hardware import gpu_names
from tasks.package import Measured, package
from tasks.report import page_evidence, page_templates_version, report
from tasks.upload import Stored, placed, upload
from tasks.validate import validate

_RUN_DIGITS = 12


@dataclass(frozen=True)
class Delivered:
    """A finished submission.

    Attributes:
        run: its name.
        parts: its folders that are no result's.
        stored: where it lies.
        notice: what ran the networks; empty of a fleet.
    """

    run: str
    parts: dict[str, StepRecord]
    stored: Stored
    notice: str = ""


def deliver(
    run: Runner,
    request: SubmissionRequest,
    results: list[Measured],
    prepared: Sequence[StepRecord],
    store: Store,
    lacks: Sequence[str] = (),
) -> Delivered:
    """Lay out the tree, judge it, make its page, keep everything in S3.

    A run is named by what it was made from: the same measurements give the same run. One that lacks results
    is stored with the list of them, and cannot be published.

    Raises:
        TreeError: the tree is refused for more than what it lacks; its page is made all the same, and nothing
            is uploaded.
    """
    system, found, label = request.system, None, request.system.name
    if system.is_rehearsal:
        found = read_description(run(describe(system)))
        system = described(system, found)
    tree = run(package(label, system, request.full_length, results))
    judged = run(validate(label, system, tree))
    parts = {"tree": tree, "verdict": judged}
    checkout = request.system.official_checker
    if checkout:
        parts[OFFICIAL] = run(check_officially(label, system, tree, judged, checkout))
    name = later(lambda: run_name([*prepared, *placed(results).values(), *parts.values()]))
    notice = notice_of(request, results)
    evidence = page_evidence(system, results, prepared, name, notice, found, parts.get(OFFICIAL))
    parts["page"] = run(report(label, system, tree, judged, evidence))
    stored = run(upload(label, system, name, parts, results, prepared, store, lacks))
    return Delivered(name, parts, stored, notice)


def run_name(records: Sequence[StepRecord], modules: Sequence[str] = ("tasks.report", "tasks.upload")) -> str:
    """Return the name of a run: 12 hexadecimal digits over all that it was made from and the page's code.

    A stored run is never changed, so whatever would change one of its files changes its name.
    """
    made = sorted(f"{record.key} {record.created.isoformat()}" for record in records)
    text = "\n".join([*made, code_version(*modules), page_templates_version()])
    return hashlib.sha256(text.encode()).hexdigest()[:_RUN_DIGITS]


def lay_out(place: Path, steps: Mapping[str, StepRecord]) -> None:
    """Give a person one folder per run, laid out as in S3, with links to the finished steps."""
    for name, step in steps.items():
        link = place / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not (link.is_symlink() and link.readlink() == step.folder):
            link.unlink(missing_ok=True)
            link.symlink_to(step.folder, target_is_directory=True)


@derived
def notice_of(request: SubmissionRequest, results: list[Measured]) -> str:
    """Return what ran the networks, in a sentence."""
    if any(one.backend == "tensorrt" for one in results):
        return f"run by TensorRT on {', '.join(sorted(set(gpu_names())))}"
    built_for = results[0].engine.figures.get("compute_capability", "?")
    why = runner_of(request).obstacle or "as the system file says"
    return (
        f"{why}: run by ONNX Runtime on the CPU; the TensorRT engines were built for compute capability "
        f"{built_for} and are kept as artifacts"
    )
