"""Prefect artifacts: what a person would look at, beside the run in Prefect's pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from prefect.context import get_run_context
from prefect.exceptions import MissingContextError

from tasks.step import run_logger


def publish(create: Callable[..., Any], *, key: str, **content: Any) -> None:
    """Create an artifact of the current run; its key keeps only the characters that Prefect allows.

    An artifact is a convenience: if Prefect's server does not take it, the run goes on and the log says so.
    Outside of a run (a task's `.fn` in a test) there is nothing to attach it to.
    """
    try:
        get_run_context()
    except MissingContextError:
        return
    try:
        create(key=re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-"), **content)
    except Exception as error:  # any failure of a server that is not ours
        run_logger().warning("the artifact %s was not created: %s", key, error)
