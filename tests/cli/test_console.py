"""The progress that a person sees, and the estimate of the time left."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from cli.console import Estimate, ProgressConsole, clock
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


@pytest.fixture
def clock_moves(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A monotonic clock that only the test moves, by seconds."""
    now = [1000.0]
    monkeypatch.setattr("cli.console.time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_each_step_is_a_line_with_its_reason_and_the_time_left(clock_moves: Callable[[float], None]) -> None:
    output = io.StringIO()
    console = ProgressConsole(Console(file=output, width=200), Estimate(PLAN))
    with console.shown():
        emit(StepEvent("start", "build", "x"))
        clock_moves(9.5)
        emit(StepEvent("done", "build", "x", text="batch_size: 4 -> 8"))
        emit(StepEvent("start", "measure", "x"))
        clock_moves(40)
        emit(StepEvent("failed", "measure", "x", text="it is INVALID"))
    emit(StepEvent("done", "measure", "x"))
    built, failed = output.getvalue().splitlines()
    assert all(
        text in built for text in ("✓", "1/2", "build", "9.5 s", "batch_size: 4 -> 8", "about 0:30 left")
    )
    assert all(text in failed for text in ("✗", "it is INVALID", "40.0 s"))


def test_found_steps_take_one_line_together() -> None:
    output = io.StringIO()
    console = ProgressConsole(Console(file=output, width=200), Estimate(PLAN))
    with console.shown():
        for step in ("build", "measure"):
            emit(StepEvent("start", step, "x"))
            emit(StepEvent("found", step, "x"))
    assert output.getvalue().split() == ["=", "2/2", "2", "steps", "were", "found"]


def test_the_time_of_steps_side_by_side_counts_once(clock_moves: Callable[[float], None]) -> None:
    console = ProgressConsole(Console(file=io.StringIO(), width=200), Estimate(PLAN))
    with console.shown():
        emit(StepEvent("start", "quantize", "x"))
        clock_moves(10)
        emit(StepEvent("start", "quantize", "y"))
        clock_moves(10)
        emit(StepEvent("done", "quantize", "x", part="prepare"))
        clock_moves(5)
        emit(StepEvent("done", "quantize", "y", part="prepare"))
    assert console.split(30) == "prepare 0:25, start and end 0:05"


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
