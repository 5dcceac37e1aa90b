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
from mlperf_submission.validation import Verdict
from tasks.describe import describe, described, read_description
from tasks.hardware import gpu_names
from tasks.package import Measured, package
from tasks.report import PAGE_FILE, page_evidence, page_templates_version, report
from tasks.upload import placed, run_address, upload
from tasks.validate import read_verdict, require_accepted, validate
from tasks.workspace import Workspace

_RUN_DIGITS = 12


@dataclass(frozen=True)
class Delivered:
    """A finished submission and where it lies."""

    run: str
    tree: Path
    page: Path
    verdict: Verdict
    s3_address: str
    notice: str


def deliver(
    workspace: Workspace,
    request: SubmissionRequest,
    results: list[Measured],
    prepared: list[StepRecord],
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
    system, found = request.system, None
    if system.is_rehearsal:
        found = read_description(describe(workspace, system))
        system = described(system, found)
    tree = package(workspace, system, request.full_length, results)
    judged = validate(workspace, system, tree)
    run = run_name([*prepared, *placed(results).values(), tree, judged])
    verdict = read_verdict(judged)
    notice = _notice(request, results)
    page = report(
        workspace,
        system,
        tree,
        judged,
        page_evidence(system, results, prepared, run, run_address(store, system, run), notice, found),
    )
    require_accepted(verdict, page.file(PAGE_FILE), lacks={name.partition("/")[0] for name in lacks})
    delivered = {"tree": tree, "page": page, "verdict": judged}
    stored = upload(workspace, system, run, tree, delivered, results, prepared, store, list(lacks))
    lay_out(workspace.submission(system.name, run), {**placed(results), **delivered})
    return Delivered(
        run=run,
        tree=workspace.submission(system.name, run) / "tree",
        page=workspace.submission(system.name, run) / "page" / PAGE_FILE,
        verdict=verdict,
        s3_address=stored.address,
        notice=notice,
    )


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


def _notice(request: SubmissionRequest, results: list[Measured]) -> str:
    if any(one.backend == "tensorrt" for one in results):
        return f"run by TensorRT on {', '.join(sorted(set(gpu_names())))}"
    built_for = results[0].engine.figures.get("compute_capability", "?")
    why = runner_of(request).obstacle or "as the system file says"
    return (
        f"{why}: run by ONNX Runtime on the CPU; the TensorRT engines were built for compute capability "
        f"{built_for} and are kept as artifacts"
    )
