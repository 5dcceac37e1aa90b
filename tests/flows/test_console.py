"""The progress that a person sees, and the estimate of the time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.console import Estimate, ProgressConsole, clock
from tasks.progress import StepEvent, emit

PLAN = [(("build", "x"), 10.0), (("measure", "x"), 30.0)]


def test_the_estimate_counts_what_is_left() -> None:
    estimate = Estimate(PLAN)
    assert estimate.seconds_left(None, 0) == 40
    at_work = StepEvent("progress", "build", "x", fraction=0.5)
    assert estimate.seconds_left(at_work, 20) == 20 + 30  # twice as slow as planned
    assert estimate.seconds_left(StepEvent("start", "build", "x"), 4) == 36
    estimate.finish(StepEvent("done", "build", "x"))
    assert (estimate.finished, estimate.seconds_left(None, 0)) == (1, 30)
    estimate.finish(StepEvent("done", "unplanned", "x"))
    assert estimate.finished == 1


def test_each_step_is_a_line_with_its_reason_and_the_time_left() -> None:
    output = io.StringIO()
    console = ProgressConsole(Console(file=output, width=200), Estimate(PLAN))
    with console.shown():
        emit(StepEvent("start", "build", "x"))
        emit(StepEvent("done", "build", "x", seconds=9.5, text="batch_size: 4 -> 8"))
        emit(StepEvent("failed", "measure", "x", text="it is INVALID"))
    emit(StepEvent("done", "measure", "x"))
    built, failed = output.getvalue().splitlines()
    assert all(
        text in built for text in ("✓", "1/2", "build", "9.5 s", "batch_size: 4 -> 8", "about 0:30 left")
    )
    assert "✗" in failed and "it is INVALID" in failed


def test_a_terminal_shows_the_step_at_work() -> None:
    output = io.StringIO()
    terminal = Console(file=output, width=160, force_terminal=True)
    with ProgressConsole(terminal, Estimate(PLAN)).shown():
        emit(StepEvent("start", "measure", "x"))
        emit(StepEvent("progress", "measure", "x", fraction=0.5))
    assert "▸" in output.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3600 * 5 + 62, "5:01:02")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
