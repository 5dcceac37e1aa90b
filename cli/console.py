"""What a person sees while a flow runs: a line per step, the steps at work, the time that is left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tasks.engine.spec import PARTS
from tasks.progress import EVENTS, StepEvent

_ORDER = (*PARTS, "start and end")

StepName = tuple[str, str]
"""Step and label."""


class Estimate:
    """How long the steps that are left will take: the plan's seconds, less what is done.

    Args:
        planned: (step, label) to the expected seconds of work, in order.
    """

    def __init__(self, planned: Sequence[tuple[StepName, float]]) -> None:
        self.total = len(planned)
        self.finished = 0
        self._left = dict(planned)

    def finish(self, event: StepEvent) -> bool:
        """Take a step that is found or done off the list; return whether it was on it."""
        was_left = self._left.pop((event.step, event.label), None) is not None
        self.finished += was_left
        return was_left

    def seconds_left(self, at_work: StepEvent | None, running_for: float) -> float:
        """Return the expected seconds, given a step at work and for how long it has been running."""
        left = sum(self._left.values())
        if at_work and (planned := self._left.get((at_work.step, at_work.label))) is not None:
            if at_work.fraction > 0.05:
                whole = running_for / at_work.fraction
                left += max(whole - running_for, 0) - planned
            else:
                left -= min(running_for, planned)
        return max(left, 0.0)


@dataclass
class _AtWork:
    """A step at work: its newest event, and when it began (monotonic seconds)."""

    event: StepEvent
    since: float


class ProgressConsole(logging.Handler):
    """Shows step events: live on a terminal, as plain lines elsewhere.

    Steps that are found one after the other take one line together.
    """

    def __init__(self, console: Console, estimate: Estimate) -> None:
        super().__init__()
        self.console = console
        self.estimate = estimate
        self._at_work: dict[StepName, _AtWork] = {}
        self._found = 0
        self._spent: dict[str, list[tuple[float, float]]] = {}
        self._live: Live | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show one event; events of steps that run side by side come from several threads."""
        event: StepEvent | None = getattr(record, "step_event", None)
        if event is None or event.kind == "note":
            return
        name = (event.step, event.label)
        if event.kind == "start":
            self._at_work[name] = _AtWork(event, time.monotonic())
        elif event.kind == "progress":
            if at_work := self._at_work.get(name):
                at_work.event = event
        else:
            self._finish(event)

    def split(self, whole: float) -> str:
        """Return how a wall time in seconds splits, e.g. `prepare 0:38, accuracy 0:21, deliver 0:03`.

        Where steps of a part ran side by side, the time counts once.
        """
        parts = {part: _covered(spans) for part, spans in self._spent.items()}
        parts["start and end"] = whole - _covered([span for spans in self._spent.values() for span in spans])
        return ", ".join(f"{name} {clock(parts[name])}" for name in _ORDER if parts.get(name, 0) >= 0.5)

    def _finish(self, event: StepEvent) -> None:
        now, at_work = time.monotonic(), self._at_work.pop((event.step, event.label), None)
        seconds = now - at_work.since if at_work else event.seconds
        self._spent.setdefault(event.part, []).append((now - seconds, now))
        was_left = event.kind in ("found", "done") and self.estimate.finish(event)
        if event.kind == "found":
            self._found += was_left  # a probe for two scenarios is found once
            return
        self._say_found()
        mark, style = ("✓", "green") if event.kind == "done" else ("✗", "red")
        count = f"{self.estimate.finished:>3}/{self.estimate.total}"
        line = Text.assemble(
            (f" {mark} ", style),
            (f"{count}  ", "dim"),
            f"{event.step:<15} {event.label:<34} ",
            (f"{seconds:>6.1f} s", "bold"),
        )
        if event.text:
            line.append(f"  {event.text}", style="dim" if event.kind == "done" else "red")
        if not self._live:
            line.append(f"  (about {clock(self.estimate.seconds_left(None, 0))} left)", style="dim")
        self.console.print(line, soft_wrap=True)

    def _say_found(self) -> None:
        """Print one line for all steps that were found since the last line."""
        found, self._found = self._found, 0
        if found:
            steps = "step was" if found == 1 else "steps were"
            self.console.print(
                Text(f" = {self.estimate.finished:>3}/{self.estimate.total}  {found} {steps} found", "dim"),
                soft_wrap=True,
            )

    def __rich__(self) -> Group:
        """Draw a line for each step at work."""
        running = list(self._at_work.values())
        if not running:
            return Group(Text(f"   about {clock(self.estimate.seconds_left(None, 0))} left", style="dim"))
        now = time.monotonic()
        left = clock(self.estimate.seconds_left(running[0].event, now - running[0].since))
        lines = []
        for number, one in enumerate(running):
            cells = round(one.event.fraction * 20)
            lines.append(
                Text.assemble(
                    (" ▸ ", "cyan"),
                    (f"{self.estimate.finished + number + 1:>3}/{self.estimate.total}  ", "dim"),
                    f"{one.event.step:<15} {one.event.label:<34} ",
                    ("━" * cells, "cyan"),
                    ("━" * (20 - cells), "bright_black"),
                    f" {now - one.since:5.0f} s",
                    (f"   about {left} left" if number == 0 else "", "dim"),
                )
            )
        return Group(*lines)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Listen to events for the length of the block."""
        EVENTS.addHandler(self)
        EVENTS.setLevel(logging.INFO)
        EVENTS.propagate = False
        try:
            if self.console.is_terminal:
                with Live(self, console=self.console, refresh_per_second=4, transient=True) as self._live:
                    yield
            else:
                yield
        finally:
            self._live = None
            EVENTS.removeHandler(self)
            self._say_found()


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return how long at least one of the spans lasted, seconds."""
    covered, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        covered += max(0.0, last - max(first, end))
        end = max(end, last)
    return covered


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
