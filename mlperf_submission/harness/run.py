"""One run: starts the child, watches over it, and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mlperf_submission.errors import SettingError
from mlperf_submission.files import write_atomic
from mlperf_submission.harness.record import (
    AUDIT_CONFIG,
    CHILD_LOG,
    ChildReport,
    Latencies,
    NullTiming,
    Reason,
    RunOutcome,
    RunRequest,
)
from mlperf_submission.harness.verdict import outcome_of
from mlperf_submission.process import progress_in, run_module

__all__ = ["ChildReport", "Latencies", "NullTiming", "Reason", "RunOutcome", "RunRequest", "measure"]

_FILES_OF_A_RUN = ("mlperf_log_*", AUDIT_CONFIG, f".{AUDIT_CONFIG}.*.tmp", CHILD_LOG)


def measure(
    request: RunRequest,
    folder: Path,
    *,
    timeout_seconds: float,
    on_progress: Callable[[float], None] = lambda _: None,
    on_message: Callable[[str], None] = lambda _: None,
) -> RunOutcome:
    """Run LoadGen once in a child process of its own, and judge its logs.

    The child holds the lock of the host alone while it works. An INVALID run is an outcome, not an exception:
    the caller decides what it means.

    Args:
        request: what to run.
        folder: the run's own folder; made if it is missing. What a broken run left in it is removed first.
        timeout_seconds: time limit from the moment that the child holds the host; it is killed after that.
        on_progress: called about once a second with the share of the run that is done, 0 to 1.
        on_message: called with other lines of the child, e.g. whom it waits for.

    Raises:
        StepTimeoutError: the run took longer than its limit.
        HostBusyError: the host did not become free in the request's time.
        SettingError: the folder holds files that are not of a run.
        LogError: the logs lack what every run's log has.
        PipelineError: whatever else made the child fail.
    """
    started = time.monotonic()
    folder = folder.absolute()
    _prepare(folder, request)

    def on_line(line: str) -> None:
        fraction = progress_in(line)
        if fraction is not None:
            on_progress(fraction)
        elif line:
            on_message(line)

    reply = run_module(
        "mlperf_submission.harness.child",
        _absolute(request).model_dump(mode="json"),
        timeout_seconds=timeout_seconds,
        on_line=on_line,
        log=folder / CHILD_LOG,
        cwd=folder,
        waits_for_lock=True,
    )
    return outcome_of(
        folder,
        request.settings,
        ChildReport.model_validate(reply),
        total_seconds=time.monotonic() - started,
    )


def _prepare(folder: Path, request: RunRequest) -> None:
    """Make the run's folder, with nothing in it but what this run needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in _FILES_OF_A_RUN:
        for path in folder.glob(pattern):
            path.unlink()
    others = sorted(path.name for path in folder.iterdir())
    if others:
        raise SettingError(
            f"the folder of a run holds other files: {', '.join(others[:5])}",
            where=folder,
            remedy="give every run a folder of its own",
        )
    if request.audit_config is not None:
        write_atomic(folder / AUDIT_CONFIG, request.audit_config)


def _absolute(request: RunRequest) -> RunRequest:
    """Return the request with absolute paths: the child works in the run's folder."""
    paths = {"engine": request.engine, "samples": request.samples, "lock": request.lock}
    return request.model_copy(update={name: path.absolute() for name, path in paths.items() if path})
