"""What a person asks of the submission flow, checked against the system file before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from flows.parameters import Asked
from mlperf_submission.benchmark.facts import Edition, Weights
from mlperf_submission.benchmark.parts import Benchmark
from mlperf_submission.config.system import BenchmarkSettings, System, Tuning, load_system
from mlperf_submission.errors import SettingError
from mlperf_submission.harness.settings import RunLength, RunSettings, settings_for
from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario, get_round
from mlperf_submission.validation.official import require_checker
from models.registry import benchmark_names, get_benchmark


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
        **others: Any,
    ) -> SubmissionRequest:
        """Read the system file and choose from it by the parameters of `Asked`; see `of`."""
        return SubmissionRequest.of(
            Asked.checked(system=system, models=models, scenarios=scenarios, **others)
        )

    @staticmethod
    def of(asked: Asked) -> SubmissionRequest:
        """Read the system file and choose from it.

        Raises:
            SettingError: an unknown system, or a benchmark or scenario that the system file does not name;
                a submission would be without a scenario that the round asks for, or keep too few samples
                loaded; or the official checker that the file names is not there, or does not know the round.
        """
        without = tuple(asked.without or ())
        loaded = load_system(asked.system)
        _check_sources(loaded)
        if loaded.official_checker:
            require_checker(loaded.official_checker, loaded.round)
        chosen_models = _choose("benchmark", asked.models, list(loaded.benchmarks), loaded.name)
        named = {scenario.value for settings in loaded.benchmarks.values() for scenario in settings.scenarios}
        known = [scenario.value for scenario in Scenario if scenario in named]
        chosen_scenarios = _choose("scenario", asked.scenarios, known, loaded.name)
        results = tuple(
            ResultRequest(name, scenario, tuning)
            for name in chosen_models
            for scenario, tuning in loaded.benchmarks[name].scenarios.items()
            if scenario in chosen_scenarios and not _is_left_out(name, scenario, loaded, without)
        )
        if not results:
            raise SettingError(
                f"no benchmark of {', '.join(chosen_models)} has a scenario of {', '.join(chosen_scenarios)}"
                + (f" without {', '.join(without)}" if without else ""),
                where=loaded.name,
                remedy="name the scenario in the system file, or leave out --scenarios or --without",
            )
        for name in chosen_models:
            get_benchmark(name)  # one that the round knows, but this version does not run, is an error now
        if asked.search_seconds and not any(one.scenario is Scenario.SERVER for one in results):
            raise SettingError(
                f"a search finds a target of Server, and only {', '.join(chosen_scenarios)} is asked for",
                where=loaded.name,
                remedy="leave the search out: the result of SingleStream and MultiStream is a latency, and a "
                "probe finds what Offline expects",
            )
        if asked.search_seconds and asked.weights == "random":
            raise SettingError(
                "a Server target is not searched with random weights: it would be none of the result's",
                remedy="leave the search out, or --weights random",
            )
        if asked.layers is not None and asked.weights != "random":
            raise SettingError(
                f"{asked.layers} layers with {asked.weights} weights cannot be",
                remedy="give layers only with --weights random",
            )
        request = SubmissionRequest(
            loaded,
            results,
            asked.full_length or (asked.weights == "trained" and not loaded.is_rehearsal),
            asked.search_seconds,
            asked.weights,
            asked.layers,
            without,
        )
        for one in results if request.full_length else ():
            request.settings_for(one, RunKind.PERFORMANCE, one.tuning.rate or 1.0, RunLength.official())
        for name in without:
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
        least = self.loaded_samples(benchmark) if self.weights == "random" else 1
        return min(max(settings.mini_samples, least), rules.dataset_size)

    def settings_for(
        self, result: ResultRequest, kind: RunKind, target_qps: float, length: RunLength
    ) -> RunSettings:
        """Return the settings of a run of a result; see `mlperf_submission.harness.settings.settings_for`."""
        return settings_for(
            self.round,
            result.benchmark,
            kind,
            result.scenario,
            target_qps=target_qps,
            performance_sample_count=self.loaded_samples(result.benchmark),
            length=length,
        )

    def loaded_samples(self, benchmark: str) -> int:
        """Return how many samples LoadGen keeps loaded in a performance run.

        A rehearsal loads no more than its mini edition has; one of full length takes the official number
        where its system file names a smaller one.
        """
        settings, official = self.settings_of(benchmark), self.rules_of(benchmark).performance_sample_count
        own = settings.performance_sample_count or official
        if not self.system.is_rehearsal:
            return own
        return max(own, official) if self.full_length else min(own, settings.mini_samples)

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
