"""Reading one scenario of one benchmark: its result, accuracy, latencies, audits, and where each stands."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlperf_submission.errors import LogError
from mlperf_submission.page.data import AccuracyFigure, Audit, Figure, Percentile, Place, Result, Run
from mlperf_submission.page.text import clean, duration, number
from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission import results
from mlperf_submission.submission.accuracy_text import (
    Line,
    Reading,
    all_metrics,
    as_number,
    official_part,
    read_lines,
)
from mlperf_submission.submission.detail_log import DetailLog, read_detail
from mlperf_submission.submission.files import DETAIL, SUMMARY, Tree
from mlperf_submission.submission.times import run_span

_PERCENTILE = re.compile(r"result_(\d{2}\.\d{2})_percentile_latency_ns")
_LIMITED = (Scenario.SERVER, Scenario.INTERACTIVE)


class ResultReader:
    """Reads one result.

    Args:
        tree: the tree.
        submission: the submitter's folder.
        below: where the result lies below it and its rooms, `system/benchmark/scenario`.
        round_: the round whose layout, keys, units and targets apply.
        rules: what the round asks of the model; None if it does not have it.
        deep: also the audits, the times of all runs and the files.
    """

    def __init__(
        self, tree: Tree, submission: str, below: str, round_: Round, rules: ModelRules | None, deep: bool
    ) -> None:
        self.tree = tree
        self.results, self.measurements, self.compliance = (
            f"{submission}/{round_.room(kind)}/{below}" for kind in ("results", "measurements", "compliance")
        )
        self.round = round_
        self.rules = rules
        self.deep = deep
        self.problems: list[str] = []

    def read(self, benchmark: str, scenario: Scenario) -> Result:
        """Return what there is; a damaged or missing file becomes one of its problems, never an exception.

        Args:
            benchmark: the model's directory name.
            scenario: the scenario that its folder stands for.
        """
        path = f"{self.results}/performance/run_1/{DETAIL}"
        log = self._log(path)
        logged = Scenario.SERVER if scenario is Scenario.INTERACTIVE else scenario  # if the log does not say
        values = {"effective_scenario": str(logged), **(log.values if log else {})}
        found = results.read_value(self.round, self.rules, scenario, values)
        value = found.value if 0 < found.value < math.inf else None
        if log and value is None:
            self.problems.append(f"{clean(path)}: there is no {clean(found.key)}")
        return Result(
            benchmark=clean(benchmark),
            model=self.rules.name if self.rules else clean(benchmark),
            scenario=scenario,
            units=found.units,
            value=value,
            place=_place(path, log, found.key) if log else None,
            validity=clean(log.values.get("result_validity", "")) if log else "",
            accuracy=self._accuracy(scenario),
            percentiles=tuple(_percentiles(path, log)) if log else (),
            limit_ns=self._limit(log, scenario),
            limit_share=(_number(log, "effective_target_latency_percentile") or 0.99) if log else 0.99,
            audits=tuple(self._audits()) if self.deep else (),
            figures=tuple(_figures(path, log, scenario)) if log else (),
            runs=tuple(self._runs(path, log)) if self.deep else (),
            files=tuple(self._files()) if self.deep else (),
            precision=self._precision(),
            loadgen=clean(log.values.get("loadgen_version", "")) if log else "",
            problems=tuple(self.problems),
        )

    def _log(self, path: str) -> DetailLog | None:
        if not self.tree.is_file(path):
            self.problems.append(f"{clean(path)}: the file is missing")
            return None
        try:
            return self._read_log(path)
        except LogError as error:
            self.problems.append(f"{clean(path)}: {clean(error.what)}")
            return None

    def _limit(self, log: DetailLog | None, scenario: Scenario) -> float | None:
        if scenario not in _LIMITED:
            return None
        logged = _number(log, "effective_target_latency_ns") if log else None
        return logged or (float(self.rules.server_target_latency_ns or 0) or None if self.rules else None)

    def _accuracy(self, scenario: Scenario) -> tuple[AccuracyFigure, ...]:
        path = f"{self.results}/accuracy/accuracy.txt"
        targets = self.rules.targets(scenario) if self.rules else ()
        metrics = [one.metric for one in targets] if self.rules else all_metrics(self.round.is_newer)
        text = self.tree.text(path, replace=True)
        if text.problem:
            self.problems.append(f"{clean(path)}: the file is missing")
        read = official_part(read_lines(text.content, metrics, self.round.is_newer), targets)
        found: dict[str, tuple[Reading, Line]] = {
            one.metric: (one, line) for line, is_read in read if is_read for one in line.readings
        }
        values = {metric: _figure(path, found.get(metric)) for metric in metrics}
        if not self.rules:
            return tuple(
                AccuracyFigure(metric, value, None, None, place)
                for metric, (value, place) in values.items()
                if value is not None
            )
        figures = []
        for target in targets:
            value, place = values[target.metric]
            floor = target.floor if target.required else None
            figures.append(AccuracyFigure(target.metric, value, floor, target.ceiling, place))
            if value is None and target.required and not text.problem:
                self.problems.append(f"{clean(path)}: there is no {target.metric}")
        return tuple(figures)

    def _precision(self) -> str:
        for name in sorted(self.tree.listing(self.measurements).files):
            if name.endswith(".json"):
                content = self.tree.json(f"{self.measurements}/{name}").content
                if "weight_data_types" in content:
                    return clean(content["weight_data_types"])
        return ""

    def _audits(self) -> list[Audit]:
        present = sorted(
            name for name in self.tree.listing(self.compliance).folders if name.startswith("TEST")
        )
        asked = [kind.value for kind in self.rules.audits] if self.rules else []
        return [self._audit(clean(name)) for name in dict.fromkeys([*asked, *present])]

    def _audit(self, name: str) -> Audit:
        folder = f"{self.compliance}/{name}"
        path = f"{folder}/verify_performance.txt"
        text = self.tree.text(path, replace=True)
        if text.problem:
            return Audit(name, None, None, None, None, None)
        accuracy = self.tree.text(f"{folder}/verify_accuracy.txt", replace=True)
        line = next((at for at, one in enumerate(text.content.splitlines(), 1) if "TEST" in one), None)
        reference, score = (_named(text.content, key) for key in ("reference score", "test score"))
        return Audit(
            name,
            "TEST PASS" in text.content,
            reference,
            score,
            None if accuracy.problem else "TEST PASS" in accuracy.content,
            Place(path, line),
        )

    def _runs(self, performance: str, log: DetailLog | None) -> list[Run]:
        runs = [_run(RunKind.PERFORMANCE, performance, log)]
        others = [(RunKind.ACCURACY, f"{self.results}/accuracy/{DETAIL}")]
        for kind in RunKind:
            if kind.is_audit:
                others.append((kind, f"{self.compliance}/{kind.value}/performance/run_1/{DETAIL}"))
        for kind, path in others:
            if not self.tree.is_file(path):
                continue
            try:
                runs.append(_run(kind, path, self._read_log(path, frozenset({"power_end"}))))
            except LogError as error:
                runs.append(Run(kind, path, None, None, clean(error.what)))
        return runs

    def _read_log(self, path: str, keys: frozenset[str] | None = None) -> DetailLog:
        return read_detail(Path(self.tree.full(path)), keys=keys, memory=self.tree.log_memory)

    def _files(self) -> list[Place]:
        beside = sorted(self.tree.listing(self.measurements).files)
        names = [
            f"{self.results}/performance/run_1/{DETAIL}",
            f"{self.results}/performance/run_1/{SUMMARY}",
            f"{self.results}/accuracy/{DETAIL}",
            f"{self.results}/accuracy/accuracy.txt",
            *(f"{self.measurements}/{name}" for name in beside),
        ]
        return [Place(name) for name in names if self.tree.is_file(name)]


def _run(kind: RunKind, path: str, log: DetailLog | None) -> Run:
    span = run_span(log) if log else None
    return Run(kind, path, span.begin if span else None, span.end if span else None)


def _figure(path: str, found: tuple[Reading, Line] | None) -> tuple[float | None, Place | None]:
    if found is None or not math.isfinite(found[0].number):
        return None, None
    return found[0].number, Place(path, found[1].number)


def _number(log: DetailLog, key: str) -> float | None:
    """Return a value of a log if it is a finite number."""
    value = results.number(log.values.get(key))
    return value if abs(value) < 1e300 else None


def _place(path: str, log: DetailLog, key: str) -> Place:
    return Place(path, log.lines.get(key), key)


def _percentiles(path: str, log: DetailLog) -> list[Percentile]:
    found: list[Percentile] = []

    def take(label: str, share: float | None, key: str) -> None:
        value = _number(log, key)
        if value is not None and value >= 0:
            found.append(Percentile(label, share, value, _place(path, log, key)))

    take("min", 0.0, "result_min_latency_ns")
    take("mean", None, "result_mean_latency_ns")
    for key in log.values:
        if match := _PERCENTILE.fullmatch(key):
            share = float(match[1])
            take(f"p{number(share).removesuffix('.0')}", share / 100, key)
    take("max", 1.0, "result_max_latency_ns")
    return sorted(found, key=lambda one: 2.0 if one.share is None else one.share)


def _figures(path: str, log: DetailLog, scenario: Scenario) -> list[Figure]:
    shown: Mapping[str, tuple[str, Callable[[Any], str]]] = {
        "Queries": ("result_query_count", str),
        "Queries over the limit": ("result_overlatency_query_count", str),
        "Samples per query": ("effective_samples_per_query", str),
        "Target rate, queries/s": ("effective_target_qps", str),
        "Samples kept loaded": ("effective_performance_sample_count", str),
        "Shortest duration asked": (
            "effective_min_duration_ms",
            lambda value: duration(float(value) / 1000),
        ),
        "Early stopping met": ("early_stopping_met", clean),
        "LoadGen": ("loadgen_version", clean),
    }
    skipped = {"Queries over the limit"} if scenario not in _LIMITED else set()
    figures = []
    for label, (key, show) in shown.items():
        value = log.values.get(key)
        if value is None or label in skipped or not isinstance(value, str | int | float):
            continue
        if show is not clean and _number(log, key) is None:
            continue
        figures.append(Figure(label, clean(show(value)), _place(path, log, key)))
    return figures


def _named(text: str, name: str) -> float | None:
    match = re.search(rf"^{name}\s*=\s*([0-9.eE+-]{{1,40}})\s*$", text, re.MULTILINE)
    value = as_number(match[1]) if match else math.nan
    return value if math.isfinite(value) else None
