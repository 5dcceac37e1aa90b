"""What a stored run consists of: its manifest, its place in the store, and the pointer to the newest."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from mlperf_submission.errors import SourceError, StoreError
from mlperf_submission.files import inside
from mlperf_submission.steps.hashing import hash_json

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A system or a run: one part of an S3 key and of a path, with nothing in it that either would mind."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
EntityTag = Annotated[str, Field(max_length=200)]
_SEAL = "seal"
_NEWEST_VERSION = 4
_LARGEST_BUNDLE = 64 << 20
"""Bytes: whoever reads of a bundle holds that in memory."""
_WHY_CHARACTERS = 300
_HASH = re.compile(rb"[0-9a-f]{64}")


class Area(StrEnum):
    """The parts of a store that runs lie in, the best known first.

    Attributes:
        RUNS: submissions that a person has published.
        CANDIDATES: complete submissions that nobody has approved yet; they stay when they are published.
        REHEARSALS: what can never be taken for a submission, and never be published.
    """

    RUNS = "runs"
    CANDIDATES = "candidates"
    REHEARSALS = "rehearsals"


class MadeBy(BaseModel):
    """The finished step that made a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: str
    label: str
    key: Sha256


class ManifestFile(BaseModel):
    """One file of a run.

    Attributes:
        path: below the run's folder.
        size: in bytes.
        sha256: of its content.
        made_by: the step that made it.
        retain_until: its content stays in the store until then, even if the run is removed.
        etag: the server's entity tag of the object when its content was verified: as long as the object has
            this tag, it was not written again. Empty in manifests of version 1, and of what lies in a bundle.
        bundle: the SHA-256 of the bundle that has the content; None: it is an object of its own. Where a
            bundle is lost or damaged, an upload mends its contents one by one, as objects of their own.
        offset: of the content in its bundle, in bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
    etag: EntityTag = ""
    bundle: Sha256 | None = None
    offset: Annotated[int, Field(ge=0)] = 0
    made_by: MadeBy | None = None
    retain_until: AwareDatetime | None = None

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        try:
            if inside(Path(), path).as_posix() != path:
                raise ValueError(f"{path!r} is not written in its plain form")
            path.encode()
        except SourceError as error:
            raise ValueError(error.what) from error
        return path


class Bundle(BaseModel):
    """An object of several small contents, one behind the other.

    Attributes:
        sha256: of the whole of it, which is also its key.
        size: in bytes.
        etag: as of a file that is an object of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=_LARGEST_BUNDLE)]
    etag: EntityTag = ""


class GpuUse(BaseModel):
    """What the LoadGen runs behind a stored run took of the host's GPUs, which each had to itself.

    Attributes:
        hours: the number of GPUs times the hours of the timed parts; 0 where no GPU ran the networks.
        kwh: by the GPUs' own counters; None if NVML gave none for one of the runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    hours: Annotated[float, Field(ge=0)]
    kwh: Annotated[float, Field(ge=0)] | None = None


class RunInfo(BaseModel):
    """What a run is, without its files.

    Attributes:
        system: the system's name.
        run: the run's name, unique in its system.
        round: e.g. `v4.1`.
        created: when it was made, with its time zone.
        rehearsal: such a run lies in another place and can never be taken for a submission.
        tool_version: of this project.
        figures: what a person would like to see in a list of runs.
        lacks: the results, as `<benchmark>/<scenario>`, without which it may not be published.
        gpus: what its measurements took of the GPUs; None: not recorded (before version 3, and of a fleet).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    system: Name
    run: Name
    round: str
    created: AwareDatetime
    rehearsal: bool
    tool_version: str
    figures: dict[str, JsonValue] = {}
    lacks: tuple[str, ...] = ()
    gpus: GpuUse | None = None

    @field_validator("run")
    @classmethod
    def _is_no_pointer(cls, run: str) -> str:
        if run == "latest":
            raise ValueError("a run cannot be named 'latest', which means the newest")
        return run


