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
from storage.manifest import (
    Area,
    Latest,
    MadeBy,
    Manifest,
    ManifestFile,
    RunAddress,
    RunInfo,
    StoredRun,
    newer,
    object_key,
)
from storage.parallel import ByteCounter, in_parallel
from storage.restore import Restored, compare_folder, restore_run
from storage.s3 import Credentials
from storage.transfer import Limits

__all__ = [
    "Area",
    "MadeBy",
    "Manifest",
    "Restored",
    "RunAddress",
    "RunFile",
    "RunInfo",
    "Store",
    "StoredRun",
    "Uploaded",
    "verify_folder",
]

_WORKERS = 8
_NAMED_AT_MOST = 10

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

    Layout: `objects/sha256/<2>/<64>` holds content under its hash; `candidates/<system>/<run>/manifest.json`
    names a run's files and is written last; `candidates/<system>/latest` points to the newest. Publishing
    writes the same manifest under `runs/`. Rehearsals lie in the same way under `rehearsals/`. A manifest is
    never changed. Every method that talks to the server raises UnreachableError (a retry can help) or
    StoreError (a wrong key, no bucket).
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
            info: what the run is; a rehearsal goes to the rehearsals, a submission to the candidates.
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
        place = manifest.uploaded_to
        address = self._bucket.address(manifest_key(place))
        earlier = self._catalogue.read(place)
        if earlier is not None:
            self._require_same(place, earlier, manifest)
            self._point_to(place, earlier)
            return Uploaded(earlier, address, reused_objects=len({file.sha256 for file in earlier.files}))
        sources = {file.sha256: run_file.source for file, run_file in zip(manifest.files, files, strict=True)}
        sizes = {file.sha256: file.size for file in manifest.files}
        sent = self._send(sources, sizes, limits, on_progress)
        self._complete(place, manifest, manifest.model_dump_json(indent=1).encode())
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

    def publish(self, system: str, run: str) -> str:
        """Publish a candidate: the same manifest under `runs/`, then the pointer to it. No file is copied.

        A run that is published already is left alone, so a call that broke off is simply made again.

        Args:
            system: the system's name.
            run: the run's name.

        Returns:
            `s3://…` of the published run.

        Raises:
            StoreError: there is no such candidate, it is a rehearsal, objects of it are missing, or another
                run of this name was published before.
        """
        address = RunAddress.model_construct(area=Area.RUNS, system=system, run=run)
        candidate = self._candidate(system, run)
        self._require_objects(candidate)
        earlier = self._catalogue.read(address)
        if earlier is None:
            content = self._bucket.read(manifest_key(candidate.address))
            self._complete(address, candidate.manifest, content or b"")
        else:
            self._require_same(address, earlier, candidate.manifest)
            self._point_to(address, earlier)
        return self._bucket.address(str(address))

    def _candidate(self, system: str, run: str) -> StoredRun:
        try:
            return self._catalogue.find(f"{Area.CANDIDATES}/{system}/{run}")
        except StoreError as error:
            rehearsals = [stored.manifest for stored in self.list_runs() if stored.manifest.rehearsal]
            if any((manifest.system, manifest.run) == (system, run) for manifest in rehearsals):
                raise StoreError(
                    f"{system}/{run} is a rehearsal, which is never published",
                    where=self._bucket.address(),
                    remedy="run the system with its full edition; a rehearsal is fetched from where it is",
                ) from error
            raise

    def _require_objects(self, stored: StoredRun) -> None:
        """Raise unless every object of a run is there in its size; what it holds was hashed when written."""

        def problem(file: ManifestFile) -> str | None:
            found = self._bucket.size_of(object_key(file.sha256))
            if found is None:
                return f"{file.path}: missing"
            return f"{file.path}: {found} bytes instead of {file.size}" if found != file.size else None

        files = {file.sha256: file for file in stored.manifest.files}.values()
        found = in_parallel(problem, files, workers=self._workers, limits=Limits())
        problems = sorted(filter(None, found))
        if problems:
            raise StoreError(
                f"{len(problems)} objects of the run are not in the store: "
                + "; ".join(problems[:_NAMED_AT_MOST]),
                where=self._bucket.address(str(stored.address)),
                remedy="upload the run again from the machine that made it, then publish it",
            )

    def _complete(self, address: RunAddress, manifest: Manifest, content: bytes) -> None:
        """Write the manifest that completes a run at this address, then the pointer to it."""
        self._bucket.write_new(manifest_key(address), content)
        # Where conditional writes are ignored two uploads of one name can cross: what stayed has won.
        stored = self._catalogue.read(address)
        if stored is None:
            raise StoreError(
                "the manifest is gone after it was written",
                where=self._bucket.address(manifest_key(address)),
                remedy="start again",
            )
        self._require_same(address, stored, manifest)
        self._point_to(address, stored)

    def _require_same(self, address: RunAddress, stored: Manifest, manifest: Manifest) -> None:
        if stored.content_hash != manifest.content_hash:
            raise StoreError(
                f"a run named {manifest.run!r} with another content is in the store already",
                where=self._bucket.address(manifest_key(address)),
                remedy="stored runs are never changed: give this one another name",
            )

    def _point_to(self, address: RunAddress, manifest: Manifest) -> None:
        if newer(manifest.created, self._catalogue.latest(address.area, address.system)):
            digest = hashlib.sha256(manifest.model_dump_json(indent=1).encode()).hexdigest()
            pointer = Latest(run=manifest.run, created=manifest.created, manifest_sha256=digest)
            key = latest_key(address.area, address.system)
            self._bucket.write(key, pointer.model_dump_json(indent=1).encode())

    # Out of the store

    def list_runs(self) -> list[StoredRun]:
        """Return all complete runs: published ones, candidates, rehearsals, each kind newest first."""
        return self._catalogue.runs()

    def find(self, run: str) -> StoredRun:
        """Return a run; see `storage.catalogue.Catalogue.find` for how it may be named."""
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
        """Restore a run into a folder and verify every file; see `storage.restore.restore_run`.

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
        return restore_run(
            self._bucket,
            self.find(run),
            to,
            only=only,
            dry_run=dry_run,
            workers=self._workers,
            limits=Limits(deadline),
            on_progress=on_progress,
        )
