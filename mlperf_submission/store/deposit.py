"""Runs into the store: objects first, each verified, then the manifest, then the pointer to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from mlperf_submission.deadline import Limits, in_parallel
from mlperf_submission.errors import SourceError, StoreError
from mlperf_submission.files import sha256_of
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.catalogue import Catalogue, latest_key, manifest_key, removed_key
from mlperf_submission.store.manifest import (
    Area,
    DamagedManifestError,
    Latest,
    MadeBy,
    Manifest,
    ManifestFile,
    RunAddress,
    RunInfo,
    StoredRun,
)
from mlperf_submission.store.marks import Marks
from mlperf_submission.store.sending import Sender

_NAMED_AT_MOST = 10

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
        reused_objects: how many were there already, whole.
        mended: what was found damaged and is whole now: paths of files, or the manifest.
    """

    manifest: Manifest
    address: str
    sent_objects: int = 0
    sent_bytes: int = 0
    reused_objects: int = 0
    mended: tuple[str, ...] = ()


class Deposit:
    """Puts runs into a bucket, publishes them and takes them away again; see `Store`."""

    def __init__(self, bucket: Bucket, catalogue: Catalogue, workers: int) -> None:
        self._bucket = bucket
        self._catalogue = catalogue
        self._marks = Marks(bucket)
        self._workers = workers

    def upload(
        self, info: RunInfo, files: Sequence[RunFile], limits: Limits, on_progress: OnBytes
    ) -> Uploaded:
        """Upload a run, or mend what is there of it; see `mlperf_submission.store.store.Store.upload_run`."""
        self._bucket.require()
        manifest = self._describe(info, files, limits)
        place = manifest.uploaded_to
        self._bucket.require_writable()
        with self._marks.uploading(f"upload of {place}", limits):
            mended: list[str] = []
            earlier = self._earlier(place, mended)
            if earlier is not None:
                self._require_same(earlier, manifest)
            sources = {entry.sha256: file.source for entry, file in zip(manifest.files, files, strict=True)}
            if earlier is not None:
                manifest = earlier.manifest
            known = manifest if earlier else self._newest(place)
            sent = Sender(self._bucket, self._workers, limits).send(manifest, sources, known, on_progress)
            damaged = sent.lacked if earlier else sent.damaged
            mended += [file.path for file in manifest.files if file.sha256 in damaged]
            limits.check()
            if earlier is None:
                earlier = self._complete(place, sent.manifest.sealed(), manifest)
            self._point_to(earlier)
        return Uploaded(
            manifest=earlier.manifest,
            address=self._bucket.address(manifest_key(place)),
            sent_objects=sent.objects,
            sent_bytes=sent.size,
            reused_objects=sent.reused,
            mended=tuple(mended),
        )

    def _earlier(self, place: RunAddress, mended: list[str]) -> StoredRun | None:
        """Return the run that is there already; a damaged manifest is none, and is written anew."""
        try:
            return self._catalogue.read(place)
        except DamagedManifestError:
            mended.append("the manifest")
            return None

    def _newest(self, place: RunAddress) -> Manifest | None:
        """Return the manifest of a system's newest run, which has much of what the next one needs."""
        latest = self._catalogue.latest(place.area, place.system)
        if latest is not None:
            with suppress(StoreError):
                stored = self._catalogue.read(place.model_copy(update={"run": latest.run}))
                return stored.manifest if stored else None
        return None

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

    def publish(self, system: str, run: str, parts: Sequence[str]) -> str:
        """Publish a candidate; see `mlperf_submission.store.store.Store.publish`."""
        limits = Limits()
        with self._marks.uploading(f"publication of {system}/{run}", limits):
            candidate = self._candidate(system, run)
            self._require_publishable(candidate, parts, limits)
            address = candidate.address.model_copy(update={"area": Area.RUNS})
            earlier = self._earlier(address, [])
            if earlier is None:
                earlier = self._complete(address, candidate.content, candidate.manifest)
            self._require_same(earlier, candidate.manifest)
            self._point_to(earlier)
        return self._bucket.address(str(address))

    def remove(self, run: str) -> RunAddress:
        """Remove a candidate or a rehearsal; see `mlperf_submission.store.store.Store.remove`."""
        address = self._catalogue.address_of(run)
        if address.area is Area.RUNS:
            raise StoreError(
                f"{address} is published, and published runs are never removed",
                where=self._bucket.address(str(address)),
                remedy="its candidate may be removed: name it with candidates/ before it",
                code="stored-run",
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
        places = ((one.address.area, one.address.system, one) for one in self._catalogue.runs().runs)
        left = (one for area, system, one in places if (area, system) == (removed.area, removed.system))
        newest = next(left, None)
        if newest:
            self._point_to(newest)

    def _candidate(self, system: str, run: str) -> StoredRun:
        try:
            return self._catalogue.find(f"{Area.CANDIDATES}/{system}/{run}")
        except DamagedManifestError:
            raise
        except StoreError as error:
            found = [str(stored.address) for stored in self._catalogue.runs().runs]
            if f"{Area.REHEARSALS}/{system}/{run}" in found:
                raise StoreError(
                    f"{system}/{run} is a rehearsal, which is never published",
                    where=self._bucket.address(),
                    remedy="run the system with its full edition; a rehearsal is fetched from where it is",
                    code="stored-run",
                ) from error
            raise

    def _require_publishable(self, stored: StoredRun, parts: Sequence[str], limits: Limits) -> None:
        """Raise unless a run lacks no result, has these folders, and the store has all of its objects."""
        where = self._bucket.address(str(stored.address))
        if lacks := stored.manifest.lacks:
            name = f"{stored.manifest.system}/{stored.manifest.run}"
            raise StoreError(
                f"{name} lacks {', '.join(lacks)}, and an incomplete run is not published",
                where=where,
                remedy="measure what is missing by the same mlperf-submission run, or take results out with "
                "--without: that makes a complete run of the others",
                code="stored-run",
            )
        folders = {file.path.partition("/")[0] for file in stored.manifest.files if "/" in file.path}
        lacking = [part for part in parts if part not in folders]
        if lacking:
            raise StoreError(
                f"the run is no whole submission: it has no {' and no '.join(lacking)}",
                where=where,
                remedy="publish a run that `mlperf-submission run` made and uploaded",
                code="stored-run",
            )

        problems = Sender(self._bucket, self._workers, limits).lacking(stored.manifest)
        if problems:
            raise StoreError(
                f"{len(problems)} objects of the run are not in the store: "
                + "; ".join(problems[:_NAMED_AT_MOST]),
                where=where,
                remedy="upload the run again from the machine that made it, then publish it",
                code="store-damaged",
            )

    def _complete(self, address: RunAddress, content: bytes, manifest: Manifest) -> StoredRun:
        """Write the manifest that completes a run at this address, and return what lies there then."""
        # Where conditional writes are ignored two uploads of one name can still cross between these lines.
        damaged: list[str] = []
        if self._earlier(address, damaged) is None:
            self._bucket.write(manifest_key(address), content, only_new=not damaged)
        stored = self._catalogue.read(address, as_pointed_to=False)
        if stored is None:
            raise StoreError(
                "the manifest is gone after it was written",
                where=self._bucket.address(manifest_key(address)),
                remedy="start again",
                code="store-damaged",
            )
        self._require_same(stored, manifest)
        return stored

    def _require_same(self, stored: StoredRun, manifest: Manifest) -> None:
        if stored.manifest.content_hash != manifest.content_hash:
            raise StoreError(
                f"a run named {manifest.run!r} with another content is in the store already",
                where=self._bucket.address(manifest_key(stored.address)),
                remedy="stored runs are never changed: give this one another name",
            )

    def _point_to(self, stored: StoredRun) -> None:
        """Let the pointer mean this run, unless it means a newer one."""
        address = stored.address
        latest = self._catalogue.latest(address.area, address.system)
        if latest is None or latest.run == address.run or stored.made >= latest.created:
            pointer = Latest(run=address.run, created=stored.made, manifest_sha256=stored.sha256)
            key = latest_key(address.area, address.system)
            self._bucket.write(key, pointer.model_dump_json(indent=1).encode())
