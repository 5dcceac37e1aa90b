"""What the readers of a tree share: the tree with the rows that were found in it, and where a result lies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlperf_submission.rounds import ModelRules, Round, Scenario
from mlperf_submission.submission.files import Tree
from mlperf_submission.validation.frames import Frame, Readings


class At(NamedTuple):
    """What a row is about: its scope, and the file or folder."""

    scope: str
    path: str


@dataclass(frozen=True)
class Reader:
    """A tree that is read by the rules of a round, and the rows that were found in it."""

    round: Round
    tree: Tree
    rows: dict[type[Frame], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, frame: type[Frame], at: At, **columns: Any) -> None:
        """Add a row to a frame; columns that are not given are NaN, false, 0 or empty."""
        self.rows[frame].append({"scope": at.scope, "path": at.path, **columns})

    def reading(self, at: At, problem: str, **columns: str) -> None:
        """Add what something is read as, and why it cannot be read; empty if it can."""
        self.add(Readings, at, readable=not problem, problem=problem, **columns)


@dataclass(frozen=True)
class Located:
    """Where a result lies, in names of the tree."""

    division: str
    submitter: str
    system: str
    directory: str
    folder: str

    @property
    def submission(self) -> str:
        """The submitter's folder."""
        return f"{self.division}/{self.submitter}"

    @property
    def closed(self) -> bool:
        """Whether the division is closed or network."""
        return self.division != "open"

    @property
    def scope(self) -> str:
        """The result's scope."""
        return f"{self.submission}/{self.system}/{self.directory}/{self.folder}"

    @property
    def path(self) -> str:
        """The result's folder."""
        return self.beside("results")

    def beside(self, room: str) -> str:
        """The same scenario in `results`, `measurements` or `compliance`."""
        return f"{self.submission}/{room}/{self.system}/{self.directory}/{self.folder}"


@dataclass(frozen=True)
class Place:
    """Where a result lies, and what it is judged as; `network`, `edge`: what its system is."""

    at: Located
    model: ModelRules
    scenario: Scenario
    network: bool
    edge: bool

    @property
    def row(self) -> At:
        """Scope and path of the rows about the result's folder."""
        return At(self.at.scope, self.at.path)
