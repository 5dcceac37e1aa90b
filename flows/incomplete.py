"""A bad night still delivers: what is said of the results that failed, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from flows.request import SubmissionRequest
from mlperf_submission.errors import (
    DiskFullError,
    HostBusyError,
    HostTooSmallError,
    IncompleteError,
    PipelineError,
    SettingError,
)
from mlperf_submission.rounds import Scenario
from tasks.engine.perform import run_logger
from tasks.package import Measured

if TYPE_CHECKING:
    from flows.submission import SubmissionOutcome

ENDS_ALL = (SettingError, HostBusyError, HostTooSmallError, DiskFullError)
"""Errors of the request or the host: the next result would only meet them again."""
Failures = Mapping[str, PipelineError]
"""What failed, `<benchmark>/<scenario>` or, where it could not be prepared, `<benchmark>`; and why."""
R = TypeVar("R")


def outcomes(parts: Mapping[str, Callable[[], R]]) -> tuple[dict[str, R], dict[str, PipelineError]]:
    """Walk the parts of a story; one that fails does not cost the others.

    Returns:
        What each part came to, and why the others failed.

    Raises:
        PipelineError: one that the next part would meet as well (`ENDS_ALL`).
    """
    found: dict[str, R] = {}
    failures: dict[str, PipelineError] = {}
    for name, part in parts.items():
        try:
            found[name] = part()
        except ENDS_ALL:
            raise
        except PipelineError as error:
            run_logger().error("%s failed, the others go on: %s", name, error)
            failures[name] = error
    return found, failures


def raise_if_nothing_is_left(results: Sequence[Measured], failures: Failures) -> None:
    """Raise what failed if there is no result at all.

    Raises:
        PipelineError: the failure, if there was one.
        IncompleteError: all of them, if there were more.
    """
    if results:
        return
    if len(failures) == 1:
        raise next(iter(failures.values()))
    raise IncompleteError(
        f"none of the results was measured: {_told(failures)}",
        remedy="mend what is named; the same command goes on with what is finished",
    )


def lacking(request: SubmissionRequest, results: Sequence[Measured]) -> list[str]:
    """Return the results, as `<benchmark>/<scenario>`, without which a submission is not what it should be.

    These are the ones that were asked for and failed, and those that the round asks for besides.
    """
    there = {f"{one.benchmark}/{one.scenario}" for one in results}
    asked = [f"{one.benchmark}/{one.scenario}" for one in request.results]
    needed = [f"{name}/{scenario}" for name, missing in _missing(request, results) for scenario in missing]
    return [name for name in dict.fromkeys([*asked, *needed]) if name not in there]


def notes_on_missing(
    request: SubmissionRequest, results: Sequence[Measured], failures: Failures
) -> list[str]:
    """Return what a person should know of the results that are not there, a sentence each."""
    notes = [f"{name} is missing: {error.what}" for name, error in failures.items()]
    failed = {name.partition("/")[0] for name in failures}
    return notes + [
        f"a submission needs {' and '.join(missing)} of {name} too (rule M-05)"
        for name, missing in _missing(request, results)
        if name not in failed
    ]


def incomplete(request: SubmissionRequest, outcome: SubmissionOutcome, failures: Failures) -> IncompleteError:
    """Return the error that a flow ends with when results failed; it carries the outcome of the others."""
    count = len(outcome.results) + len(outcome.lacks)
    remedy = "mend what is named; the same command measures only what is missing"
    if not request.system.is_rehearsal:
        remedy += f". To hand in the others: {_way_out(request, outcome)}"
    error = IncompleteError(
        f"{len(outcome.lacks)} of {count} results are missing: {_told(failures)}",
        where=outcome.s3_address,
        remedy=remedy,
    )
    error.outcome, error.failures = outcome, tuple(failures.values())
    return error


def _way_out(request: SubmissionRequest, outcome: SubmissionOutcome) -> str:
    """Say how the results that are there can be handed in, by the rules of the round."""
    taken, why = [], []
    for name in dict.fromkeys(lack.partition("/")[0] for lack in outcome.lacks):
        present = [Scenario(line.scenario) for line in outcome.results if line.benchmark == name]
        missing = request.missing_scenarios(name, present)
        if missing:
            why.append(
                f"{request.round.name} asks for {' and '.join(missing)} of {name}, so it goes as a whole"
            )
        lacks = [lack for lack in outcome.lacks if lack.partition("/")[0] == name]
        taken += lacks if present and not missing else [name]
    said = f" ({'; '.join(why)})" if why else ""
    return f"mlperf-submission run {request.system.name} --without {','.join(taken)}{said}"


def _missing(request: SubmissionRequest, results: Sequence[Measured]) -> list[tuple[str, list[Scenario]]]:
    present: dict[str, list[Scenario]] = {}
    for one in results:
        present.setdefault(one.benchmark, []).append(one.scenario)
    found = [(name, request.missing_scenarios(name, scenarios)) for name, scenarios in present.items()]
    return [(name, missing) for name, missing in found if missing]


def _told(failures: Failures) -> str:
    return "; ".join(f"{name}: {error.what}" for name, error in failures.items())
