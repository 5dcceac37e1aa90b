"""What the three measuring tasks share: what goes into a LoadGen run, and how it is made and kept.

A run is a finished step like any other: it is found again as long as nothing that went into it has changed,
among it the host that it ran on. A run that LoadGen calls INVALID is kept as evidence, never as finished.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from mlperf_submission.benchmark.facts import Weights
from mlperf_submission.errors import DisturbedRunError, InvalidRunError
from mlperf_submission.harness.backends.base import backend_modules
from mlperf_submission.harness.record import DETAIL_LOG, ChildReport, RunOutcome, RunRequest
from mlperf_submission.harness.run import measure
from mlperf_submission.harness.settings import RunSettings
from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.steps.cache import StepRecord
from mlperf_submission.submission.detail_log import DetailLog, read_detail
from tasks.engine.perform import Recorder, attempts_left, run_logger
from tasks.hardware import host_identity
from tasks.random_network import weights_label
from tasks.versions import benchmark_code, versions_of

RETRIES = 2
"""A disturbance of the host can make a run INVALID, or an audit differ from its result: it is measured again
so often, and every attempt is kept as evidence. A rehearsal measures once: its speed decides nothing."""

RUN_OVERHEAD_SECONDS = 47.0
"""Start, warm-up and reading the logs of a full run: the mean gap between the runs of the one unattended
chain (10 audits) of the model system's published v4.1 logs."""


class Notice(BaseModel):
    """What a rehearsal takes note of, and a submission would be refused for.

    Attributes:
        kind: in a few words, the same for all runs that it happened to.
        text: with the figures of this run.
    """

    model_config = ConfigDict(frozen=True)
    kind: str
    text: str


Judged = tuple[dict[str, JsonValue], Sequence[Notice]]
"""Figures and notices that the judge of a run adds to those of the run itself."""


class Bench(BaseModel):
    """A benchmark that is ready to be measured: its engine, its samples, and how it is driven.

    Attributes:
        benchmark: directory name.
        scenario: Offline or Server.
        request: the run's request; its settings are replaced for each kind of run.
        engine_hash: content hash of the engine or network that runs.
        samples_hash: content hash of the preprocessed samples.
        settings: the settings of each kind of run, by kind.
        limit_seconds: time limit of one run.
        repeat_disturbed: whether a run that was disturbed is measured again as long as a retry is left.
        weights: of the network, for the record.
    """

    model_config = ConfigDict(frozen=True)
    benchmark: str
    scenario: Scenario
    request: RunRequest
    engine_hash: str
    samples_hash: str
    settings: dict[RunKind, RunSettings]
    limit_seconds: float
    repeat_disturbed: bool = False
    weights: Weights = "trained"

    def label(self) -> str:
        """Return what a person reads: benchmark and scenario."""
        return weights_label(f"{self.benchmark} {self.scenario}", self.weights)


def run_inputs(bench: Bench, kind: RunKind, **more: JsonValue) -> dict[str, JsonValue]:
    """Return what goes into one run: engine, samples, settings, tuning, code, libraries and the host."""
    request = bench.request
    return {
        "engine": bench.engine_hash,
        "weights": bench.weights,
        "samples": bench.samples_hash,
        "settings": bench.settings[kind].model_dump(mode="json"),
        "tuning": request.model_dump(
            mode="json",
            include={"backend", "precision", "batch_size", "max_wait_us", "streams", "devices"},
        ),
        "code_version": benchmark_code(
            bench.benchmark,
            ("data", "answer"),
            "mlperf_submission.harness.child",
            backend_modules()[request.backend],
        ),
        **versions_of("mlcommons-loadgen", "numpy", "onnxruntime", "tensorrt", "tensorrt-rtx"),
        "python": platform.python_version(),
        "host": host_identity(),
        **more,
    }


