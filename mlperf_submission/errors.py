"""The project's exceptions. Each says what is wrong, where, and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from mlperf_submission.text import printable


class PipelineError(Exception):
    """An expected failure, shown to a person without a traceback.

    Args:
        what: what is wrong, with the value that was found.
        where: the file, setting, URL or run that it was found in.
        remedy: what the person can do about it.
        code: its entry in the table of failures (`failures.toml`), where its class says too little; the
            class's own if it has one.

    `codes` are those of all that is wrong. `diagnosis` is set at the edge, once: what the table knows of it.
    """

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed if it is simply made again (network, S3)."""
    usual_code: ClassVar[str] = ""
    """The code of an error that is given none."""

    def __init__(self, what: str, *, where: object = "", remedy: str = "", code: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.remedy = remedy
        code = code or self.usual_code
        self.codes: tuple[str, ...] = (code,) if code else ()
        self.diagnosis = ""

    def __str__(self) -> str:
        """Return the message as a person reads it; text of others in it cannot steer their terminal."""
        place = f" [{self.where}]" if self.where else ""
        remedy = f"\n  What to do: {self.remedy}" if self.remedy else ""
        diagnosis = f"\n{self.diagnosis}" if self.diagnosis else ""
        return printable(f"{self.what}{place}{remedy}{diagnosis}")

    def __reduce__(self) -> tuple[object, ...]:
        """Keep all parts when the exception crosses a process border."""
        return _rebuild, (type(self), self.what, self.where, self.remedy, self.codes, self.diagnosis)


def _rebuild(
    kind: type[PipelineError], what: str, where: str, remedy: str, codes: tuple[str, ...], diagnosis: str
) -> PipelineError:
    error = kind(what, where=where, remedy=remedy)
    error.codes, error.diagnosis = codes, diagnosis
    return error


class SettingError(PipelineError):
    """A system file, an option or a parameter is wrong: unknown name, wrong type, impossible value."""


class SourceError(PipelineError):
    """A download or a person's own file is missing, truncated, has another hash or is not what it says."""


class UnreachableError(PipelineError):
    """A server did not answer, broke off or asked to come back later. A retry can help."""

    retryable = True


class NetworkFileError(PipelineError):
    """A file is not an ONNX network, or its inputs and outputs are not the benchmark's."""


class DiskFullError(PipelineError):
    """There is less free space than the step needs, or a write ran out of it."""


class HostTooSmallError(PipelineError):
    """The host has less disk space or memory than the plan needs; nothing was started."""


class StepFailedError(PipelineError):
    """The child process of a step ended with an error or without its result."""


class StepTimeoutError(PipelineError):
    """A step ran over its time limit and was ended."""


class HostBusyError(PipelineError):
    """Another measurement holds the host, and it did not become free in time."""


class LogError(PipelineError):
    """A LoadGen log cannot be read, or lacks a key."""


class InvalidRunError(PipelineError):
    """LoadGen called the run INVALID, or its log does not show the settings that were asked for.

    `over_latency`: its latency is over the limit, so a lower target may be met. `too_short`: the queries that
    its target asks for were answered too soon, so a higher target may be long enough. `disturbed`: something
    else on the host disturbed it, so the same target may be met as well.
    """

    over_latency = False
    too_short = False
    disturbed = False


class DisturbedRunError(PipelineError):
    """A run is valid, but something else on the host disturbed it beyond the limits of the system file."""


class AccuracyError(PipelineError):
    """The accuracy is below the target of the round."""


class RegressionError(PipelineError):
    """A result is lower than in earlier runs by more than was allowed."""


class AuditError(PipelineError):
    """A compliance test failed, or its log does not prove that the audit was applied.

    `result_disturbed` is set where only the performance differs from the result's, and the result's own run
    was disturbed: then that run is the one to be measured again.
    """

    result_disturbed = False


class IncompleteError(PipelineError):
    """Some results failed. The others are measured, packaged and stored as a candidate that lacks them.

    `outcome` is what the flow would have handed back of them, if anything was stored; `failures` are the
    errors of the results that failed.
    """

    outcome: object = None
    failures: tuple[PipelineError, ...] = ()


class TreeError(PipelineError):
    """A submission tree is refused by the validation, or cannot be read."""


class StoreError(PipelineError):
    """The S3 store refused a request for good: wrong key, no bucket, a tampered object."""
