"""The S3 store: runs go in once and whole, and come out verified."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from mlperf_submission.deadline import Limits, limited
from mlperf_submission.errors import StoreError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.catalogue import Catalogue, Listing, trend_key
from mlperf_submission.store.collect import Garbage, collect_garbage
from mlperf_submission.store.deposit import Deposit, OnBytes, RunFile, Uploaded, ignore_bytes
from mlperf_submission.store.manifest import (
    Area,
    GpuUse,
    MadeBy,
    Manifest,
    RunAddress,
    RunInfo,
    StoredRun,
    object_key,
)
from mlperf_submission.store.restore import Restored, restore_run
from mlperf_submission.store.s3 import Credentials, Encryption

__all__ = [
    "Area",
    "Encryption",
    "Garbage",
    "GpuUse",
    "Listing",
    "MadeBy",
    "Manifest",
    "OnBytes",
    "Restored",
    "RunAddress",
    "RunFile",
    "RunInfo",
    "Store",
    "StoredRun",
    "Uploaded",
    "ignore_bytes",
]

_WORKERS = 8
_HTML = "text/html; charset=utf-8"


class Store:
    """A bucket that holds runs, under a prefix.

    Layout: `objects/sha256/<2>/<64>` holds content under its hash, small contents in bundles;
    `candidates/<system>/<run>/manifest.json` names a run's files and is written last;
    `candidates/<system>/latest` points to the newest. Publishing writes the same manifest under `runs/`.
    Rehearsals lie in the same way under `rehearsals/`. A manifest is never changed. Every method that talks
    to the server raises UnreachableError (a retry can help) or StoreError (a wrong key, no bucket).
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        credentials: Credentials | None = None,
        region: str | None = None,
        encryption: Encryption | None = None,
        isolated: bool = False,
        workers: int = _WORKERS,
    ) -> None:
        self._bucket = Bucket(
            bucket,
            prefix,
            endpoint_url=endpoint_url,
            credentials=credentials,
            region=region,
            encryption=encryption,
            isolated=isolated,
            connections=6 * workers,
        )
        self._catalogue = Catalogue(self._bucket)
        self._deposit = Deposit(self._bucket, self._catalogue, workers)
        self._workers = workers
        self._isolated = isolated

    @property
    def address(self) -> str:
        """The store's `s3://` address."""
        return self._bucket.address()

    def require_writable(self) -> None:
        """Raise unless objects can be written, encrypted as asked, by writing the store's own small note."""
        self._bucket.require_writable()

    def ensure_bucket(self) -> None:
        """Create the bucket if it is not there; meant for the embedded server."""
        self._bucket.ensure()

    # Into the store

    def upload_run(
        self,
        info: RunInfo,
        files: Sequence[RunFile],
        *,
        deadline: float | None = None,
        on_progress: OnBytes = ignore_bytes,
    ) -> Uploaded:
        """Upload a run: objects in parallel, each verified, then the manifest, then the pointer to it.

        Content that the store has already, whole, is not sent again. Every call looks at all objects and
        sends what is missing or changed, also those of a run that is there: it goes on, and it mends.

        Args:
            info: what the run is; a rehearsal goes to the rehearsals, a submission to the candidates.
            files: its files.
            deadline: on `time.monotonic`'s clock, in seconds.
            on_progress: called while objects are sent.

        Raises:
            SourceError: a file is missing, or its path would leave the run's folder.
            StoreError: a run of this name with another content exists; or the server stored something else.
            UnreachableError: the store is being collected.
            StepTimeoutError: the deadline passed.
        """
        limits = Limits(deadline)
        return limited(limits, lambda: self._deposit.upload(info, files, limits, on_progress))

    def publish(self, system: str, run: str, parts: Sequence[str] = ()) -> str:
        """Publish a candidate: the same manifest under `runs/`, then the pointer to it. No file is copied.

        A run that is published already is left alone, so a call that broke off is simply made again.

        Args:
            system: the system's name.
            run: the run's name.
            parts: folders that the run has to have.

        Returns:
            `s3://…` of the published run.

        Raises:
            StoreError: there is no such candidate, it is a rehearsal or no whole submission, objects of it
                are missing or changed, or another run of this name was published before.
        """
        return self._deposit.publish(system, run, parts)

    def remove(self, run: str) -> RunAddress:
        """Remove a candidate or a rehearsal from the runs; its content goes with a later `collect`.

        The manifest is kept under `removed/` until the last retention date of its files has passed.

        Args:
            run: as for `find`.

        Returns:
            Where it lay.

        Raises:
            StoreError: there is no such run, or it is published.
        """
        return self._deposit.remove(run)

    def collect(self, *, older_than: timedelta, delete: bool = False, now: datetime | None = None) -> Garbage:
        """Find what no run needs, and delete it if asked to; see `collect_garbage`."""
        return collect_garbage(
            self._bucket,
            self._catalogue,
            older_than=older_than,
            delete=delete,
            workers=self._workers,
            now=now,
        )

    def keep_receipt(self, name: str, text: str) -> None:
        """Keep what was handed in under `receipts/<name>.json`; no collection removes it.

        Args:
            name: with the SHA-256 of what was handed in, so that it is the same for the same archive.
            text: JSON.
        """
        self._bucket.write(f"receipts/{name}.json", text.encode())

    # Out of the store

    def link(self, run: str, path: str, hours: int) -> str | None:
        """Return an http(s) address that opens a page of a run in a browser, for a time; it is a secret.

        Whoever has it can read this one file, without a key. With a key that is lent for a time (a role), it
        ends with the key.

        Args:
            run: as for `find`.
            path: of an HTML file in the run.
            hours: how long it holds, at most 168, a week.

        Returns:
            None if the server is one of our own, which ends with this process.

        Raises:
            StoreError: there is no such run, or no such file in it.
        """
        found = self.find(run).manifest
        pages = (file for file in found.files if file.path == path and file.bundle is None)
        key = next((object_key(file.sha256) for file in pages), None)
        if key is None:
            raise StoreError(
                f"the run {found.run} has no {path}",
                where=self.address,
                remedy="fetch the run and look at what it has",
                code="stored-run",
            )
        return self._link(key, hours)

    def keep_trend(self, area: Area, system: str, page: str, hours: int) -> str | None:
        """Keep the page of a system over time, beside the pointer to its newest run; the one before goes.

        Args:
            area: of the runs that it is made from.
            system: the system's name.
            page: HTML.
            hours: how long the link holds, as for `link`; 0: none is made.

        Returns:
            A link to it; None as for `link`.
        """
        key = trend_key(area, system)
        self._bucket.write(key, page.encode(), content_type=_HTML)
        return self._link(key, hours) if hours else None

    def _link(self, key: str, hours: int) -> str | None:
        return None if self._isolated else self._bucket.link(key, 3600 * hours, _HTML)

    def list_runs(self) -> list[StoredRun]:
        """Return all complete runs: published ones, candidates, rehearsals, each kind newest first."""
        return list(self._catalogue.runs().runs)

    def listing(self) -> Listing:
        """Return all complete runs, and what lies in the place of a run and is none."""
        return self._catalogue.runs()

    def find(self, run: str) -> StoredRun:
        """Return a run; see `mlperf_submission.store.catalogue.Catalogue.find` for how it may be named."""
        return self._catalogue.find(run)

    def manifest(self, run: str) -> Manifest:
        """Return the manifest of a run, named as for `find`."""
        return self.find(run).manifest

    def fetch_run(
        self,
        run: str,
        to: Path,
        *,
        only: Sequence[str] | None = None,
        dry_run: bool = False,
        deadline: float | None = None,
        on_progress: OnBytes = ignore_bytes,
    ) -> Restored:
        """Restore a run into a folder and verify every file; see `restore_run`.

        Args:
            run: as for `find`.
            to: made if it is missing. Files that are there already with the right content are kept.
            only: paths (files or folders) of the run to restore; None for all.
            dry_run: only say what would be fetched.
            deadline: on `time.monotonic`'s clock, in seconds.
            on_progress: called while files arrive.

        Raises:
            StoreError: files are missing or tampered with in the store, or the folder holds other or changed
                files: all are named in one error, and nothing that was there is overwritten.
            DiskFullError, StepTimeoutError: as their names say.
        """
        limits = Limits(deadline)
        return limited(
            limits,
            lambda: restore_run(
                self._bucket,
                self.find(run),
                to,
                only=only,
                dry_run=dry_run,
                workers=self._workers,
                limits=limits,
                on_progress=on_progress,
            ),
        )