def run_loadgen(
    bench: Bench,
    kind: RunKind,
    folder: Path,
    recorder: Recorder,
    *,
    audit_config: str | None = None,
    judge: Callable[[Path, RunOutcome], Judged] = lambda _folder, _outcome: ({}, ()),
) -> dict[str, JsonValue]:
    """Make a run: exclusive use of the host, one child process, one folder; return its figures.

    Args:
        bench: what is measured.
        kind: what the run is for.
        folder: receives LoadGen's files.
        recorder: is told how far it is.
        audit_config: the audit's configuration file.
        judge: called with the folder and the outcome of a valid run; may write files and returns figures and
            notices, or raises, which keeps the run from counting as finished.

    Figures: those of `RunOutcome`, and `notices`: in a rehearsal, what hangs on speed.

    Raises:
        InvalidRunError: LoadGen called it INVALID (in a rehearsal: for something else than speed or length),
            or its log shows other settings than were asked for.
        DisturbedRunError: it is valid, but was disturbed, and can be measured again.
    """
    request = bench.request.model_copy(
        update={"settings": bench.settings[kind], "audit_config": audit_config}
    )

    outcome = measure(
        request,
        folder,
        timeout_seconds=bench.limit_seconds,
        on_progress=recorder,
        on_message=run_logger().info,
    )
    require_valid(outcome, f"{kind} of {bench.label()}")
    if outcome.disturbances and not outcome.settings.is_accuracy:
        _require_kept(bench, outcome, f"{kind} of {bench.label()}")
    notices = [Notice(kind=reason.speed, text=reason.text) for reason in outcome.reasons]
    figures, more = judge(folder, outcome)
    return {
        **outcome.model_dump(mode="json", exclude={"folder", "settings", "reasons"}),
        "notices": [one.model_dump() for one in (*notices, *more)],
        **figures,
    }


def require_valid(outcome: RunOutcome, what: str) -> None:
    """Raise InvalidRunError, with every reason, what disturbed the run, and every remedy, unless it is valid.

    Of a rehearsal's run only what does not hang on speed or length makes it INVALID.
    """
    reasons = outcome.reasons if outcome.settings.official else outcome.faults
    if not reasons:
        return
    disturbed = f"; it was disturbed: {'; '.join(outcome.disturbances)}" if outcome.disturbances else ""
    error = InvalidRunError(
        f"the {what} is INVALID: {'; '.join(reason.text for reason in reasons)}{disturbed}",
        where=outcome.folder,
        remedy="; ".join(dict.fromkeys(reason.remedy for reason in reasons)),
    )
    error.codes = tuple(dict.fromkeys(reason.code for reason in reasons if reason.code))
    error.over_latency, error.too_short = outcome.over_latency, outcome.too_short
    error.disturbed = bool(outcome.disturbances)
    raise error


def _require_kept(bench: Bench, outcome: RunOutcome, what: str) -> None:
    """Raise DisturbedRunError if the disturbed run is to be measured again; else say that it is kept."""
    text = f"the {what} was disturbed: {'; '.join(outcome.disturbances)}"
    if bench.repeat_disturbed and attempts_left():
        raise DisturbedRunError(
            text, where=outcome.folder, remedy="it is measured again; keep the host free of other work"
        )
    run_logger().warning("%s; it is valid, and kept with this note", text)


def notices_of(run: StepRecord) -> tuple[Notice, ...]:
    """Return what a rehearsal's run would have been refused for as a submission; else nothing."""
    found = run.figures.get("notices", [])
    return tuple(Notice.model_validate(one) for one in found) if isinstance(found, list) else ()


def disturbances_of(run: StepRecord) -> tuple[str, ...]:
    """Return what disturbed a finished timed run beyond the limits; empty if nothing did."""
    if run.step == RunKind.ACCURACY:
        return ()
    return child_report(run).disturbances


def child_report(run: StepRecord) -> ChildReport:
    """Return what the child process of a finished run reported."""
    return ChildReport.model_validate(run.figures["child"])


def detail_log(run: StepRecord) -> DetailLog:
    """Return the detail log of a finished run."""
    return read_detail(run.file(DETAIL_LOG))
