"""Bring a run back out of S3, whole or in part, every file verified."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.store.store import OnBytes, Restored, Store, ignore_bytes
from tasks.engine.perform import Recorder
from tasks.engine.spec import Act, Done, StepSpec
from tasks.upload import STORE_RETRIES

RETRIEVE = StepSpec("retrieve", "deliver", retries=STORE_RETRIES)
_LEVELS = 2


class RetrievedPart(BaseModel):
    """What came (in a dry run: would come) into one folder: its place in the run, files, and bytes."""

    model_config = ConfigDict(frozen=True)
    place: str
    files: int
    size: int


class Retrieved(BaseModel):
    """A run that was brought back, or would be.

    Attributes:
        address: where it lies in the store, as `fetch` takes it.
        folder: where its files are.
        parts: what was fetched, by the first folders of its paths.
        files: how many files were fetched.
        size: their bytes.
        kept: how many files were there already, whole.
        dry_run: whether nothing was done.
    """

    model_config = ConfigDict(frozen=True)
    address: str
    folder: Path
    parts: list[RetrievedPart]
    files: int
    size: int
    kept: int
    dry_run: bool

    def summary(self) -> str:
        """Return one line for a person."""
        what = f"{self.files} files ({self.size / 1e6:.1f} MB)"
        if self.dry_run:
            return f"{self.address}: {what} would be fetched into {self.folder}, {self.kept} are there"
        return f"{self.address}: {what} fetched, {self.kept} were there, all verified, in {self.folder}"


def bring_back(
    store: Store,
    run: str,
    to: Path,
    only: Sequence[str] | None,
    dry_run: bool,
    *,
    deadline: float | None = None,
    on_progress: OnBytes = ignore_bytes,
) -> Retrieved:
    """Restore a run, see `mlperf_submission.store.store.Store.fetch_run`, and sum up what came."""
    restored = store.fetch_run(
        run, to, only=only, dry_run=dry_run, deadline=deadline, on_progress=on_progress
    )
    return Retrieved(
        address=str(restored.address),
        folder=restored.folder,
        parts=_parts(restored),
        files=len(restored.fetched),
        size=restored.size,
        kept=len(restored.kept),
        dry_run=restored.dry_run,
    )


def retrieve_run(
    store: Store, run: str, to: Path, only: Sequence[str] | None, dry_run: bool, limit_seconds: float
) -> Act[Retrieved]:
    """Restore a run into a folder; files that arrived are kept when it is tried again.

    Raises:
        UnreachableError: the endpoint is down or slow (tried again by Prefect).
        StoreError: there is no such run, or files of it are missing or tampered with; all are named.
    """

    def do(recorder: Recorder) -> Done[Retrieved]:
        retrieved = bring_back(
            store,
            run,
            to,
            only,
            dry_run,
            deadline=time.monotonic() + limit_seconds,
            on_progress=lambda done, total: recorder(done / max(total, 1)),
        )
        return Done(retrieved, retrieved.summary())

    return Act(RETRIEVE, run, do)


def _parts(restored: Restored) -> list[RetrievedPart]:
    sizes = {file.path: file.size for file in restored.manifest.files}
    found = []
    for place, paths in groupby(sorted(restored.fetched, key=_place), key=_place):
        members = list(paths)
        found.append(
            RetrievedPart(place=place, files=len(members), size=sum(sizes[path] for path in members))
        )
    return found


def _place(path: str) -> str:
    folders = path.split("/")[:-1]
    return "/".join(folders[:_LEVELS]) or path
