"""Which runs a store holds, and which one a person means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from mlperf_submission.addresses import shown
from mlperf_submission.deadline import Limits, in_parallel
from mlperf_submission.errors import StoreError
from mlperf_submission.store.bucket import Bucket, StoredObject
from mlperf_submission.store.manifest import (
    Area,
    DamagedManifestError,
    Latest,
    Manifest,
    RunAddress,
    StoredRun,
    read_manifest,
)

LATEST = "latest"
REMOVED = "removed/"
_MANIFEST = "manifest.json"
_WORKERS = 8
_NAMED_AT_MOST = 10


def manifest_key(address: RunAddress) -> str:
    """Return the key of a run's manifest, below the store's prefix."""
    return f"{address}/{_MANIFEST}"


def latest_key(area: Area, system: str) -> str:
    """Return the key of the pointer to a system's newest run in an area."""
    return f"{area}/{system}/{LATEST}"


def trend_key(area: Area, system: str) -> str:
    """Return the key of the page of a system's runs over time."""
    return f"{area}/{system}/trend.html"


def removed_key(address: RunAddress) -> str:
    """Return the key that keeps the manifest of a removed run, for as long as files of it are retained."""
    return f"{REMOVED}{address}/{_MANIFEST}"


@dataclass(frozen=True)
class Problem:
    """Something in the store that is no run, but lies where one could.

    Attributes:
        key: of the object, below the prefix.
        what: what is wrong with it.
        content: the object's content, if it was read.
    """

    key: str
    what: str
    content: bytes | None = None

    def __str__(self) -> str:
        """Name it for a person."""
        return f"{self.key!r}: {self.what}"


