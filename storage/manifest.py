"""What a stored run consists of: its manifest, its place in the store, and the pointer to the newest."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from common.errors import SourceError
from common.files import inside

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A system or a run: one part of an S3 key and of a path, with nothing in it that either would mind."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
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

    @field_validator("run")
    @classmethod
    def _is_no_pointer(cls, run: str) -> str:
        if run == "latest":
            raise ValueError("a run cannot be named 'latest', which means the newest")
        return run


class Manifest(RunInfo):
    """A complete run. It is written last: a run is complete exactly if its manifest exists."""

    version: Literal[1] = 1
    files: tuple[ManifestFile, ...]

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

    @property
    def uploaded_to(self) -> RunAddress:
        """Where the run lies as soon as it is complete, before anyone publishes it."""
        area = Area.REHEARSALS if self.rehearsal else Area.CANDIDATES
        return RunAddress(area=area, system=self.system, run=self.run)

    def may_lie_at(self, address: RunAddress) -> bool:
        """Whether this is the manifest of the run at an address; a rehearsal lies among rehearsals only."""
        same = (self.system, self.run) == (address.system, address.run)
        return same and self.rehearsal == (address.area is Area.REHEARSALS)

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
    """A complete run and where it lies; a published run lies among the candidates too."""

    model_config = ConfigDict(frozen=True)
    address: RunAddress
    manifest: Manifest


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


def newer(created: datetime, latest: Latest | None) -> bool:
    """Whether a run of this time is to become the newest."""
    return latest is None or created >= latest.created
