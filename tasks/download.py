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
from mlperf_submission.errors import SettingError
from mlperf_submission.fetch.sources import fetch_all
from mlperf_submission.files import files_below, write_atomic
from mlperf_submission.steps.cache import StepRecord
from models import jobs
from models.benchmark import Edition, LicensedFolder, Source
from tasks.step import Recorder, Step, perform, step_task
from tasks.versions import benchmark_code
from tasks.workspace import Workspace

What = Literal["network", "data"]
DOWNLOADS: tuple[What, ...] = ("network", "data")


def download_step(benchmark: str, edition: Edition, what: What) -> Step:
    """Return what goes into a download: the digests, not the addresses, which may be mirrors.

    Of a person's own sources the addresses too, and of a folder what is in it.
    """
    return Step(
        name="download",
        label=f"{benchmark} {edition.name} {what}",
        inputs={
            source.name: {"digest": source.digest, "unpack": source.unpack, **_own(source)}
            for source in _of(edition, what)
        },
    )


@step_task("download", shown="{benchmark} {what}", retries=4)
def download(
    workspace: Workspace, benchmark: str, edition: Edition, what: What, limit_seconds: float
) -> StepRecord:
    """Fetch the network or the data of an edition: several files at once, resumed after a break.

    Files: each source under its name, or its unpacked folder. A retry goes on from what is on the disk.

    Raises:
        UnreachableError: a server did not answer or broke off (tried again by Prefect).
        SourceError: a source is missing, or its content is not what its owner published.
    """
    sources = _of(edition, what)
    parts = workspace.downloads / benchmark / edition.name

    def produce(folder: Path, recorder: Recorder) -> dict[str, JsonValue]:
        return _fetch(sources, parts, folder, time.monotonic() + limit_seconds, recorder)

    return perform(workspace, download_step(benchmark, edition, what), produce, prepares=True)


def licensed_folder(licensed: LicensedFolder, given: Mapping[str, Path]) -> Path:
    """Return the folder that a person named for data behind a licence.

    Raises:
        SettingError: the system file names none, or it is not there.
    """
    folder = given.get(licensed.key)
    if folder is None:
        raise SettingError(
            f"the data {licensed.key!r} is behind a licence and has to be brought",
            remedy=f"fetch {licensed.title}; then write its folder into the system file: "
            f"licensed_data: {{{licensed.key}: /path/to/it}}",
        )
    if not folder.is_dir():
        raise SettingError(
            f"there is no folder {folder}", where=f"licensed_data.{licensed.key}", remedy="correct the path"
        )
    return folder


def verify_step(benchmark: str, edition: Edition, folder: Path) -> Step:
    """Return what goes into the verification of a person's folder: its files' names, sizes and times."""
    return Step(
        name="verify_data",
        label=f"{benchmark} {edition.name}",
        inputs={
            "folder": str(folder),
            "listing": _listing(folder),
            "samples": edition.sample_count,
            "code_version": benchmark_code(benchmark, ("data",)),
        },
    )


@step_task("verify data", shown="{benchmark}")
def verify_data(
    workspace: Workspace, benchmark: str, edition: Edition, folder: Path, dataset: Path, limit_seconds: float
) -> StepRecord:
    """Check a person's own data file by file against the official list; the figures say what was found.

    Raises:
        SourceError: files are missing, damaged or misnamed; all of them are counted, the first are named.
    """

    def produce(place: Path, recorder: Recorder) -> dict[str, JsonValue]:
        figures = jobs.verify_dataset(
            benchmark, dataset, edition=edition, timeout_seconds=limit_seconds, on_progress=recorder
        )
        write_atomic(place / "verified.json", json.dumps(figures, indent=1, sort_keys=True))
        return figures

    return perform(workspace, verify_step(benchmark, edition, folder), produce, prepares=True)


def assemble_dataset(
    workspace: Workspace, benchmark: str, data: StepRecord, licensed: str, folder: Path
) -> Path:
    """Return a folder in which downloaded data and a person's own folder (`licensed`) lie as links."""
    place = workspace.root / "datasets" / f"{benchmark}-{data.key[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    for name, target in {**{path.name: path for path in data.folder.iterdir()}, licensed: folder}.items():
        link = place / name
        if link.is_symlink() and link.readlink() == target:
            continue
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return place


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
    folder = Path(source.own)
    listing = {"listing": _listing(folder)} if folder.is_dir() else {}
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
