"""What a person asks of the submission flow, checked against the system file before anything runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mlperf_submission.benchmark.facts import Edition, Weights
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.config.system import BenchmarkSettings, System, Tuning, load_system
from mlperf_submission.errors import SettingError
from mlperf_submission.rounds import ModelRules, Round, Scenario, get_round
from mlperf_submission.validation.official import require_checker
from models.registry import benchmark_names, get_benchmark

if TYPE_CHECKING:
    BenchmarkName = str
else:
    BenchmarkName = Literal[benchmark_names()]
"""The benchmarks of `models.registry`, as a form on Prefect's page offers them."""
ScenarioName = Literal["Offline", "Server", "SingleStream", "MultiStream"]


@dataclass(frozen=True)
class ResultRequest:
    """One result that is asked for: a benchmark in a scenario."""

    benchmark: str
    scenario: Scenario
    tuning: Tuning


@dataclass(frozen=True)
class SubmissionRequest:
    """A system and the part of it that is to be run.

    Attributes:
        system: the system file.
        results: the results that are asked for, by benchmark, Offline first.
        full_length: official durations, counts and sample numbers (always so for the full edition).
        search_seconds: budget for the search of the highest Server target; None: the file's target is taken.
        weights: `random`: the official layers with random weights on small data, which is never a result.
        layers: of gptj-99's random network; None: the official number.
        without: the results that a person takes out, as `<benchmark>` or `<benchmark>/<scenario>`.
    """

    system: System
    results: tuple[ResultRequest, ...]
    full_length: bool
    search_seconds: float | None = None
    weights: Weights = "trained"
    layers: int | None = None
    without: tuple[str, ...] = ()

    @staticmethod
    def checked(
        system: str,
        models: Sequence[str] | None = None,
        scenarios: Sequence[str] | None = None,
        full_length: bool = False,
        search_minutes: float | None = None,
        *,
        weights: Weights = "trained",
        layers: int | None = None,
        without: Sequence[str] | None = None,
    ) -> SubmissionRequest:
        """Read the system file and choose from it.

        Raises:
            SettingError: an unknown system, benchmark or scenario, or one that the system file does not name;
                a submission would be without a scenario that the round asks for; or the official checker
                that the file names is not there, or does not know the round.
        """
        loaded = load_system(system)
        _check_sources(loaded)
        if loaded.official_checker:
            require_checker(loaded.official_checker, loaded.round)
        chosen_models = _choose("benchmark", models, list(loaded.benchmarks), loaded.name)
        named = {scenario.value for settings in loaded.benchmarks.values() for scenario in settings.scenarios}
        known = [name for name in get_args(ScenarioName) if name in named]
        chosen_scenarios = _choose("scenario", scenarios, known, loaded.name)
        results = tuple(
            ResultRequest(name, scenario, tuning)
            for name in chosen_models
            for scenario, tuning in loaded.benchmarks[name].scenarios.items()
            if scenario in chosen_scenarios and not _is_left_out(name, scenario, loaded, without or ())
        )
        if not results:
            raise SettingError(
                f"no benchmark of {', '.join(chosen_models)} has a scenario of {', '.join(chosen_scenarios)}"
                + (f" without {', '.join(without)}" if without else ""),
                where=loaded.name,
                remedy="name the scenario in the system file, or leave out --scenarios or --without",
            )
        for name in chosen_models:
            get_benchmark(
                name
            )  # a benchmark that the round knows, but this version does not run, is an error now
        if search_minutes is not None and not 0 < search_minutes < math.inf:
            raise SettingError(f"the search cannot take {search_minutes} minutes", remedy="give more than 0")
        if search_minutes is not None and not any(one.scenario is Scenario.SERVER for one in results):
            raise SettingError(
                f"a search finds a target of Server, and only {', '.join(chosen_scenarios)} is asked for",
                where=loaded.name,
                remedy="leave the search out: the result of SingleStream and MultiStream is a latency, and a "
                "probe finds what Offline expects",
            )
        if search_minutes is not None and weights == "random":
            raise SettingError(
                "a Server target is not searched with random weights: it would be none of the result's",
                remedy="leave the search out, or --weights random",
            )
        if layers is not None and (weights != "random" or layers < 1):
            raise SettingError(
                f"{layers} layers with {weights} weights cannot be",
                remedy="give at least 1, and only with --weights random",
            )
        request = SubmissionRequest(
            loaded,
            results,
            full_length or (weights == "trained" and not loaded.is_rehearsal),
            None if search_minutes is None else 60 * search_minutes,
            weights,
            layers,
            tuple(without or ()),
        )
        for name in without or ():
            request.require_may_go(name.partition("/")[0])
        return request

    def full_edition(self, benchmark: Benchmark) -> Edition:
        """Return the full edition of a benchmark, with the person's own sources."""
        own = {
            source: given
            for key, given in self.system.sources.items()
            for name, _, source in [key.partition(".")]
            if name == benchmark.name
        }
        return benchmark.facts.full.with_own(own)

    def missing_scenarios(self, benchmark: str, present: Collection[Scenario]) -> list[Scenario]:
        """Return the scenarios that the round asks for and a benchmark lacks (rule M-05).

        Nothing is asked for in the open division, nor of a benchmark that is not there at all.
        """
        if self.system.division == "open" or not present:
            return []
        required = self.rules_of(benchmark).required(self.system.system_type)
        return [scenario for scenario in Scenario if scenario in required and scenario not in present]

    def require_may_go(self, benchmark: str) -> None:
        """Raise SettingError if what is left of a benchmark cannot stand in a submission; a rehearsal may."""
        present = [one.scenario for one in self.results if one.benchmark == benchmark]
        missing = self.missing_scenarios(benchmark, present)
        if missing and not self.system.is_rehearsal:
            raise SettingError(
                f"round {self.round.name} asks for {' and '.join(missing)} of {benchmark}: it cannot be "
                f"handed in with {' and '.join(present)} alone",
                where=self.system.name,
                remedy=f"take out the benchmark as a whole: --without {benchmark}",
            )

    @property
    def on_mini_data(self) -> bool:
        """Whether the data are those of the mini editions: in a rehearsal, and with random weights."""
        return self.system.is_rehearsal or self.weights == "random"

    @property
    def notices(self) -> list[str]:
        """What the system file says and this request has no use for, in words."""
        given: dict[str, list[str]] = {
            "sources": list(self.system.sources),
            "licensed_data": list(self.system.licensed_data),
        }
        unused = [f"{name} ({', '.join(keys)})" for name, keys in given.items() if keys]
        if not self.system.is_rehearsal or not unused:
            return []
        return [f"a rehearsal takes the mini edition: {' and '.join(unused)} of the system file are not used"]

    def layers_of(self, benchmark: str) -> int | None:
        """Return how many layers of a random network are asked for; None: the official number."""
        return None if get_benchmark(benchmark).facts.layers is None else self.layers

    def host_bytes_to_convert(self, benchmark: str) -> int | None:
        """Return the host memory that the network takes on its way to an engine; None: it is a small one."""
        if self.on_mini_data and (self.weights == "trained" or self.layers_of(benchmark)):
            return None
        return get_benchmark(benchmark).facts.sizes.converting

    @property
    def round(self) -> Round:
        """The round of the system."""
        return get_round(self.system.round)

    @property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks that are asked for, each once, in the order of the system file."""
        return tuple(get_benchmark(name) for name in dict.fromkeys(one.benchmark for one in self.results))

    @property
    def models(self) -> list[BenchmarkName]:
        """The names of `benchmarks`."""
        return [benchmark.name for benchmark in self.benchmarks]

    @property
    def scenarios(self) -> list[ScenarioName]:
        """The scenarios that are asked for, each once."""
        known: tuple[ScenarioName, ...] = get_args(ScenarioName)
        return [name for name in known if any(one.scenario == name for one in self.results)]

    def settings_of(self, benchmark: str) -> BenchmarkSettings:
        """Return what the system file says of a benchmark."""
        return self.system.benchmarks[benchmark]

    def sample_count(self, benchmark: str) -> int:
        """Return how many validation samples a mini edition is made with, at most the official set.

        With random weights they are at least as many as are to be loaded: a full system file does not say.
        """
        rules, settings = self.rules_of(benchmark), self.settings_of(benchmark)
        if self.full_length:
            return rules.dataset_size
        loaded = settings.performance_sample_count or rules.performance_sample_count
        least = loaded if self.weights == "random" else 1
        return min(max(settings.mini_samples, least), rules.dataset_size)

    def largest_batch(self, benchmark: str) -> int:
        """Return the largest batch of the benchmark's scenarios, which its engine is built for."""
        return max(tuning.batch_size for tuning in self.settings_of(benchmark).scenarios.values())

    def rules_of(self, benchmark: str) -> ModelRules:
        """Return what the round asks of a benchmark."""
        return self.round.model(benchmark)


