"""The steps of a run, each said once: its part, what takes its output, how long it takes at first.

Progress, plan, durations, the time line of the page and the lists of what is done again derive from this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["prepare", "find the rate", "performance", "accuracy", "audits", "deliver"]

RUN_OVERHEAD_SECONDS = 47.0
"""Start, warm-up and reading the logs of a full run: the mean gap between the runs of the one unattended
chain (10 audits) of the model system's published v4.1 logs."""
_A_GUESS = 5.0


@dataclass(frozen=True)
class StepSpec:
    """One kind of step.

    Attributes:
        part: the part of a run that it belongs to.
        taken_by: the steps that take its output, so that they are done again when it changes.
        mini_seconds: what it takes in a rehearsal on two cores, a mean (docs/performance.md has the machine).
        full_seconds: the same of the full edition; a guess where it is not the minimum of a rule.
    """

    name: str
    part: Part
    taken_by: tuple[str, ...] = ()
    mini_seconds: float = _A_GUESS
    full_seconds: float = _A_GUESS


AUDITS = ("test01", "test04", "test05")
RUNS = ("performance", "accuracy", *AUDITS)
"""The runs of a result; all of them hold its target rate, so a new target repeats them all."""
_MEASURED = ("probe", "search", *RUNS)

SPECS: Mapping[str, StepSpec] = {
    spec.name: spec
    for spec in (
        StepSpec("make_mini", "prepare", ("download",), 2.0, 2.0),
        StepSpec("download", "prepare", ("verify_data", "preprocess", "quantize", "accuracy"), 0.3, 30.0),
        StepSpec("random_network", "prepare", ("quantize",), 5.0, 5.0),
        StepSpec("verify_data", "prepare", ("preprocess", "accuracy"), 300.0, 300.0),
        StepSpec("preprocess", "prepare", ("quantize", *_MEASURED), 1.0, 60.0),
        StepSpec("quantize", "prepare", ("build_engine", *_MEASURED), 3.0, 600.0),
        StepSpec("build_engine", "prepare", _MEASURED, 0.6, 600.0),
        StepSpec("probe", "find the rate", RUNS, 2.5, RUN_OVERHEAD_SECONDS),
        StepSpec("search", "find the rate", RUNS),
        StepSpec("performance", "performance", (*AUDITS, "package")),
        StepSpec("accuracy", "accuracy", ("test01", "package")),
        *(StepSpec(name, "audits", ("package",)) for name in AUDITS),
        StepSpec("describe", "deliver", ("package",), 0.5, 0.5),
        StepSpec("package", "deliver", ("validate",), 1.5, 10.0),
        StepSpec("validate", "deliver", ("report",), 0.5, 10.0),
        StepSpec("report", "deliver", ("upload",), 0.2, 2.0),
        StepSpec("upload", "deliver", (), 6.5, 600.0),
    )
}
"""Every step, in the order of the plan."""

STEPS = tuple(SPECS)


def part_of(step: str) -> Part:
    """Return the part that a step belongs to; what is not of a plan (publish, merge, …) delivers."""
    return SPECS[step].part if step in SPECS else "deliver"


def steps_of(part: Part) -> tuple[str, ...]:
    """Return the steps of a part, in their order."""
    return tuple(name for name, spec in SPECS.items() if spec.part == part)


def made_again(first: Iterable[str]) -> tuple[str, ...]:
    """Return these steps and all that are made of them, in the order of the plan."""
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting += SPECS[step].taken_by
    return tuple(step for step in STEPS if step in found)


def shown(first: tuple[str, ...]) -> str:
    """Return in words what is to be done again; without a step, it is the one that failed."""
    if not first:
        return "the step that failed, and what comes after it"
    steps = made_again(first)
    work = [step for step in steps if part_of(step) != "deliver"]
    rest = [step for step in steps if part_of(step) == "deliver"]
    if not work:
        return ", ".join(rest)
    of = "benchmark" if any(part_of(step) == "prepare" for step in work) else "result"
    return f"{', '.join(work)} of this {of}; then {', '.join(rest)}"
