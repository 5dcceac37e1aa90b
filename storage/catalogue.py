"""Which runs a store holds, and which one a person means."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from common.errors import StoreError
from storage.bucket import Bucket
from storage.manifest import Latest, Manifest, RunAddress, area
from storage.parallel import in_parallel
from storage.transfer import Limits

LATEST = "latest"
_WORKERS = 8
_NAMED_AT_MOST = 10


def manifest_key(address: RunAddress) -> str:
    """Return the key of a run's manifest, below the store's prefix."""
    return f"{address}/manifest.json"


def latest_key(system: str, rehearsal: bool) -> str:
    """Return the key of the pointer to a system's newest run."""
    return f"{area(rehearsal)}/{system}/{LATEST}"


class Catalogue:
    """The complete runs of a store: those whose manifest exists."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def runs(self) -> list[Manifest]:
        """Return the manifests of all complete runs, official ones first, each kind newest first."""
        self._bucket.require()
        addresses = [
            RunAddress(system=parts[1], run=parts[2], rehearsal=rehearsal)
            for rehearsal in (False, True)
            for key in self._bucket.keys(f"{area(rehearsal)}/")
            if len(parts := key.split("/")) == 4 and parts[3] == "manifest.json"
        ]
        manifests = in_parallel(self.read, addresses, workers=_WORKERS, limits=Limits())
        found = [manifest for manifest in manifests if manifest is not None]
        return sorted(found, key=lambda manifest: (manifest.rehearsal, -manifest.created.timestamp()))

    def find(self, run: str) -> Manifest:
        """Return the manifest of a run.

        Args:
            run: `<run>` or `<system>/<run>`, also with `runs/` or `rehearsals/` before it, or its full `s3://`
                address. `latest` means the newest. If it is not said, an official run is preferred.

        Raises:
            StoreError: there is no such run (the known ones are named), several systems have it, or its
                manifest is damaged or of another version.
        """
        self._bucket.require()
        parts = run.removeprefix(self._bucket.address()).removesuffix("/manifest.json").strip("/").split("/")
        areas = [rehearsal for rehearsal in (False, True) if area(rehearsal) == parts[0]]
        names = parts[1:] if areas else parts
        try:
            for rehearsal in areas or [False, True]:
                found = self._named(names, rehearsal)
                if found is not None:
                    return found
        except ValidationError:
            pass  # no name that a run could have
        known = [str(manifest.address) for manifest in self.runs()]
        raise StoreError(
            f"there is no complete run {run!r}",
            where=self._bucket.address(),
            remedy=f"take one of: {', '.join(known[:_NAMED_AT_MOST]) or '(the store holds no run yet)'}",
        )

    def _named(self, names: Sequence[str], rehearsal: bool) -> Manifest | None:
        if len(names) == 2:
            system, run = names
            if run == LATEST:
                latest = self.latest(system, rehearsal)
                if latest is None:
                    return None
                run = latest.run
            return self.read(RunAddress(system=system, run=run, rehearsal=rehearsal))
        runs = [manifest for manifest in self.runs() if manifest.rehearsal == rehearsal]
        if len(names) != 1 or not runs:
            return None
        if names[0] == LATEST:
            return runs[0]
        same = [manifest for manifest in runs if manifest.run == names[0]]
        if len(same) > 1:
            raise StoreError(
                f"several systems have a run {names[0]!r}",
                where=self._bucket.address(),
                remedy=f"say which: {', '.join(str(manifest.address) for manifest in same)}",
            )
        return same[0] if same else None

    def latest(self, system: str, rehearsal: bool) -> Latest | None:
        """Return the pointer to a system's newest run, or None if there is none that can be read."""
        content = self._bucket.read(latest_key(system, rehearsal))
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
        content = self._bucket.read(key)
        if content is None:
            return None
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors()[0]
            raise StoreError(
                f"the manifest is damaged or of another version ({problem['loc']}: {problem['msg']})",
                where=self._bucket.address(key),
                remedy="do not use this run; upload it again under another name",
            ) from error
        if manifest.address != address:
            raise StoreError(
                f"the manifest is that of {manifest.address}, not of {address}",
                where=self._bucket.address(key),
                remedy="it was moved by hand: do not use this run",
            )
        return manifest
