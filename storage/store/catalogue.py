"""Which runs a store holds, and which one a person means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from common.deadline import Limits, in_parallel
from common.errors import StoreError
from storage.store.bucket import Bucket, StoredObject
from storage.store.manifest import Area, Latest, Manifest, RunAddress, StoredRun

LATEST = "latest"
REMOVED = "removed/"
_WORKERS = 8
_NAMED_AT_MOST = 10


def manifest_key(address: RunAddress) -> str:
    """Return the key of a run's manifest, below the store's prefix."""
    return f"{address}/manifest.json"


def latest_key(area: Area, system: str) -> str:
    """Return the key of the pointer to a system's newest run in an area."""
    return f"{area}/{system}/{LATEST}"


def removed_key(address: RunAddress) -> str:
    """Return the key that keeps the manifest of a removed run, for as long as files of it are retained."""
    return f"{REMOVED}{address}/manifest.json"


class Catalogue:
    """The complete runs of a store: those whose manifest exists."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def runs(self) -> list[StoredRun]:
        """Return all complete runs: published ones, candidates, rehearsals, each kind newest first."""
        self._bucket.require()
        addresses = [
            RunAddress(area=area, system=parts[1], run=parts[2])
            for area in Area
            for key in self._bucket.keys(f"{area}/")
            if len(parts := key.split("/")) == 4 and parts[3] == "manifest.json"
        ]
        manifests = in_parallel(self.read, addresses, workers=_WORKERS, limits=Limits())
        found = [
            StoredRun(address=address, manifest=manifest)
            for address, manifest in zip(addresses, manifests, strict=True)
            if manifest is not None
        ]
        order = list(Area)
        return sorted(
            found, key=lambda stored: (order.index(stored.address.area), -stored.manifest.created.timestamp())
        )

    def find(self, run: str) -> StoredRun:
        """Return a run by its name.

        Args:
            run: `<run>` or `<system>/<run>`, also with `runs/`, `candidates/` or `rehearsals/` before it, or
                its full `s3://` address. `latest` means the newest. If it is not said which, a published run
                is preferred, then a candidate.

        Raises:
            StoreError: there is no such run (the known ones are named), several systems have it, or its
                manifest is damaged or of another version.
        """
        self._bucket.require()
        parts = run.removeprefix(self._bucket.address()).removesuffix("/manifest.json").strip("/").split("/")
        areas = [area for area in Area if area == parts[0]]
        names = parts[1:] if areas else parts
        try:
            for area in areas or list(Area):
                found = self._named(names, area)
                if found is not None:
                    return found
        except ValidationError:
            pass  # no name that a run could have
        known = [str(stored.address) for stored in self.runs()]
        raise StoreError(
            f"there is no complete run {run!r}",
            where=self._bucket.address(),
            remedy=f"take one of: {', '.join(known[:_NAMED_AT_MOST]) or '(the store holds no run yet)'}",
        )

    def _named(self, names: Sequence[str], area: Area) -> StoredRun | None:
        if len(names) == 2:
            system, run = names
            if run == LATEST:
                latest = self.latest(area, system)
                if latest is None:
                    return None
                run = latest.run
            address = RunAddress(area=area, system=system, run=run)
            manifest = self.read(address)
            return StoredRun(address=address, manifest=manifest) if manifest else None
        runs = [stored for stored in self.runs() if stored.address.area is area]
        if len(names) != 1 or not runs:
            return None
        if names[0] == LATEST:
            return runs[0]
        same = [stored for stored in runs if stored.manifest.run == names[0]]
        if len(same) > 1:
            raise StoreError(
                f"several systems have a run {names[0]!r}",
                where=self._bucket.address(),
                remedy=f"say which: {', '.join(str(stored.address) for stored in same)}",
            )
        return same[0] if same else None

    def latest(self, area: Area, system: str) -> Latest | None:
        """Return the pointer to a system's newest run in an area, or None if none can be read."""
        content = self._bucket.read(latest_key(area, system))
        try:
            return Latest.model_validate_json(content) if content else None
        except ValidationError:
            return None  # it is only a pointer: the next upload writes it anew

    def read(self, address: RunAddress) -> Manifest | None:
        """Return the manifest at an address, or None if the run is not complete.

        Raises:
            StoreError: the manifest is damaged, of another version, or that of another run.
        """
        key = manifest_key(address)
        manifest = self._parsed(key)
        if manifest and not manifest.may_lie_at(address):
            raise StoreError(
                f"the manifest is that of {manifest.uploaded_to}, not of {address}",
                where=self._bucket.address(key),
                remedy="it was moved by hand: do not use this run",
            )
        return manifest

    def removed(self) -> list[tuple[StoredObject, Manifest]]:
        """Return the manifests of runs that were removed, each with the object that it lies in."""
        objects = list(self._bucket.objects(REMOVED))
        manifests = in_parallel(
            lambda item: self._parsed(item.key), objects, workers=_WORKERS, limits=Limits()
        )
        return [(item, found) for item, found in zip(objects, manifests, strict=True) if found is not None]

    def _parsed(self, key: str) -> Manifest | None:
        """Return the manifest in an object; a damaged one is read twice, as the reading may have failed."""
        problem: Any = None
        for _ in range(2):
            content = self._bucket.read(key)
            if content is None:
                return None
            try:
                return Manifest.model_validate_json(content)
            except ValidationError as error:
                problem = error.errors()[0]
        raise StoreError(
            f"the manifest is damaged or of another version ({problem['loc']}: {problem['msg']})",
            where=self._bucket.address(key),
            remedy="do not use this run; upload it again under another name",
        )
