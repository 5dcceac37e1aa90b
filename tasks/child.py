"""Call a module of ours in a child process, which a time limit really ends, and pass its progress on."""

from __future__ import annotations

from pydantic import BaseModel, JsonValue

from mlperf_submission.process import progress_in, run_module
from tasks.engine.perform import Recorder


def call_child(
    module: str, request: BaseModel, recorder: Recorder, limit_seconds: float
) -> dict[str, JsonValue]:
    """Run `python -m module` on a request and return its figures.

    Raises:
        PipelineError: whatever the child raises; StepTimeoutError if it runs over its limit.
    """

    def on_line(line: str) -> None:
        fraction = progress_in(line)
        if fraction is not None:
            recorder(fraction)

    return run_module(module, request.model_dump(mode="json"), timeout_seconds=limit_seconds, on_line=on_line)