class Manifest(RunInfo):
    """A complete run. It is written last: a run is complete exactly if its manifest exists.

    Attributes:
        version: 4 since there are bundles.
        files: each content of them has one place.
        bundles: those that the files name.
    """

    version: Literal[1, 2, 3, 4] = 4
    files: tuple[ManifestFile, ...]
    bundles: tuple[Bundle, ...] = ()

    @model_validator(mode="after")
    def _paths_do_not_meet(self) -> Manifest:
        paths = {file.path for file in self.files}
        if len(paths) < len(self.files):
            raise ValueError("two files have the same path")
        for path in paths:
            folder = path.rpartition("/")[0]
            while folder:
                if folder in paths:
                    raise ValueError(f"{folder!r} is a file and the folder of {path!r}")
                folder = folder.rpartition("/")[0]
        return self

    @model_validator(mode="after")
    def _bundles_hold_the_files(self) -> Manifest:
        sizes = {bundle.sha256: bundle.size for bundle in self.bundles}
        for file in self.files:
            if file.bundle is not None and file.offset + file.size > sizes.get(file.bundle, -1):
                raise ValueError(f"{file.path!r} is in no bundle of the run")
        return self

    @property
    def keys(self) -> set[str]:
        """The keys of all objects that it needs, or may need when a bundle is damaged."""
        hashes = {file.sha256 for file in self.files} | {bundle.sha256 for bundle in self.bundles}
        return {object_key(sha256) for sha256 in hashes}

    @property
    def uploaded_to(self) -> RunAddress:
        """Where the run lies as soon as it is complete, before anyone publishes it."""
        area = Area.REHEARSALS if self.rehearsal else Area.CANDIDATES
        return RunAddress(area=area, system=self.system, run=self.run)

    def may_lie_at(self, address: RunAddress) -> bool:
        """Whether this is the manifest of the run at an address; a rehearsal lies among rehearsals only."""
        same = (self.system, self.run) == (address.system, address.run)
        return same and self.rehearsal == (address.area is Area.REHEARSALS)

    def sealed(self) -> bytes:
        """Return the manifest as it lies in the store: JSON with a hash over everything else in it."""
        content = self.model_dump(mode="json")
        return json.dumps({**content, _SEAL: hash_json(content)}, indent=1).encode()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def content_hash(self) -> str:
        """SHA-256 over what makes two runs of one name the same: round, paths and hashes."""
        lines = sorted(f"{file.sha256} {file.path}" for file in self.files)
        return hashlib.sha256("\n".join([self.round, *lines]).encode()).hexdigest()


class RunAddress(BaseModel):
    """The place of a run below the store's prefix, e.g. `runs/<system>/<run>`."""

    model_config = ConfigDict(frozen=True)
    area: Area
    system: Name
    run: Name

    def __str__(self) -> str:
        """The address as `fetch` takes it."""
        return f"{self.area}/{self.system}/{self.run}"


class StoredRun(BaseModel):
    """A complete run and where it lies; a published run lies among the candidates too.

    Attributes:
        address: where it lies.
        manifest: of the run.
        written: when the manifest was written, by the server's clock.
        content: the manifest as it lies there.
    """

    model_config = ConfigDict(frozen=True)
    address: RunAddress
    manifest: Manifest
    written: AwareDatetime
    content: bytes = Field(repr=False)

    @property
    def sha256(self) -> str:
        """Of the manifest as it lies in the store."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def made(self) -> datetime:
        """When the run was made, for the order of runs: never after its upload, whatever clock said so."""
        return min(self.manifest.created, self.written)


class Latest(BaseModel):
    """The pointer to the newest run of a system in an area."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    run: Name
    created: AwareDatetime
    manifest_sha256: Sha256


def object_key(sha256: str) -> str:
    """Return the key of an object, below the store's prefix: content has one place, whatever run it is of."""
    return f"objects/sha256/{sha256[:2]}/{sha256}"


class DamagedManifestError(StoreError):
    """What lies in a manifest's place is none, or was changed after it was written."""


def read_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest as it lies in the store.

    Args:
        content: of the object.
        where: its address.

    Raises:
        DamagedManifestError: it is none, or its content is not what its seal was made over.
        StoreError: a newer version of this program wrote it.
    """
    try:
        fields = json.loads(content)
        if not isinstance(fields, dict):
            raise ValueError("it is no JSON object")
        version = fields.get("version", 1)
        if isinstance(version, int) and version > _NEWEST_VERSION:
            raise StoreError(
                f"the manifest is of version {version}, this program reads up to {_NEWEST_VERSION}",
                where=where,
                remedy="use a newer mlperf-submission",
                code="stored-run",
            )
        seal = fields.pop(_SEAL, None)
        if version != 1 and seal != hash_json(fields):
            raise ValueError("its content was changed after it was written")
        return Manifest.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        why = f"{place}: {problem['msg']}" if place else problem["msg"]
    except (ValueError, RecursionError) as error:
        why = str(error) or type(error).__name__
    raise DamagedManifestError(
        f"the manifest is damaged ({why[:_WHY_CHARACTERS]})",
        where=where,
        remedy="upload the run again from the machine that made it, which mends it; or remove it",
    )


def hashes_in(content: bytes) -> set[str] | None:
    """Return the SHA-256s that a damaged manifest names; None if its list of files may not be whole."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("files"), list):
        return None
    return {match.decode() for match in _HASH.findall(content)}
