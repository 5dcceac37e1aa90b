"""The official submission tree of a round, written from the folders of the runs.

Everything is checked before the first file is written; the logs are copied byte for byte. Layout: rules S, Y,
E, C, P, A and T of the v4.1 checker, from v6.0 on V-41. Writing the same plan twice gives the same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlperf_submission.errors import TreeError
from mlperf_submission.files import disk_full_named, files_below, inside
from mlperf_submission.rounds import RunKind, get_round
from mlperf_submission.submission import accuracy, conf
from mlperf_submission.submission.detail_log import DetailLog
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, LARGEST_FILE, SUMMARY
from mlperf_submission.tree import texts as tree_texts
from mlperf_submission.tree.checks import Evidence, refusals
from mlperf_submission.tree.plan import AuditPlan, CodeSource, Layout, ResultPlan, RunFolder, TreePlan

_CACHES = frozenset({"__pycache__"})


@dataclass(frozen=True)
class TreeFile:
    """A file of the tree.

    Attributes:
        path: relative to the root, with forward slashes.
        content: makes its content.
        source: the file that it is a copy (or the short form) of; None if it is written here.
    """

    path: str
    content: Callable[[], bytes]
    source: Path | None = None


def write_tree(plan: TreePlan, root: Path) -> list[TreeFile]:
    """Write the complete official tree of one system; whoever keeps it makes it durable (`seal_folder`).

    Args:
        plan: what goes in.
        root: the folder that will hold `closed/…`; it must be empty or absent.

    Returns:
        The files, sorted by path.

    Raises:
        TreeError: the tree cannot be accepted (all reasons at once), or `root` holds something.
        SettingError: the round is unknown.
        DiskFullError: there is not enough space.
    """
    round_ = get_round(plan.round)
    layout = Layout(round_)
    if root.exists() and any(root.iterdir()):
        raise TreeError(
            "the folder is not empty", where=root, remedy="name a new folder; a tree is only written whole"
        )
    evidence = Evidence()
    _refuse(refusals(plan, round_, evidence), plan)
    base = f"{plan.division}/{plan.submitter}"
    files = list(_system_files(plan, layout, base))
    for result in plan.results:
        files += _result_files(plan, result, layout, base, evidence.log(result.performance.detail))
    files.sort(key=lambda file: file.path)
    _refuse(_forbidden(files), plan)
    with disk_full_named(root):
        for file in files:
            target = inside(root, file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content())
    return files


def _refuse(reasons: list[str], plan: TreePlan) -> None:
    if reasons:
        raise TreeError(
            f"{len(reasons)} reasons against this tree:\n  - " + "\n  - ".join(reasons),
            where=f"{plan.division}/{plan.submitter}, {plan.system}",
            remedy="mend what is named; runs are repeated, their logs are never edited",
        )


def _system_files(plan: TreePlan, layout: Layout, base: str) -> Iterator[TreeFile]:
    yield _text(f"{base}/{layout.system(plan.system)}", tree_texts.system_json(plan))
    yield _text(f"{base}/{layout.calibration}", tree_texts.calibration_document(plan))
    groups: dict[tuple[str, str], list[ResultPlan]] = {}
    for result in plan.results:
        groups.setdefault((result.benchmark, result.implementation), []).append(result)
    for (benchmark, implementation), results in groups.items():
        folder = f"{base}/{layout.code}/{benchmark}/{implementation}"
        sources = dict.fromkeys(source for result in results for source in result.code)
        copies = [copy for source in sources for copy in _code(source, folder)]
        names = [copy.path.removeprefix(f"{folder}/") for copy in copies]
        yield _text(f"{folder}/README.md", tree_texts.code_readme(plan, results, names))
        yield _copy(f"{folder}/{tree_texts.tuning_name(plan)}", plan.tuning_file)
        yield from copies


def _code(source: CodeSource, folder: str) -> Iterator[TreeFile]:
    name = PurePosixPath(source.name).as_posix()
    if not source.path.is_dir():
        yield _copy(f"{folder}/{name}", source.path)
        return
    for path in files_below(source.path):
        parts = path.relative_to(source.path).parts
        if not any(part.startswith(".") or part in _CACHES for part in parts):
            yield _copy(f"{folder}/{name}/{'/'.join(parts)}", path)


def _result_files(
    plan: TreePlan, result: ResultPlan, layout: Layout, base: str, log: DetailLog
) -> Iterator[TreeFile]:
    place = f"{plan.system}/{result.benchmark}/{result.scenario}"
    measurements = f"{base}/{layout.measurements(place)}"
    file = layout.measurements_file(place, result.implementation)
    yield _text(f"{base}/{file}", tree_texts.measurements_json(result))
    user = conf.user_conf(log, result.benchmark, result.scenario, layout.round)
    mlperf = conf.mlperf_conf(log, result.benchmark, result.scenario, layout.round)
    yield _text(f"{measurements}/user.conf", user)
    yield _text(f"{measurements}/mlperf.conf", mlperf)
    yield _text(f"{measurements}/README.md", tree_texts.measurement_readme(plan, result, log))
    yield _text(f"{measurements}/calibration_process.adoc", tree_texts.calibration_process(plan, result))
    results = f"{base}/{layout.result(place)}"
    yield from _logs(f"{results}/performance/run_1", result.performance)
    yield from _logs(f"{results}/accuracy", result.accuracy)
    yield _copy(f"{results}/accuracy/accuracy.txt", result.accuracy_txt)
    yield _short(f"{results}/accuracy/{ACCURACY_LOG}", result.accuracy.accuracy_log)
    for audit in result.audits:
        yield from _audit_files(f"{base}/{layout.audit(place, audit.run.kind)}", audit)


def _audit_files(folder: str, audit: AuditPlan) -> Iterator[TreeFile]:
    verdict = audit.verdict
    yield from _logs(f"{folder}/performance/run_1", audit.run)
    yield _text(f"{folder}/verify_performance.txt", verdict.verify_performance)
    if audit.run.kind is not RunKind.TEST01:
        return
    yield _text(f"{folder}/verify_accuracy.txt", verdict.verify_accuracy or "")
    digest = verdict.evidence["audit_accuracy_log"]
    yield _text(f"{folder}/accuracy/accuracy.txt", f"hash={digest}\n")
    yield _short(f"{folder}/accuracy/{ACCURACY_LOG}", audit.run.accuracy_log)
    # Rule T-10: these two stand there exactly if the responses were not bit exact.
    if verdict.baseline_accuracy is not None and verdict.compliance_accuracy is not None:
        yield _text(f"{folder}/accuracy/baseline_accuracy.txt", verdict.baseline_accuracy)
        yield _text(f"{folder}/accuracy/compliance_accuracy.txt", verdict.compliance_accuracy)


def _logs(folder: str, run: RunFolder) -> Iterator[TreeFile]:
    yield _copy(f"{folder}/{DETAIL}", run.detail)
    yield _copy(f"{folder}/{SUMMARY}", run.summary)


def _text(path: str, text: str) -> TreeFile:
    return TreeFile(path, text.encode)


def _copy(path: str, source: Path) -> TreeFile:
    return TreeFile(path, source.read_bytes, source)


def _short(path: str, log: Path) -> TreeFile:
    return TreeFile(path, lambda: accuracy.truncated(log), log)


def _forbidden(files: list[TreeFile]) -> list[str]:
    """Name files that the official checker refuses by their name or size (rules S-06 to S-10)."""
    found = []
    seen: dict[str, Path | None] = {}
    for file in files:
        parts = file.path.split("/")
        if any(
            not part or part.startswith(".") or any(c.isspace() or not c.isprintable() for c in part)
            for part in parts
        ) or _CACHES.intersection(parts):
            found.append(f"{file.path}: hidden names, blanks and caches are not allowed in a tree")
        if file.path in seen:
            found.append(f"{file.path}: two files want this place ({seen[file.path]}, {file.source})")
        seen[file.path] = file.source
        if file.source is not None:
            found += _unfit_source(file, file.source)
    return found


def _unfit_source(file: TreeFile, source: Path) -> Iterator[str]:
    try:
        status = source.stat()
    except OSError as error:
        yield f"{file.path}: {source} cannot be read: {error.strerror or error}"
        return
    if not stat.S_ISREG(status.st_mode):
        yield f"{file.path}: {source} is no plain file"
    elif status.st_size > LARGEST_FILE and not file.path.endswith(ACCURACY_LOG):
        yield f"{file.path}: {source} is larger than 50 MiB, which the official checker refuses"
