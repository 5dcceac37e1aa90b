"""The parameters of a submission: for the command line, for the form on Prefect's page and for the fleet."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlperf_submission.benchmark.facts import Weights
from mlperf_submission.errors import SettingError
from mlperf_submission.harness.settings import SUPPORTED_SCENARIOS
from models.registry import benchmark_names

if TYPE_CHECKING:
    BenchmarkName = str
    ScenarioName = str
else:
    BenchmarkName = Literal[benchmark_names()]
    ScenarioName = Literal[tuple(scenario.value for scenario in SUPPORTED_SCENARIOS)]
PublishChoice = Literal["ask", "never"]
SystemFile = Annotated[
    str, Field(description="A name in deployments/systems, or the path of a system file (.yaml).")
]
_SEARCH_MINUTES = 30.0


class Parameters(BaseModel):
    """What a flow or a command is told, each with its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def checked(cls, **given: Any) -> Self:
        """Return the parameters, converted to their types.

        Raises:
            SettingError: one is unknown or missing, or has a value that it cannot have; all are named.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}, not {reprlib.repr(one['input'])}"
                for one in error.errors()
            ]
            raise SettingError(
                "; ".join(problems), remedy="correct the parameters that are named, or leave them out"
            ) from error


class Choice(Parameters):
    """What is chosen of one system or of many."""

    models: Annotated[
        list[BenchmarkName] | None,
        Field(description="Only these benchmarks, e.g. resnet50; none: all that the system file names."),
    ] = None
    scenarios: Annotated[
        list[ScenarioName] | None,
        Field(description="Only these scenarios, e.g. Offline; none: all that the system file names."),
    ] = None
    work: Annotated[Path, Field(description="The folder that everything is kept in.")] = Path("work")


class Asked(Choice):
    """The submission of one system, as far as a plan depends on it."""

    system: SystemFile
    without: Annotated[
        list[str] | None,
        Field(description="Leave these results out, e.g. retinanet or retinanet/Server; none: take all."),
    ] = None
    full_length: Annotated[
        bool, Field(description="A rehearsal with the official durations, counts and sample numbers.")
    ] = False
    find_server_qps: Annotated[
        bool,
        Field(description="First search the highest Server target that stays VALID, for 30 minutes each."),
    ] = False
    search_minutes: Annotated[
        float | None, Field(gt=0, description="Search the Server target of each benchmark for so long.")
    ] = None
    weights: Annotated[
        Weights,
        Field(description="random: build and time the official networks with random weights; no result."),
    ] = "trained"
    layers: Annotated[
        int | None, Field(ge=1, description="Layers of gptj-99's random network; none: all 28.")
    ] = None

    @property
    def search_seconds(self) -> float | None:
        """What the search of the Server target may take for a benchmark; None: the file's is taken."""
        minutes = self.search_minutes or (_SEARCH_MINUTES if self.find_server_qps else None)
        return minutes and 60 * minutes


class Doing(Choice):
    """How a submission is done, of one system or of many."""

    measure_again: Annotated[
        bool, Field(description="Repeat finished measurements; what was prepared is kept.")
    ] = False
    publish: Annotated[
        PublishChoice,
        Field(description="Ask at the end whether to publish the run, or do not; rehearsals never are."),
    ] = "ask"


class SubmissionParameters(Doing, Asked):
    """The submission of one system."""

    anyway: Annotated[
        bool, Field(description="Run even if disk, memory or GPUs do not suffice for the plan.")
    ] = False


P = TypeVar("P", bound=Parameters)
R = TypeVar("R")


def signature_of(model: type[Parameters]) -> inspect.Signature:
    """Return what a function takes that is called with the parameters themselves, the required ones first."""
    found = inspect.signature(model).parameters.values()
    return inspect.Signature(sorted(found, key=lambda one: one.default is not one.empty))


def taking(model: type[P]) -> Callable[[Callable[[P], R]], Callable[..., R]]:
    """Decorate a function of a model, to be called with the parameters themselves.

    Prefect draws the form of a flow from the signature, and takes its help from the docstring.
    """

    def decorate(body: Callable[[P], R]) -> Callable[..., R]:
        @wraps(body)
        def called(**given: Any) -> R:
            return body(model.checked(**given))

        help_texts = [f"    {name}: {field.description}" for name, field in model.model_fields.items()]
        called.__doc__ = "\n".join([inspect.getdoc(body) or "", "", "Args:", *help_texts])
        called.__signature__ = signature_of(model)  # type: ignore[attr-defined]
        return called

    return decorate
