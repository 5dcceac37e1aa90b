"""The contents of a run into the store: what is there, whole, is not sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlperf_submission.deadline import Limits, in_parallel
from mlperf_submission.errors import StoreError
from mlperf_submission.store.bucket import Bucket
from mlperf_submission.store.bundles import as_bundled_before, bundled, new_bundles, offsets
from mlperf_submission.store.manifest import Bundle, Manifest, ManifestFile, object_key
from mlperf_submission.store.parallel import ByteCounter
from mlperf_submission.store.proof import Proof, Source, prove, send


@dataclass(frozen=True)
class Sent:
    """The contents of a run, which the store has now.

    Attributes:
        manifest: with the place of each content, and the entity tag of each object.
        objects: how many were sent.
        size: their bytes.
        reused: how many objects were there, whole.
        lacked: the SHA-256 of contents that were sent.
        damaged: of those, what lay in their place before.
    """

    manifest: Manifest
    objects: int
    size: int
    reused: int
    lacked: frozenset[str]
    damaged: frozenset[str]


@dataclass(frozen=True)
class _Object:
    """An object that the store has now: its files, what it is, and what lay there before."""

    files: Sequence[ManifestFile]
    sha256: str
    size: int
    etag: str
    before: Proof


class Sender:
    """Sends contents to a bucket, several at a time."""

    def __init__(self, bucket: Bucket, workers: int, limits: Limits) -> None:
        self._bucket = bucket
        self._workers = workers
        self._limits = limits

    def send(
        self,
        manifest: Manifest,
        sources: Mapping[str, Path],
        known: Manifest | None,
        on_progress: Callable[[int, int], None],
    ) -> Sent:
        """Send what the store lacks.

        Args:
            manifest: of the run. That of a run that is there already keeps its places: what is damaged in a
                bundle gets an object of its own.
            sources: a file with each content, by its SHA-256.
            known: what is known of objects: the manifest of this run or of one before; a new run takes up
                its bundles.
            on_progress: called with bytes done and bytes of all, from several threads.

        Raises:
            SourceError: a file changed meanwhile.
            StoreError: the server stores something else.
        """
        is_there = manifest is known
        if known is not None and not is_there:
            manifest = as_bundled_before(manifest, known)
        whole = {sha256: proof for sha256, proof in self._bundles(manifest).items() if _is_whole(proof)}
        size = sum({file.sha256: file.size for file in manifest.files}.values())
        loose = {file.sha256: file for file in manifest.files if file.bundle not in whole}
        done = ByteCounter(size, on_progress)
        done(size - sum(file.size for file in loose.values()))
        tags = {file.sha256: file.etag for file in known.files if file.bundle is None} if known else {}
        unknown = [file for file in manifest.files if file.sha256 in loose and file.sha256 not in tags]
        parcels = [] if is_there else new_bundles(unknown)
        in_parcels = {file.sha256 for parcel in parcels for file in parcel}
        parcels += [[file] for file in loose.values() if file.sha256 not in in_parcels]
        parcels.sort(key=lambda files: -sum(file.size for file in files))

        def carry(files: Sequence[ManifestFile]) -> _Object:
            first = files[0]
            source: Source = sources[first.sha256] if len(files) == 1 else bundled(files, sources)
            sha256 = first.sha256 if isinstance(source, Path) else hashlib.sha256(source).hexdigest()
            size = sum(file.size for file in files)
            before = prove(self._bucket, sha256, size, self._limits, source=source, etag=tags.get(sha256, ""))
            if _is_whole(before):
                done(size)
                return _Object(files, sha256, size, before.etag, before)
            return _Object(files, sha256, size, self._sent(source, sha256, size, done), before)

        objects = in_parallel(carry, parcels, workers=self._workers, limits=self._limits)
        if not is_there:
            manifest = _placed(manifest, whole, objects)
        sent = [one for one in objects if not _is_whole(one.before)]
        return Sent(
            manifest,
            objects=len(sent),
            size=sum(one.size for one in sent),
            reused=len(whole) + len(objects) - len(sent),
            lacked=_contents(sent),
            damaged=_contents([one for one in sent if one.before.state == "changed"]),
        )

    def lacking(self, manifest: Manifest) -> list[str]:
        """Return the files of a run that the store does not have, whole, each content once, and why."""
        bundles = self._bundles(manifest)
        whole = {sha256 for sha256, proof in bundles.items() if _is_whole(proof)}
        loose = {file.sha256: file for file in manifest.files if file.bundle not in whole}

        def problem(file: ManifestFile) -> str | None:
            proof = prove(self._bucket, file.sha256, file.size, self._limits, etag=file.etag)
            why = bundles[file.bundle].what if file.bundle else proof.what
            return None if _is_whole(proof) else f"{file.path}: {why}"

        found = in_parallel(problem, loose.values(), workers=self._workers, limits=self._limits)
        return sorted(filter(None, found))

    def _bundles(self, manifest: Manifest) -> dict[str, Proof]:
        def proof_of(bundle: Bundle) -> Proof:
            return prove(self._bucket, bundle.sha256, bundle.size, self._limits, etag=bundle.etag)

        found = in_parallel(proof_of, manifest.bundles, workers=self._workers, limits=self._limits)
        return {bundle.sha256: proof for bundle, proof in zip(manifest.bundles, found, strict=True)}

    def _sent(self, source: Source, sha256: str, size: int, on_bytes: Callable[[int], None]) -> str:
        """Upload a content until the server proves to have it, twice at most; return its entity tag.

        An object that turns out wrong is never removed: other runs may name it, and perhaps only the reading
        failed.
        """
        proof = Proof("missing")
        for _ in range(2):
            proof = send(self._bucket, source, sha256, size, self._limits, on_bytes)
            if _is_whole(proof):
                return proof.etag
        name = source.name if isinstance(source, Path) else "a bundle of files"
        raise StoreError(
            f"the server stored something else than {name}: {proof.what}",
            where=self._bucket.address(object_key(sha256)),
            remedy="the file changed while it was sent, or connection or server are faulty; start again",
            code="store-damaged",
        )


def _is_whole(proof: Proof) -> bool:
    return proof.state == "whole"


def _contents(objects: Collection[_Object]) -> frozenset[str]:
    return frozenset(file.sha256 for one in objects for file in one.files)


def _placed(manifest: Manifest, whole: Mapping[str, Proof], objects: Collection[_Object]) -> Manifest:
    """Return a manifest with the places that its contents have now."""
    tags = {sha256: {"etag": proof.etag} for sha256, proof in whole.items()}
    bundles = [one.model_copy(update=tags[one.sha256]) for one in manifest.bundles if one.sha256 in tags]
    places: dict[str, dict[str, object]] = {}
    for one in objects:
        if len(one.files) == 1:
            places[one.sha256] = {"bundle": None, "offset": 0, "etag": one.etag}
            continue
        bundles.append(Bundle(sha256=one.sha256, size=one.size, etag=one.etag))
        for sha256, offset in offsets(one.files).items():
            places[sha256] = {"bundle": one.sha256, "offset": offset}
    files = (file.model_copy(update=places.get(file.sha256, {})) for file in manifest.files)
    return manifest.model_copy(update={"files": tuple(files), "bundles": tuple(bundles)})
