"""The steps of the pipeline as the plan names them, and which of them are made from which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

AUDITS = ("test01", "test04", "test05")
RUNS = ("performance", "accuracy", *AUDITS)
"""The runs of a result; all of them hold its target rate, so a new target repeats them all."""
DELIVERY = ("package", "validate", "report", "upload")
PREPARATION = (
    "make_mini",
    "download",
    "random_network",
    "verify_data",
    "preprocess",
    "quantize",
    "build_engine",
)
STEPS = (*PREPARATION, "probe", "search", *RUNS, *DELIVERY)
"""Every step, in the order of the plan."""

MADE_OF: Mapping[str, tuple[str, ...]] = {
    "make_mini": ("download",),
    "download": ("verify_data", "preprocess", "quantize", "accuracy"),
    "random_network": ("quantize",),
    "verify_data": ("preprocess", "accuracy"),
    "preprocess": ("quantize", "probe", "search", *RUNS),
    "quantize": ("build_engine", "probe", "search", *RUNS),
    "build_engine": ("probe", "search", *RUNS),
    "probe": RUNS,
    "search": RUNS,
    "performance": (*AUDITS, "package"),
    "accuracy": ("test01", "package"),
    "test01": ("package",),
    "test04": ("package",),
    "test05": ("package",),
    "package": ("validate",),
    "validate": ("report",),
    "report": ("upload",),
    "upload": (),
}
"""What takes a step's output, so that it is done again when that changes."""


def made_again(first: Iterable[str]) -> tuple[str, ...]:
    """Return these steps and all that are made of them, in the order of the plan."""
    found: set[str] = set()
    waiting = list(first)
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting += MADE_OF[step]
    return tuple(step for step in STEPS if step in found)


def shown(first: tuple[str, ...]) -> str:
    """Return in words what is to be done again; without a step, it is the one that failed."""
    if not first:
        return "the step that failed, and what comes after it"
    steps = made_again(first)
    work = [step for step in steps if step not in DELIVERY]
    rest = [step for step in steps if step in DELIVERY]
    if not work:
        return ", ".join(rest)
    of = "benchmark" if any(step in PREPARATION for step in work) else "result"
    return f"{', '.join(work)} of this {of}; then {', '.join(rest)}"
