"""The folder that a person's runs live in, and where each thing lies in it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlperf_submission.files import own_folder
from mlperf_submission.steps.cache import StepCache


class Workspace(BaseModel):
    """One work folder. Everything that the pipeline writes lies below it.

    Attributes:
        root: absolute path of the folder.
    """

    model_config = ConfigDict(frozen=True, ignored_types=(cached_property,))
    root: Path

    @staticmethod
    def at(path: Path) -> Workspace:
        """Return the workspace at a path, made absolute."""
        return Workspace(root=own_folder(path))

    @property
    def cache(self) -> StepCache:
        """The finished steps."""
        return StepCache(self.root / "cache")

    @property
    def downloads(self) -> Path:
        """Downloads that are not whole yet; kept over a break so that they resume."""
        return self.root / "downloads"

    @property
    def timings(self) -> Path:
        """What TensorRT measured of layers, so that it need not when it builds again; may be removed."""
        return self.root / "timings"

    @property
    def s3(self) -> Path:
        """The files of the embedded S3 server."""
        return self.root / "s3"

    @property
    def logs(self) -> Path:
        """What the servers that we start print."""
        return self.root / "logs"

    def random_weights(self, system: str) -> Path:
        """Where the engines of full networks with random weights are laid out for a person."""
        return self.root / "random_weights" / system

    def trend(self, system: str) -> Path:
        """The page of a system's stored runs over time."""
        return self.root / "trends" / f"{system}.html"

    def submission(self, system: str, run: str) -> Path:
        """Where a finished run is laid out for a person: tree, page, verdict."""
        return self.root / "submissions" / system / run
