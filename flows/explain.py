"""The edge of a flow: however it ends, its log and its final state say what is known of that."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flows.watchdog import watch_over_this_run
from mlperf_submission.errors import PipelineError, StepFailedError
from mlperf_submission.failures import explanation
from mlperf_submission.files import refusal_named
from tasks.engine.perform import run_logger
from tasks.engine.spec import said_again

P = ParamSpec("P")
R = TypeVar("R")


def explained(body: Callable[P, R]) -> Callable[P, R]:
    """Decorate a flow's function, below `@flow`: what it raises says its cause and what is done again.

    Raises:
        PipelineError: as the function raised it, with its diagnosis.
        SettingError: the operating system does not let this user have a file.
        StepFailedError: in place of any other error, which is a fault of this program.
    """

    @wraps(body)
    def told(*arguments: P.args, **settings: P.kwargs) -> R:
        watch_over_this_run()
        try:
            return body(*arguments, **settings)
        except Exception as error:
            expected = error if isinstance(error, PipelineError) else refusal_named(error)
            known = expected or StepFailedError(f"{type(error).__name__}: {error}")
            known.diagnosis = explanation(expected or error, said_again)
            run_logger().error("%s", known, exc_info=expected is None)
            if known is error:
                raise
            raise known from error

    # Prefect reads the parameters' types off the function, and would look their names up in this module.
    told.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    return told
