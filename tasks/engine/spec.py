"""What a step is: its spec, said once beside what it does; and one piece of work of it."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from pydantic import JsonValue

from mlperf_submission.errors import PipelineError

if TYPE_CHECKING:
    from mlperf_submission.steps.cache import StepRecord
    from tasks.engine.perform import Recorder
    from tasks.workspace import Workspace

Part = Literal["prepare", "find the rate", "performance", "accuracy", "audits", "deliver"]
PARTS: tuple[Part, ...] = get_args(Part)
RUN_PARTS: tuple[Part, ...] = ("performance", "accuracy", "audits")
"""LoadGen's runs of a result."""
Asset = Literal["engine", "tree", "page", "run"]
ASSETS: tuple[Asset, ...] = get_args(Asset)
"""What Prefect shows as assets; each is made of those of its system that stand before it."""
R = TypeVar("R")
_A_GUESS = 5.0


def may_be_tried_again(error: BaseException) -> bool:
    """Whether an error says of itself that it may be gone the next time."""
    return isinstance(error, PipelineError) and error.retryable


@dataclass(frozen=True)
class StepSpec:
    """One kind of step.

    Attributes:
        name: verb first; also its folder in the cache.
        part: the part of a run that it belongs to. Preparation shares the host with other preparation.
        takes: the steps, or whole parts, whose output goes in: it is done again when one of them is.
        mini_seconds: what it takes in a rehearsal on two cores, a mean (docs/performance.md has the machine).
        full_seconds: the same of the full edition; a guess where it is not the minimum of a rule.
        retries: how often a failure is tried again, after 1, 2, 4, … seconds.
        again: which errors are.
        quiet: it is no work, only looked at: nothing is told of it.
        asset: as what its output is shown among Prefect's assets, if it is.
        on_request: few system files ask for it, so it is not named in what is done again.
    """

    name: str
    part: Part
    takes: tuple[str, ...] = ()
    mini_seconds: float = _A_GUESS
    full_seconds: float = _A_GUESS
    retries: int = 0
    again: Callable[[BaseException], bool] = may_be_tried_again
    quiet: bool = False
    asset: Asset | None = None
    on_request: bool = False

    @property
    def is_run(self) -> bool:
        """Whether it is a LoadGen run of a result, which `measure_again` repeats."""
        return self.part in RUN_PARTS


@dataclass(frozen=True)
class Work(Generic[R]):
    """A piece of work that a story asks for, of one of the two kinds below; it hands on an R.

    Attributes:
        spec: its kind.
        label: what it is done for, e.g. `resnet50 int8`; known before any step is done.
    """

    spec: StepSpec
    label: str


@dataclass(frozen=True)
class Step(Work["StepRecord"]):
    """Work whose files are kept: it is found again as long as nothing that goes in has changed.

    Attributes:
        inputs: returns everything that goes in; may look at what other steps made.
        produce: writes into an empty folder and returns figures; what it wrote becomes the step's files.
        seconds: returns how long it would take now, where more is known than the spec's guess.
        show: leaves something with Prefect's run, each time, found or done.
    """

    inputs: Callable[[], Mapping[str, JsonValue]]
    produce: Callable[[Path, Recorder], Mapping[str, Any]]
    seconds: Callable[[Workspace], float] | None = None
    show: Callable[[StepRecord], None] | None = None


@dataclass(frozen=True)
class Done(Generic[R]):
    """What a piece of work came to.

    Attributes:
        value: what it hands on.
        text: what a person is told: why it was done, or what was.
        found: whether there was nothing to do.
    """

    value: R
    text: str = ""
    found: bool = False


@dataclass(frozen=True)
class Act(Work[R]):
    """Work that leaves no files of its own: each time it is looked at what there is to do.

    Attributes:
        do: does what is left to do.
        finished: returns what it would hand on if there is nothing to do, else None; for the plan.
    """

    do: Callable[[Recorder], Done[R]]
    finished: Callable[[Workspace], R | None] = lambda _: None


@cache
def all_steps() -> tuple[StepSpec, ...]:
    """Return the spec of every file in `tasks/`, each after those that it takes from."""
    found: dict[str, StepSpec] = {}
    package = import_module(__name__.partition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(import_module(module.name)).values():
            kinds = value if isinstance(value, tuple) else (value,)
            found |= {kind.name: kind for kind in kinds if isinstance(kind, StepSpec)}

    def depth(spec: StepSpec) -> int:
        taken = (found[name] for name in spec.takes if name in found)
        return 1 + max((depth(one) for one in taken if one.part == spec.part), default=0)

    return tuple(sorted(found.values(), key=lambda one: (PARTS.index(one.part), depth(one), one.name)))


def made_again(first: Iterable[str]) -> tuple[StepSpec, ...]:
    """Return these steps or parts and all that is made of them, in the order of `all_steps`."""
    wanted, found = {*first}, {*first}
    again = []
    for spec in all_steps():
        if spec.on_request and spec.name not in wanted:
            continue
        if wanted & {spec.name, spec.part} or found & {*spec.takes}:
            found |= {spec.name, spec.part}
            again.append(spec)
    return tuple(again)


def said_again(first: tuple[str, ...]) -> str:
    """Return in words what is to be done again; without a step, it is the one that failed."""
    if not first:
        return "the step that failed, and what comes after it"
    steps = made_again(first)
    work = [step.name for step in steps if step.part != "deliver"]
    rest = ", ".join(step.name for step in steps if step.part == "deliver")
    if not work:
        return rest
    of = "benchmark" if steps[0].part == "prepare" else "result"
    return f"{', '.join(work)} of this {of}; then {rest}"