@dataclass(frozen=True)
class Listing:
    """The complete runs of a store, and what lies in the place of a run and is none."""

    runs: tuple[StoredRun, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Removed:
    """A removed run: the object that its manifest lies in, and the manifest; None if that is damaged."""

    item: StoredObject
    manifest: Manifest | None


class Catalogue:
    """The complete runs of a store: those whose manifest exists."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def runs(self) -> Listing:
        """Return all complete runs: published ones, candidates, rehearsals, each kind newest first.

        A stray object or a damaged manifest costs nobody but itself: it is among the problems.
        """
        self._bucket.require()
        addresses: list[RunAddress] = []
        problems: list[Problem] = []
        for area in Area:
            for key in self._bucket.keys(f"{area}/"):
                parts = key.split("/")
                if len(parts) == 4 and parts[3] == _MANIFEST:
                    try:
                        addresses.append(RunAddress(area=area, system=parts[1], run=parts[2]))
                    except ValidationError:
                        problems.append(Problem(key, "this is no name of a run"))

        def read(address: RunAddress) -> StoredRun | Problem | None:
            try:
                return self.read(address)
            except StoreError as error:
                content = self._bucket.read(manifest_key(address))
                return Problem(manifest_key(address), error.what, content or b"")

        found = in_parallel(read, addresses, workers=_WORKERS, limits=Limits())
        order = list(Area)
        runs = [one for one in found if isinstance(one, StoredRun)]
        runs.sort(key=lambda stored: (order.index(stored.address.area), -stored.made.timestamp()))
        return Listing(tuple(runs), (*problems, *(one for one in found if isinstance(one, Problem))))

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
        parts = run.removeprefix(self._bucket.address()).removesuffix(f"/{_MANIFEST}").strip("/").split("/")
        areas = [area for area in Area if area == parts[0]]
        names = parts[1:] if areas else parts
        try:
            for area in areas or list(Area):
                found = self._named(names, area)
                if found is not None:
                    return found
        except ValidationError:
            pass  # no name that a run could have
        listing = self.runs()
        known = [str(stored.address) for stored in listing.runs]
        remedy = f"take one of: {', '.join(known[:_NAMED_AT_MOST]) or '(the store holds no run yet)'}"
        if listing.problems:
            remedy += f"; damaged: {'; '.join(map(str, listing.problems[:_NAMED_AT_MOST]))}"
        raise StoreError(
            f"there is no complete run {shown(run)!r}",
            where=self._bucket.address(),
            remedy=remedy,
            code="stored-run",
        )

    def address_of(self, run: str) -> RunAddress:
        """Return where a run lies, named as for `find`; a damaged one has to be named in full.

        Raises:
            StoreError: as `find` does.
        """
        try:
            return self.find(run).address
        except DamagedManifestError:
            area, _, rest = run.strip("/").partition("/")
            system, _, name = rest.partition("/")
            if area not in list(Area) or name in ("", LATEST):
                raise
            return RunAddress(area=Area(area), system=system, run=name)

    def _named(self, names: Sequence[str], area: Area) -> StoredRun | None:
        if len(names) == 2:
            system, run = names
            if run == LATEST:
                latest = self.latest(area, system)
                if latest is None:
                    return None
                run = latest.run
            return self.read(RunAddress(area=area, system=system, run=run))
        if len(names) != 1:
            return None
        runs = [stored for stored in self.runs().runs if stored.address.area is area]
        if names[0] == LATEST:
            return runs[0] if runs else None
        same = [stored for stored in runs if stored.manifest.run == names[0]]
        if len(same) > 1:
            raise StoreError(
                f"several systems have a run {names[0]!r}",
                where=self._bucket.address(),
                remedy=f"say which: {', '.join(str(stored.address) for stored in same)}",
                code="stored-run",
            )
        return same[0] if same else None

    def latest(self, area: Area, system: str) -> Latest | None:
        """Return the pointer to a system's newest run in an area, or None if none can be read.

        Its time is never later than the moment at which it was written, by the server's clock.
        """
        found = self._bucket.small(latest_key(area, system))
        if found is None:
            return None
        try:
            latest = Latest.model_validate_json(found.content)
        except ValidationError:
            return None  # it is only a pointer: the next upload writes it anew
        return latest.model_copy(update={"created": min(latest.created, found.modified)})

    def read(self, address: RunAddress, *, as_pointed_to: bool = True) -> StoredRun | None:
        """Return the run at an address, or None if it is not complete.

        Args:
            address: of the run.
            as_pointed_to: compare the manifest with what the pointer says of it, if it points there.

        Raises:
            DamagedManifestError: the manifest is damaged, was changed, or is that of another run.
            StoreError: it is of a newer version.
        """
        key = manifest_key(address)
        where = self._bucket.address(key)
        stored = self._parsed(key, address)
        if stored is None:
            return None
        if not stored.manifest.may_lie_at(address):
            raise DamagedManifestError(
                f"the manifest is that of {stored.manifest.uploaded_to}, not of {address}",
                where=where,
                remedy="it was moved by hand: do not use this run",
            )
        latest = self.latest(address.area, address.system) if as_pointed_to else None
        if latest and latest.run == address.run and latest.manifest_sha256 != stored.sha256:
            raise DamagedManifestError(
                "the manifest is not the one that the pointer to the newest run was made for: it was changed",
                where=where,
                remedy="upload the run again from the machine that made it, which mends it; or remove it",
            )
        return stored

    def removed(self) -> list[Removed]:
        """Return the manifests of runs that were removed."""

        def read(item: StoredObject) -> Removed:
            content = self._bucket.read(item.key)
            try:
                return Removed(item, read_manifest(content, item.key) if content else None)
            except StoreError:
                return Removed(item, None)

        return in_parallel(read, self._bucket.objects(REMOVED), workers=_WORKERS, limits=Limits())

    def _parsed(self, key: str, address: RunAddress) -> StoredRun | None:
        """Return the run whose manifest an object holds; a damaged one is read twice."""
        for attempt in range(2):
            found = self._bucket.small(key)
            if found is None:
                return None
            try:
                manifest = read_manifest(found.content, self._bucket.address(key))
                return StoredRun(
                    address=address, manifest=manifest, written=found.modified, content=found.content
                )
            except DamagedManifestError:
                if attempt:
                    raise
        return None
