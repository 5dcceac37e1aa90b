"""Reading one scenario of one benchmark: its result, accuracy, latencies, audits, and where each stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from common.errors import LogError
from mlperf.page import metrics
from mlperf.page.data import AccuracyFigure, Audit, Figure, Percentile, Place, Result, Run
from mlperf.page.run_log import RunLog, read_run_log, read_times
from mlperf.page.text import clean, duration, number
from mlperf.page.tree_files import TreeFiles
from mlperf.rounds import ModelRules, RunKind, Scenario

_DETAIL = "mlperf_log_detail.txt"
_PERCENTILE = re.compile(r"result_(\d{2}\.\d{2})_percentile_latency_ns")
_LIMITED = (Scenario.SERVER, Scenario.INTERACTIVE)


def read_result(
    files: TreeFiles,
    division: str,
    submitter: str,
    system: str,
    benchmark: str,
    scenario_folder: str,
    scenario: Scenario,
    rules: ModelRules | None,
    deep: bool,
) -> Result:
    """Read one result. A damaged or missing file becomes one of its problems, never an exception."""
    reader = _Reader(files, f"{division}/{submitter}", f"{system}/{benchmark}/{scenario_folder}", deep)
    return reader.read(benchmark, scenario, rules)


class _Reader:
    def __init__(self, files: TreeFiles, submission: str, below: str, deep: bool) -> None:
        self.files = files
        self.results = f"{submission}/results/{below}"
        self.compliance = f"{submission}/compliance/{below}"
        self.measurements = f"{submission}/measurements/{below}"
        self.deep = deep
        self.problems: list[str] = []

    def read(self, benchmark: str, scenario: Scenario, rules: ModelRules | None) -> Result:
        path = f"{self.results}/performance/run_1/{_DETAIL}"
        log = self._log(path)
        tokens = bool(rules and rules.tokens_per_sample)
        if rules is None and log and log.number("result_inferred_tokens_per_second") is not None:
            tokens = True
        key = metrics.value_key(scenario, tokens=tokens)
        value = log.number(key.key) if log else None
        if log and value is None:
            self.problems.append(f"{clean(path)}: there is no {key.key}")
        return Result(
            benchmark=clean(benchmark),
            model=rules.name if rules else clean(benchmark),
            scenario=scenario,
            units=key.units,
            value=value / key.divisor if value is not None else None,
            place=_place(path, log, key.key) if log else None,
            validity=clean(log.values.get("result_validity", "")) if log else "",
            accuracy=self._accuracy(rules),
            percentiles=tuple(_percentiles(path, log)) if log else (),
            limit_ns=self._limit(log, scenario, rules),
            limit_share=(log.number("effective_target_latency_percentile") or 0.99) if log else 0.99,
            audits=tuple(self._audits(rules)) if self.deep else (),
            figures=tuple(_figures(path, log, scenario)) if log else (),
            runs=tuple(self._runs(path, log)) if self.deep else (),
            files=tuple(self._files()) if self.deep else (),
            precision=self._precision(),
            loadgen=clean(log.values.get("loadgen_version", "")) if log else "",
            problems=tuple(self.problems),
        )

    def _log(self, path: str) -> RunLog | None:
        file = self.files.path(path)
        if file is None:
            self.problems.append(f"{clean(path)}: the file is missing")
            return None
        try:
            return read_run_log(file)
        except LogError as error:
            self.problems.append(f"{clean(path)}: {clean(error.what)}")
            return None

    def _limit(self, log: RunLog | None, scenario: Scenario, rules: ModelRules | None) -> float | None:
        if scenario not in _LIMITED:
            return None
        logged = log.number("effective_target_latency_ns") if log else None
        return logged or (float(rules.server_target_latency_ns or 0) or None if rules else None)

    def _accuracy(self, rules: ModelRules | None) -> tuple[AccuracyFigure, ...]:
        path = f"{self.results}/accuracy/accuracy.txt"
        try:
            found = metrics.measured(self.files.text(path).splitlines())
        except OSError:
            self.problems.append(f"{clean(path)}: the file is missing")
            found = {}
        if rules is None:
            return tuple(
                AccuracyFigure(metric, value, None, None, Place(path, line))
                for metric, (value, line) in found.items()
            )
        figures = []
        for target in rules.accuracy:
            metric = metrics.metric_name(target.metric)
            value, line = found.get(metric, (None, None))
            place = Place(path, line) if value is not None else None
            figures.append(AccuracyFigure(metric, value, target.floor, target.ceiling, place))
            if value is None and found is not None and self.files.path(path):
                self.problems.append(f"{clean(path)}: there is no {metric}")
        return tuple(figures)

    def _precision(self) -> str:
        for name in self.files.names(self.measurements):
            if not name.endswith(".json"):
                continue
            try:
                content = json.loads(self.files.text(f"{self.measurements}/{name}"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                return clean(content.get("weight_data_types", ""))
        return ""

    def _audits(self, rules: ModelRules | None) -> list[Audit]:
        present = [name for name in self.files.names(self.compliance) if name.startswith("TEST")]
        asked = [kind.value for kind in rules.audits] if rules else []
        return [self._audit(clean(name)) for name in dict.fromkeys([*asked, *present])]

    def _audit(self, name: str) -> Audit:
        path = f"{self.compliance}/{name}/verify_performance.txt"
        try:
            text = self.files.text(path)
        except OSError:
            return Audit(name, None, None, None, None, None)
        try:
            accuracy: bool | None = "TEST PASS" in self.files.text(
                f"{self.compliance}/{name}/verify_accuracy.txt"
            )
        except OSError:
            accuracy = None
        line = next((at for at, one in enumerate(text.splitlines(), 1) if "TEST" in one), None)
        reference, score = (_named(text, key) for key in ("reference score", "test score"))
        return Audit(name, "TEST PASS" in text, reference, score, accuracy, Place(path, line))

    def _runs(self, performance: str, log: RunLog | None) -> list[Run]:
        runs = [Run(RunKind.PERFORMANCE, performance, log.begin if log else None, log.end if log else None)]
        others = [(RunKind.ACCURACY, f"{self.results}/accuracy/{_DETAIL}")]
        for kind in RunKind:
            if kind.is_audit:
                others.append((kind, f"{self.compliance}/{kind.value}/performance/run_1/{_DETAIL}"))
        for kind, path in others:
            file = self.files.path(path)
            if file is None:
                continue
            try:
                runs.append(Run(kind, path, *read_times(file)))
            except LogError as error:
                runs.append(Run(kind, path, None, None, clean(error.what)))
        return runs

    def _files(self) -> list[Place]:
        names = [
            f"{self.results}/performance/run_1/{_DETAIL}",
            f"{self.results}/performance/run_1/mlperf_log_summary.txt",
            f"{self.results}/accuracy/{_DETAIL}",
            f"{self.results}/accuracy/accuracy.txt",
            *(f"{self.measurements}/{name}" for name in self.files.names(self.measurements)),
        ]
        return [Place(name) for name in names if self.files.path(name)]


def _place(path: str, log: RunLog, key: str) -> Place:
    return Place(path, log.lines.get(key), key)


def _percentiles(path: str, log: RunLog) -> list[Percentile]:
    found: list[Percentile] = []

    def take(label: str, share: float | None, key: str) -> None:
        value = log.number(key)
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


def _figures(path: str, log: RunLog, scenario: Scenario) -> list[Figure]:
    shown: list[tuple[str, str, Callable[[Any], str]]] = [
        ("Queries", "result_query_count", str),
        ("Queries over the limit", "result_overlatency_query_count", str),
        ("Samples per query", "effective_samples_per_query", str),
        ("Target rate, queries/s", "effective_target_qps", str),
        ("Samples kept loaded", "effective_performance_sample_count", str),
        ("Shortest duration asked", "effective_min_duration_ms", lambda value: duration(float(value) / 1000)),
        ("Early stopping met", "early_stopping_met", clean),
        ("LoadGen", "loadgen_version", clean),
    ]
    skipped = {"Queries over the limit"} if scenario not in _LIMITED else set()
    figures = []
    for label, key, show in shown:
        value = log.values.get(key)
        if value is None or label in skipped or not isinstance(value, str | int | float):
            continue
        if show is not clean and log.number(key) is None:
            continue
        figures.append(Figure(label, clean(show(value)), _place(path, log, key)))
    return figures


def _named(text: str, name: str) -> float | None:
    match = re.search(rf"^{name}\s*=\s*([0-9.eE+-]{{1,40}})\s*$", text, re.MULTILINE)
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None
