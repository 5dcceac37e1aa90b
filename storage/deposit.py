"""Runs into the store: objects first, each verified, then the manifest, then the pointer to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from common.errors import SourceError, StoreError
from common.files import sha256_of
from storage.bucket import Bucket, StoredObject
from storage.catalogue import Catalogue, latest_key, manifest_key, removed_key
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
from storage.transfer import Limits

_NOTE = "store.json"
_NOTE_TEXT = b'{"layout": 1, "see": "docs/store.md"}'
_NAMED_AT_MOST = 10
REUSE_AGE = timedelta(hours=12)
"""An object that no run names is sent again when it is older: the collection may be about to delete it."""

OnBytes = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes of all; from several threads."""


def ignore_bytes(_done: int, _total: int) -> None:
    """Take progress and do nothing with it."""


@dataclass(frozen=True)
class RunFile:
    """A file that is to become part of a run.

    Attributes:
        path: its path in the run.
        source: where it lies now.
        made_by: the step that made it.
        retain_until: its content stays in the store until then, even if the run is removed.
    """

    path: str
    source: Path
    made_by: MadeBy | None = None
    retain_until: datetime | None = None


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


class Deposit:
    """Puts runs into a bucket, publishes them and takes them away again; see `storage.store.Store`."""

    def __init__(self, bucket: Bucket, catalogue: Catalogue, workers: int) -> None:
        self._bucket = bucket
        self._catalogue = catalogue
        self._workers = workers

    def upload(
        self, info: RunInfo, files: Sequence[RunFile], limits: Limits, on_progress: OnBytes
    ) -> Uploaded:
        """Upload a run; see `storage.store.Store.upload_run`."""
        self._bucket.require()
        manifest = self._describe(info, files, limits)
        place = manifest.uploaded_to
        address = self._bucket.address(manifest_key(place))
        earlier = self._catalogue.read(place)
        if earlier is not None:
            self._require_same(place, earlier, manifest)
            self._point_to(place, earlier)
            return Uploaded(earlier, address, reused_objects=len({file.sha256 for file in earlier.files}))
        self.require_writable()
        sources = {file.sha256: run_file.source for file, run_file in zip(manifest.files, files, strict=True)}
        sizes = {file.sha256: file.size for file in manifest.files}
        sent = self._send(sources, sizes, limits, on_progress)
        self._complete(place, manifest, manifest.model_dump_json(indent=1).encode())
        sent_bytes = sum(sizes[sha256] for sha256 in sent)
        return Uploaded(manifest, address, len(sent), sent_bytes, len(sources) - len(sent))

    def require_writable(self) -> None:
        """Raise unless objects can be written, encrypted as asked, by writing the store's own small note."""
        self._bucket.require()
        self._bucket.write(_NOTE, _NOTE_TEXT)

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
                retain_until=file.retain_until,
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
        hashes = sorted(sources, key=lambda sha256: -sizes[sha256])
        reusable = self._reusable(sizes, limits)

        def send(sha256: str) -> bool:
            limits.check()
            key = object_key(sha256)
            if sha256 in reusable and self._bucket.hash_of(key, limits) == sha256:
                done(sizes[sha256])
                return False
            self._bucket.upload(sources[sha256], key, sha256, limits, done)
            return True

        sent = in_parallel(send, hashes, workers=self._workers, limits=limits)
        return [sha256 for sha256, was_sent in zip(hashes, sent, strict=True) if was_sent]

    def _reusable(self, sizes: dict[str, int], limits: Limits) -> set[str]:
        """Return the hashes whose objects are there, and stay there until this run has its manifest."""
        young = datetime.now(UTC) - REUSE_AGE

        def look_at(sha256: str) -> StoredObject | None:
            limits.check()
            found = self._bucket.look_at(object_key(sha256))
            return found if found and found.size == sizes[sha256] else None

        found = in_parallel(look_at, sizes, workers=self._workers, limits=limits)
        there = {sha256: item for sha256, item in zip(sizes, found, strict=True) if item is not None}
        if all(item.modified > young for item in there.values()):
            return set(there)
        named = {file.sha256 for run in self._catalogue.runs() for file in run.manifest.files}
        return {sha256 for sha256, item in there.items() if item.modified > young or sha256 in named}

    def publish(self, system: str, run: str) -> str:
        """Publish a candidate; see `storage.store.Store.publish`."""
        candidate = self._candidate(system, run)
        if lacks := candidate.manifest.lacks:
            raise StoreError(
                f"{system}/{run} lacks {', '.join(lacks)}, and an incomplete run is not published",
                where=self._bucket.address(str(candidate.address)),
                remedy="measure what is missing by the same mlperf-submission run, or take results out with "
                "--without: that makes a complete run of the others",
            )
        address = candidate.address.model_copy(update={"area": Area.RUNS})
        self._require_objects(candidate)
        earlier = self._catalogue.read(address)
        if earlier is None:
            content = self._bucket.read(manifest_key(candidate.address))
            self._complete(address, candidate.manifest, content or b"")
        else:
            self._require_same(address, earlier, candidate.manifest)
            self._point_to(address, earlier)
        return self._bucket.address(str(address))

    def remove(self, run: str) -> RunAddress:
        """Remove a candidate or a rehearsal; see `storage.store.Store.remove`."""
        stored = self._catalogue.find(run)
        address = stored.address
        if address.area is Area.RUNS:
            raise StoreError(
                f"{address} is published, and published runs are never removed",
                where=self._bucket.address(str(address)),
                remedy="its candidate may be removed: name it with candidates/ before it",
            )
        content = self._bucket.read(manifest_key(address))
        if content is not None:
            self._bucket.write(removed_key(address), content)
            self._bucket.remove(manifest_key(address))
        self._point_to_newest(address)
        return address

    def _point_to_newest(self, removed: RunAddress) -> None:
        """Let the pointer no longer mean a run that is removed."""
        latest = self._catalogue.latest(removed.area, removed.system)
        if latest is None or latest.run != removed.run:
            return
        self._bucket.remove(latest_key(removed.area, removed.system))
        left = [one for one in self._catalogue.runs() if one.address.area is removed.area]
        newest = next((one for one in left if one.address.system == removed.system), None)
        if newest:
            self._point_to(newest.address, newest.manifest)

    def _candidate(self, system: str, run: str) -> StoredRun:
        try:
            return self._catalogue.find(f"{Area.CANDIDATES}/{system}/{run}")
        except StoreError as error:
            rehearsal = (Area.REHEARSALS, system, run)
            found = [stored.address for stored in self._catalogue.runs()]
            if rehearsal in [(address.area, address.system, address.run) for address in found]:
                raise StoreError(
                    f"{system}/{run} is a rehearsal, which is never published",
                    where=self._bucket.address(),
                    remedy="run the system with its full edition; a rehearsal is fetched from where it is",
                ) from error
            raise

    def _require_objects(self, stored: StoredRun) -> None:
        """Raise unless every object of a run is there in its size; what it holds was hashed when written."""

        def problem(file: ManifestFile) -> str | None:
            found = self._bucket.look_at(object_key(file.sha256))
            if found is None:
                return f"{file.path}: missing"
            wrong = found.size != file.size
            return f"{file.path}: {found.size} bytes instead of {file.size}" if wrong else None

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
        # Where conditional writes are ignored two uploads of one name can still cross between these lines.
        if self._catalogue.read(address) is None:
            self._bucket.write(manifest_key(address), content, only_new=True)
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
