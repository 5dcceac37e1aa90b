"""The cache of finished steps: found again by the hash of everything that went into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue


class FileEntry(BaseModel):
    """One file of a finished step: its path below the step's folder, its size in bytes, its SHA-256."""

    model_config = ConfigDict(frozen=True)
    path: str
    size: int
    sha256: str


class StepRecord(BaseModel):
    """What a finished step hands on: where its files are, their hashes, and its figures.

    Attributes:
        step: e.g. `build_engine`.
        label: what it was done for, e.g. `resnet50 int8`; a rerun is compared with the newest of its label.
        key: SHA-256 of step and inputs, 64 hexadecimal digits.
        inputs: everything that went in: settings, hashes of files, versions, the step's code version.
        folder: absolute path of the folder that holds the files.
        figures: what the step measured or counted.
        seconds: how long it took when it was done.
        reused: whether it was found finished, this time.
        reason: why it had to run (which input changed, or what was damaged), or that it was found.
    """

    model_config = ConfigDict(frozen=True)
    step: str
    label: str
    key: str
    inputs: dict[str, JsonValue]
    folder: Path
    files: list[FileEntry]
    figures: dict[str, JsonValue]
    created: datetime
    seconds: float
    reused: bool = False
    reason: str = ""

    def file(self, name: str) -> Path:
        """Return the path of one of the step's files.

        Raises:
            KeyError: the step made no such file.
        """
        raise NotImplementedError

    @property
    def content_hash(self) -> str:
        """SHA-256 over the names and hashes of the files: what a step below depends on."""
        raise NotImplementedError


class StepCache:
    """Finished steps below one folder: `<root>/<step>/<key>/` and the record `<root>/<step>/<key>.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, step: str, label: str, inputs: Mapping[str, JsonValue]) -> StepRecord | None:
        """Return the finished step with these inputs if all of its files are there and whole, else None."""
        raise NotImplementedError

    def run(
        self,
        step: str,
        label: str,
        inputs: Mapping[str, JsonValue],
        produce: Callable[[Path], Mapping[str, JsonValue]],
        *,
        say: Callable[[str], None] = lambda _: None,
    ) -> StepRecord:
        """Find the finished step, or call `produce(folder)` and record it.

        `produce` writes its files into the (empty, temporary) folder and returns figures; the folder is renamed
        into place and recorded only when it returned. `say` is told why: found, which inputs changed since the
        newest step of this label, or which file was damaged.
        """
        raise NotImplementedError


def code_version(*modules: str) -> str:
    """Return the SHA-256 of the source of these modules and of every module of ours that they import."""
    raise NotImplementedError