def _check_sources(system: System) -> None:
    known = [
        f"{name}.{source}"
        for name in system.benchmarks
        if name in benchmark_names()
        for source in get_benchmark(name).facts.full.sources
    ]
    for key in system.sources:
        if key not in known:
            raise SettingError(
                f"there is no source {key!r}",
                where=f"sources of system {system.name}",
                remedy=f"those that can be replaced are: {', '.join(known)}",
            )


def _is_left_out(benchmark: str, scenario: Scenario, system: System, without: Sequence[str]) -> bool:
    names = {
        *system.benchmarks,
        *(f"{name}/{one}" for name, settings in system.benchmarks.items() for one in settings.scenarios),
    }
    for name in without:
        if name not in names:
            raise SettingError(
                f"there is no result {name!r} to leave out",
                where=f"system {system.name}",
                remedy=f"its results are: {', '.join(sorted(names))}",
            )
    return benchmark in without or f"{benchmark}/{scenario}" in without


def _choose(what: str, asked: Sequence[str] | None, known: Sequence[str], system: str) -> list[str]:
    if asked is None:
        return list(known)
    for name in asked:
        if name not in known:
            raise SettingError(
                f"unknown {what} {name!r}", where=f"system {system}", remedy=f"it names: {', '.join(known)}"
            )
    return [name for name in known if name in asked]
