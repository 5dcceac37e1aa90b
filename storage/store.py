"""The S3 store: runs go in once and whole, and come out verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from common.errors import SourceError, StoreError
from common.files import sha256_of
from storage.bucket import Bucket
from storage.catalogue import Catalogue, latest_key, manifest_key
from storage.hashing import Differences
from storage.manifest import Latest, MadeBy, Manifest, ManifestFile, RunAddress, RunInfo, newer, object_key
from storage.parallel import ByteCounter, in_parallel
from storage.restore import Restored, compare_folder, restore_run
from storage.s3 import Credentials
from storage.transfer import Limits

__all__ = [
    "MadeBy",
    "Manifest",
    "Restored",
    "RunAddress",
    "RunFile",
    "RunInfo",
    "Store",
    "Uploaded",
    "verify_folder",
]

_WORKERS = 8

OnBytes = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes of all; from several threads."""


def ignore_bytes(_done: int, _total: int) -> None:
    """Take progress and do nothing with it."""


@dataclass(frozen=True)
class RunFile:
    """A file that is to become part of a run: its path in the run, where it lies now, and what made it."""

    path: str
    source: Path
    made_by: MadeBy | None = None


@dataclass(frozen=True)
class Uploaded:
    """A run that is in the store.

    Attributes:
        manifest: of the run; the earlier one if the same run was there already.
        address: `s3://…` of the run's manifest.
        sent_objects: how many objects were uploaded this time.
        sent_bytes: their size.
        reused_objects: how many were there already.
    """

    manifest: Manifest
    address: str
    sent_objects: int = 0
    sent_bytes: int = 0
    reused_objects: int = 0


def verify_folder(manifest: Manifest, folder: Path, *, only: Sequence[str] | None = None) -> Differences:
    """Compare a folder with a run's manifest: every missing, changed and extra file.

    Args:
        manifest: of the run.
        folder: where it was restored to.
        only: the paths that were restored (files or folders); None for all.
    """
    return compare_folder(manifest, folder, only)


