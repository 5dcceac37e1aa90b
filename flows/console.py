"""What a person sees while a flow runs: a line per step, the step at work, the time that is left."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tasks.progress import EVENTS, StepEvent

_PARTS = {
    **dict.fromkeys(
        ("make_mini", "download", "verify_data", "random_network", "preprocess", "quantize", "build_engine"),
        "prepare",
    ),
    **dict.fromkeys(("probe", "search"), "find the rate"),
    "performance": "performance",
    "accuracy": "accuracy",
    **dict.fromkeys(("test01", "test04", "test05"), "audits"),
}
"""The part of a run that a step belongs to; the others deliver."""
_ORDER = ("prepare", "find the rate", "performance", "accuracy", "audits", "deliver", "start and end")


class Estimate:
    """How long the steps that are left will take: the plan's seconds, less what is done.

    Args:
        planned: (step, label) to the expected seconds of work, in order.
    """

    def __init__(self, planned: Sequence[tuple[tuple[str, str], float]]) -> None:
        self.total = len(planned)
        self.finished = 0
        self._left = dict(planned)

    def finish(self, event: StepEvent) -> None:
        """Take a step that is found or done off the list."""
        if self._left.pop((event.step, event.label), None) is not None:
            self.finished += 1

    def seconds_left(self, at_work: StepEvent | None, running_for: float) -> float:
        """Return the expected seconds, given the step at work and for how long it has been running."""
        left = sum(self._left.values())
        if at_work and (planned := self._left.get((at_work.step, at_work.label))) is not None:
            if at_work.fraction > 0.05:
                whole = running_for / at_work.fraction
                left += max(whole - running_for, 0) - planned
            else:
                left -= min(running_for, planned)
        return max(left, 0.0)


class ProgressConsole(logging.Handler):
    """Shows step events: live on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console, estimate: Estimate) -> None:
        super().__init__()
        self.console = console
        self.estimate = estimate
        self._at_work: StepEvent | None = None
        self._since = time.monotonic()
        self._notes: list[str] = []
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._live: Live | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Show one event."""
        event: StepEvent | None = getattr(record, "step_event", None)
        if event is None:
            return
        if event.kind == "start":
            self._at_work, self._since = event, time.monotonic()
        elif event.kind == "progress":
            self._at_work = event
        elif event.kind == "note":
            self._notes.append(event.text)
        else:
            self._finish(event)

    def split(self, whole: float) -> str:
        """Return how a wall time in seconds splits, e.g. `prepare 0:38, accuracy 0:21, deliver 0:03`."""
        parts: defaultdict[str, float] = defaultdict(float)
        for step, seconds in self._spent.items():
            parts[_PARTS.get(step, "deliver")] += seconds
        parts["start and end"] = whole - sum(self._spent.values())
        return ", ".join(f"{name} {clock(parts[name])}" for name in _ORDER if parts[name] >= 0.5)

    def _finish(self, event: StepEvent) -> None:
        self._spent[event.step] += event.seconds
        if event.kind in ("found", "done"):
            self.estimate.finish(event)
        self._at_work = None
        mark, style = {"found": ("=", "dim"), "done": ("✓", "green")}.get(event.kind, ("✗", "red"))
        took = "found" if event.kind == "found" else f"{event.seconds:.1f} s"
        count = f"{self.estimate.finished:>3}/{self.estimate.total}"
        line = Text.assemble(
            (f" {mark} ", style),
            (f"{count}  ", "dim"),
            f"{event.step:<15} {event.label:<34} ",
            (f"{took:>8}", "bold"),
        )
        if event.kind == "done" and event.text:
            line.append(f"  {event.text}", style="dim")
        if event.kind == "failed":
            line.append(f"  {event.text}", style="red")
        if not self._live:
            line.append(f"  (about {clock(self.estimate.seconds_left(None, 0))} left)", style="dim")
        self.console.print(line, soft_wrap=True)

    def __rich__(self) -> Text:
        """Draw the line of the step at work."""
        at_work, running_for = self._at_work, time.monotonic() - self._since
        left = clock(self.estimate.seconds_left(at_work, running_for))
        if at_work is None:
            return Text(f"   about {left} left", style="dim")
        cells = round(at_work.fraction * 20)
        return Text.assemble(
            (" ▸ ", "cyan"),
            (f"{self.estimate.finished + 1:>3}/{self.estimate.total}  ", "dim"),
            f"{at_work.step:<15} {at_work.label:<34} ",
            ("━" * cells, "cyan"),
            ("━" * (20 - cells), "bright_black"),
            f" {running_for:5.0f} s",
            (f"   about {left} left", "dim"),
        )

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


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
