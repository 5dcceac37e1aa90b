"""Prefect artifacts: what a person would look at, beside the run in Prefect's pages.

Prefect is imported where it is called: a step can be described without it (`tasks.engine.spec.all_steps`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from mlperf_submission.addresses import scrubbed

_LOGGER = logging.getLogger("mlperf_submission.artifacts")
_UPDATE_SECONDS = 3.0


def publish(create: Callable[..., Any], *, key: str, **content: Any) -> Any:
    """Create an artifact of the current run; its key keeps only the characters that Prefect allows.

    An artifact is a convenience: if Prefect's server does not take it, the run goes on and the log says so.
    Outside of a run (a task's `.fn` in a test) there is nothing to attach it to.

    Returns:
        What `create` returns: the artifact's id; None if there is none.
    """
    from prefect.context import get_run_context
    from prefect.exceptions import MissingContextError

    try:
        get_run_context()
    except MissingContextError:
        return None
    try:
        return create(key=re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-"), **content)
    except Exception as error:  # any failure of a server that is not ours
        # What was sent may be told in the answer, and a link in it may be a key (`flows.outcome`).
        _LOGGER.warning("the artifact %s was not created: %s", key, scrubbed(str(error)))
        return None


def publish_table(key: str, table: list[dict[str, Any]], description: str) -> None:
    """Create a table of the current run; see `publish`."""
    from prefect.artifacts import create_table_artifact

    publish(create_table_artifact, key=key, table=table, description=description)


class ProgressArtifact:
    """The progress of a step on Prefect's page: finished if the block ends well.

    It is made when a step has worked for some seconds, so that those of short steps do not bury what a person
    looks for.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._artifact: UUID | None = None
        self._updated = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to count the seconds."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Set it to the end, unless the step failed."""
        if kind is None and self._artifact is not None:
            self._set(self._artifact, 1.0)

    def update(self, fraction: float) -> None:
        """Show how far the step is (0 to 1), at most every three seconds."""
        if time.monotonic() - self._updated >= _UPDATE_SECONDS:
            self._updated = time.monotonic()
            if self._artifact is None:
                self._artifact = self._made(fraction)
            else:
                self._set(self._artifact, fraction)

    def _made(self, fraction: float) -> UUID | None:
        from prefect.artifacts import create_progress_artifact

        key, percent = f"progress-{self._title}", 100 * fraction
        found = publish(create_progress_artifact, key=key, progress=percent, description=self._title)
        return found if isinstance(found, UUID) else None

    def _set(self, artifact: UUID, fraction: float) -> None:
        from prefect.artifacts import update_progress_artifact

        try:
            update_progress_artifact(artifact, progress=100 * fraction)
        except Exception as error:  # any failure of a server that is not ours
            _LOGGER.debug("the progress of %s was not shown: %s", self._title, error)