class Store:
    """A bucket that holds runs, under a prefix.

    Layout: `objects/sha256/<2>/<64>` holds content under its hash; `runs/<system>/<run>/manifest.json` names
    a run's files and is written last; `runs/<system>/latest` points to the newest. Rehearsals lie in the same
    way under `rehearsals/`. A manifest is never changed. Every method that talks to the server raises
    UnreachableError (a retry can help) or StoreError (a wrong key, no bucket).
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        credentials: Credentials | None = None,
        workers: int = _WORKERS,
    ) -> None:
        self._bucket = Bucket(
            bucket, prefix, endpoint_url=endpoint_url, credentials=credentials, connections=6 * workers
        )
        self._catalogue = Catalogue(self._bucket)
        self._workers = workers

    @property
    def address(self) -> str:
        """The store's `s3://` address."""
        return self._bucket.address()

    def require_bucket(self) -> None:
        """Raise unless the server answers, takes the key and has the bucket."""
        self._bucket.require()

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

        Content that the store has already is verified instead of sent again. The same run with the same
        content is a no-op, so a call that broke off is simply made again.

        Args:
            info: what the run is; a rehearsal goes where rehearsals go.
            files: its files.
            deadline: on `time.monotonic`'s clock, in seconds.
            on_progress: called while objects are sent.

        Raises:
            SourceError: a file is missing, or its path would leave the run's folder.
            StoreError: a run of this name with another content exists; or the server stored something else.
            StepTimeoutError: the deadline passed.
        """
        self._bucket.require()
        limits = Limits(deadline)
        manifest = self._describe(info, files, limits)
        address = self._bucket.address(manifest_key(manifest.address))
        earlier = self._catalogue.read(manifest.address)
        if earlier is not None:
            self._require_same(earlier, manifest)
            self._point_to(earlier)
            return Uploaded(earlier, address, reused_objects=len({file.sha256 for file in earlier.files}))
        sources = {file.sha256: run_file.source for file, run_file in zip(manifest.files, files, strict=True)}
        sizes = {file.sha256: file.size for file in manifest.files}
        sent = self._send(sources, sizes, limits, on_progress)
        self._bucket.write(manifest_key(manifest.address), manifest.model_dump_json(indent=1).encode())
        # Without conditional writes two uploads of one name can cross: the one whose manifest stayed has won.
        stored = self._catalogue.read(manifest.address)
        if stored is None:
            raise StoreError("the manifest is gone after it was written", where=address, remedy="start again")
        self._require_same(stored, manifest)
        self._point_to(manifest)
        sent_bytes = sum(sizes[sha256] for sha256 in sent)
        return Uploaded(manifest, address, len(sent), sent_bytes, len(sources) - len(sent))

    def _describe(self, info: RunInfo, files: Sequence[RunFile], limits: Limits) -> Manifest:
        def describe(file: RunFile) -> ManifestFile:
            limits.check()
            if not file.source.is_file():
                raise SourceError(
                    "a file of the run is missing", where=file.source, remedy="make the run's files anew"
                )
            return ManifestFile(
                path=file.path,
                size=file.source.stat().st_size,
                sha256=sha256_of(file.source),
                made_by=file.made_by,
            )

        try:
            entries = in_parallel(describe, files, workers=self._workers, limits=limits)
            return Manifest(**info.model_dump(), files=tuple(entries))
        except ValidationError as error:
            problems = "; ".join(item["msg"] for item in error.errors())
            raise SourceError(
                f"the run cannot be described: {problems}",
                where=f"{info.system}/{info.run}",
                remedy="give each file a relative path of its own, without '..'",
            ) from error

    def _send(
        self,
        sources: dict[str, Path],
        sizes: dict[str, int],
        limits: Limits,
        on_progress: OnBytes,
    ) -> list[str]:
        """Upload what the store lacks; return the hashes of what was sent."""
        done = ByteCounter(sum(sizes.values()), on_progress)

        def send(sha256: str) -> bool:
            limits.check()
            key = object_key(sha256)
            if self._bucket.size_of(key) == sizes[sha256] and self._bucket.hash_of(key, limits) == sha256:
                done(sizes[sha256])
                return False
            self._bucket.upload(sources[sha256], key, sha256, limits, done)
            return True

        hashes = sorted(sources, key=lambda sha256: -sizes[sha256])
        sent = in_parallel(send, hashes, workers=self._workers, limits=limits)
        return [sha256 for sha256, was_sent in zip(hashes, sent, strict=True) if was_sent]

    def _require_same(self, stored: Manifest, manifest: Manifest) -> None:
        if stored.content_hash != manifest.content_hash:
            raise StoreError(
                f"a run named {manifest.run!r} with another content is in the store already",
                where=self._bucket.address(manifest_key(manifest.address)),
                remedy="stored runs are never changed: give this one another name",
            )

    def _point_to(self, manifest: Manifest) -> None:
        if newer(manifest.created, self._catalogue.latest(manifest.system, manifest.rehearsal)):
            digest = hashlib.sha256(manifest.model_dump_json(indent=1).encode()).hexdigest()
            pointer = Latest(run=manifest.run, created=manifest.created, manifest_sha256=digest)
            key = latest_key(manifest.system, manifest.rehearsal)
            self._bucket.write(key, pointer.model_dump_json(indent=1).encode())

    # Out of the store

    def list_runs(self) -> list[Manifest]:
        """Return the manifests of all complete runs, official ones first, each kind newest first."""
        return self._catalogue.runs()

    def manifest(self, run: str) -> Manifest:
        """Return the manifest of a run; see `storage.catalogue.Catalogue.find` for how it may be named."""
        return self._catalogue.find(run)

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
        """Restore a run into a folder and verify every file; see `storage.restore.restore_run`.

        Args:
            run: as for `manifest`.
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
        return restore_run(
            self._bucket,
            self.manifest(run),
            to,
            only=only,
            dry_run=dry_run,
            workers=self._workers,
            limits=Limits(deadline),
            on_progress=on_progress,
        )
