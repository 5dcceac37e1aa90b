"""Download the sources of an edition, each verified; and verify the data that a person brings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from mlperf_submission.addresses import shown
from mlperf_submission.benchmark.facts import Edition, LicensedFolder, Source
from mlperf_submission.errors import SettingError
from mlperf_submission.fetch.sources import fetch_all
from mlperf_submission.files import files_below, write_atomic
from mlperf_submission.steps.cache import StepRecord
from models import jobs
from tasks.engine.pending import PendingError
from tasks.engine.perform import Recorder
from tasks.engine.spec import Act, Done, Step, StepSpec
from tasks.versions import benchmark_code
from tasks.workspace import Workspace

What = Literal["network", "data"]
DOWNLOADS: tuple[What, ...] = ("network", "data")
DOWNLOAD = StepSpec("download", "prepare", ("make_mini",), 0.3, 30.0, retries=4)
ASSEMBLE_DATASET = StepSpec("assemble_dataset", "prepare", ("download",), 0.1, 0.1)
VERIFY_DATA = StepSpec("verify_data", "prepare", ("assemble_dataset",), 300.0, 300.0)


def download(label: str, benchmark: str, edition: Edition, what: What, limit_seconds: float) -> Step:
    """Fetch the network or the data of an edition: several files at once, resumed after a break.

    Files: each source under its name, or its unpacked folder. A retry goes on from what is on the disk.

    Raises:
        UnreachableError: a server did not answer or broke off (tried again by Prefect).
        SourceError: a source is missing, or its content is not what its owner published.
    """

    def inputs() -> dict[str, JsonValue]:
        # the digests, not the addresses, which may be mirrors; of a person's own sources both
        return {
            source.name: {"digest": source.digest, "unpack": source.unpack, **_own(source)}
            for source in _of(edition, what)
        }

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        parts = recorder.workspace.downloads / benchmark / edition.name
        return _fetch(_of(edition, what), parts, folder, time.monotonic() + limit_seconds, recorder)

    return Step(DOWNLOAD, label, inputs, produce)


def require_folder(licensed: LicensedFolder, given: Mapping[str, Path]) -> None:
    """Raise unless a person named a folder for data behind a licence, and it is there.

    Raises:
        SettingError: the system file names none, or it is not there.
    """
    folder = given.get(licensed.key)
    if folder is None:
        raise SettingError(
            f"the data {licensed.key!r} is behind a licence and has to be brought",
            remedy=f"fetch {licensed.title}; then write its folder into the system file: "
            f"licensed_data: {{{licensed.key}: /path/to/it}}",
            code="licensed-data",
        )
    if not folder.is_dir():
        raise SettingError(
            f"there is no folder {folder}",
            where=f"licensed_data.{licensed.key}",
            remedy="correct the path",
            code="licensed-data",
        )


def assemble_dataset(
    label: str, benchmark: str, data: StepRecord, licensed: LicensedFolder, given: Mapping[str, Path]
) -> Act[Path]:
    """Hand on a folder in which downloaded data and the folder that a person named lie as links.

    Raises:
        SettingError: see `require_folder`.
    """

    def links(workspace: Workspace) -> dict[Path, Path]:
        place = workspace.root / "datasets" / f"{benchmark}-{data.key[:12]}"
        targets = {path.name: path for path in data.folder.iterdir()}
        if licensed.key in given:
            targets[licensed.key] = given[licensed.key]
        return {place / name: target for name, target in targets.items()}

    def finished(workspace: Workspace) -> Path | None:
        wanted = links(workspace)
        is_linked = all(link.is_symlink() and link.readlink() == to for link, to in wanted.items())
        return next(iter(wanted)).parent if is_linked else None

    def do(recorder: Recorder) -> Done[Path]:
        require_folder(licensed, given)
        if place := finished(recorder.workspace):
            return Done(place, "found linked", found=True)
        for link, target in links(recorder.workspace).items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        return Done(link.parent, f"linked in {link.parent}")

    return Act(ASSEMBLE_DATASET, label, do, finished)


def verify_data(
    label: str, benchmark: str, edition: Edition, own: Path | None, dataset: Path, limit_seconds: float
) -> Step:
    """Check a person's own data file by file against the official list; the figures say what was found.

    Raises:
        SourceError: files are missing, damaged or misnamed; all of them are counted, the first are named.
    """

    def inputs() -> dict[str, JsonValue]:
        if own is None or not own.is_dir():
            raise PendingError(f"{ASSEMBLE_DATASET.name} {label}")  # which says what a person has to do
        return {
            "folder": str(own),
            "listing": _listing(own),
            "samples": edition.sample_count,
            "code_version": benchmark_code(benchmark, ("data",)),
        }

    def produce(place: Path, recorder: Recorder) -> dict[str, JsonValue]:
        figures = jobs.verify_dataset(
            benchmark, dataset, edition=edition, timeout_seconds=limit_seconds, on_progress=recorder
        )
        write_atomic(place / "verified.json", json.dumps(figures, indent=1, sort_keys=True))
        return figures

    return Step(VERIFY_DATA, label, inputs, produce)


def _listing(folder: Path) -> str:
    """Return a hash of the names, sizes and times of a folder's files."""
    listing = hashlib.sha256()
    for path in files_below(folder):
        status = path.stat()
        listing.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return listing.hexdigest()


def _own(source: Source) -> Mapping[str, JsonValue]:
    if not source.own:
        return {}
    folder = source.own_path
    listing = {"listing": _listing(folder)} if folder and folder.is_dir() else {}
    return {"own": shown(source.own), **listing}


def _of(edition: Edition, what: What) -> Sequence[Source]:
    return edition.networks if what == "network" else edition.data


def _fetch(
    sources: Sequence[Source], parts: Path, folder: Path, deadline: float, recorder: Recorder
) -> dict[str, JsonValue]:
    there: dict[str, int] = {}
    total = sum(source.size or 0 for source in sources)

    def on_bytes(name: str, arrived: int, size: int | None) -> None:
        there[name] = arrived
        recorder(sum(there.values()) / max(total, size or 1))

    parts.mkdir(parents=True, exist_ok=True)
    fetched = fetch_all(sources, folder, parts=parts, deadline=deadline, on_progress=on_bytes)
    return {
        one.name: {"url": one.url, "bytes": one.size, "digest": one.digest, "resumed_from": one.resumed_from}
        for one in fetched
    }
