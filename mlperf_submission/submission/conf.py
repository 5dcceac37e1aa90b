"""`user.conf` and `mlperf.conf`: written from the log of the run they stand beside, and checked against it.

The grammar and the order of look-up are LoadGen's (`loadgen/test_settings_internal.cc`). Tokens are set apart
by blanks: `model.scenario.key = value`; `#` as a token of its own begins a comment. Durations and latencies
are in milliseconds, percentiles in percent. The official checker never compares the files with a log (X-05).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from mlperf_submission.errors import LogError
from mlperf_submission.rounds import Round, Scenario
from mlperf_submission.submission.detail_log import DetailLog
from mlperf_submission.submission.results import logged_scenario

_BLANKS = re.compile(r"[ \t\v\f\r]+")
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_REAL = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE
)
_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]+")
_TOLERANCE = 1e-5
"""Relative; LoadGen logs real numbers with six significant digits."""
_U64 = 1 << 64
NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Conf:
    """A parsed file.

    Attributes:
        entries: dotted key to the text of its value; of a key that occurs twice the last one.
        problems: what LoadGen refuses, or what breaks the official checker (rule E-12), with line numbers.
    """

    entries: Mapping[str, str]
    problems: tuple[str, ...] = ()

    def lookup(self, model: str, scenario: str, key: str) -> str | None:
        """Return the value's text in LoadGen's order: exact, `*`.scenario, model.`*`, `*`.`*`."""
        for prefix in (f"{model}.{scenario}", f"*.{scenario}", f"{model}.*", "*.*"):
            if (found := self.entries.get(f"{prefix}.{key}")) is not None:
                return found
        return None


def parse_conf(text: str) -> Conf:
    """Parse a `user.conf`, `mlperf.conf` or `audit.config`. Never raises: what is wrong is in `problems`."""
    entries: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        tokens = [token for token in _BLANKS.split(line) if token]
        if not tokens or tokens[0] == "#":
            continue
        problem = _problem(tokens)
        if problem:
            problems.append(f"line {number}: {problem}")
        else:
            entries[tokens[0]] = tokens[2]
    return Conf(entries, tuple(problems))


def _problem(tokens: list[str]) -> str:
    key = tokens[0][:80]
    if len(tokens) < 2 or tokens[1] != "=":
        return f"expected 'model.scenario.key = value' with blanks around '=', not {key!r}"
    if len(tokens) < 3:
        return f"{key} has no value"
    if len(tokens) > 3:
        return f"{key} has more than one value, or a comment behind its value"
    if not (_INTEGER.fullmatch(tokens[2]) or _REAL.fullmatch(tokens[2])):
        return f"the value of {key} is no number: {tokens[2][:40]!r}"
    if key.startswith("#"):
        return f"LoadGen takes {key!r} for a key; write a blank behind '#'"
    if tokens[0].count(".") != 2:
        return f"the key {key!r} does not have the three parts model.scenario.key"
    return ""


def as_integer(text: str) -> int:
    """Read a value as LoadGen reads integers (`strtoull`, base 0): leading digits only, 0x hex, 0… octal."""
    match = re.match(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", text)
    if not match:
        return 0
    digits = match[2][:60]
    octal = digits.startswith("0") and len(digits) > 1 and digits[1] not in "xX"
    value = min(int(digits, 8 if octal else 0), _U64 - 1)
    return (-value) % _U64 if match[1] == "-" else value


def _as_real(text: str) -> float:
    return float(as_integer(text)) if _HEX.fullmatch(text) else float(text)


def config_model(benchmark: str) -> str:
    """Return LoadGen's name of a benchmark: the directory name without `-99` or `-99.9`."""
    return benchmark.removesuffix("-99.9").removesuffix("-99")


class _Type(Enum):
    INTEGER = "integer"
    REAL = "real"
    FLAG = "flag"


@dataclass(frozen=True)
class _Key:
    """One key of the files: where the log says what was in effect, and the factor from file to log."""

    name: str
    log_key: str
    type: _Type
    factor: int | float = 1
    scenarios: frozenset[Scenario] | None = None


def _in(*scenarios: Scenario) -> frozenset[Scenario]:
    return frozenset(scenarios)


_SERVER = _in(Scenario.SERVER)
_SINGLE = _in(Scenario.SINGLE_STREAM)
_MULTI = _in(Scenario.MULTI_STREAM)
_OFFLINE = _in(Scenario.OFFLINE)
_RATE = _SERVER | _OFFLINE
_LATENCY = _SERVER | _SINGLE | _MULTI
SEEDS = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")

_KEYS: tuple[_Key, ...] = (
    _Key("target_qps", "effective_target_qps", _Type.REAL, scenarios=_RATE),
    _Key("target_latency", "effective_target_latency_ns", _Type.INTEGER, NS_PER_MS, _SERVER),
    _Key("target_latency", "requested_single_stream_expected_latency_ns", _Type.REAL, NS_PER_MS, _SINGLE),
    _Key("target_latency", "requested_multi_stream_expected_latency_ns", _Type.REAL, NS_PER_MS, _MULTI),
    _Key("target_latency_percentile", "effective_target_latency_percentile", _Type.REAL, 0.01, _LATENCY),
    _Key("coalesce_queries", "requested_server_coalesce_queries", _Type.FLAG, scenarios=_SERVER),
    _Key("max_async_queries", "requested_server_max_async_queries", _Type.INTEGER, scenarios=_SERVER),
    _Key("samples_per_query", "effective_samples_per_query", _Type.INTEGER, scenarios=_MULTI),
    _Key("min_duration", "effective_min_duration_ms", _Type.INTEGER),
    _Key("max_duration", "effective_max_duration_ms", _Type.INTEGER),
    # Offline turns the asked-for count into samples of its one query and then has a count of 1 in effect.
    _Key("min_query_count", "requested_min_query_count", _Type.INTEGER, scenarios=_OFFLINE),
    _Key("min_query_count", "effective_min_query_count", _Type.INTEGER, scenarios=_LATENCY),
    _Key("max_query_count", "effective_max_query_count", _Type.INTEGER),
    _Key("performance_sample_count_override", "effective_performance_sample_count", _Type.INTEGER),
    *(_Key(seed, f"effective_{seed}", _Type.INTEGER) for seed in SEEDS),
    _Key("sample_concatenate_permutation", "effective_sample_concatenate_permutation", _Type.FLAG),
    _Key("use_token_latencies", "requested_use_token_latencies", _Type.FLAG),
)
"""Source: `loadgen/test_settings_internal.cc`, FromConfig and LogEffectiveSettings."""


LOG_KEYS = frozenset(key.log_key for key in _KEYS)
"""What the log says of the settings that a conf file can name."""


def user_conf(log: DetailLog, benchmark: str, scenario: Scenario, round_: Round) -> str:
    """Write the `user.conf` of a performance run: what the submitter may choose, as it took effect.

    Args:
        log: the detail log of the run that the file will stand beside.
        benchmark: directory name, e.g. `bert-99`.
        scenario: the run's scenario.
        round_: says whether the benchmark issues its samples equally often (rule E-10).

    Raises:
        LogError: the log lacks a setting, or has one that the file cannot say.
        SettingError: the round has no such benchmark.
    """
    wanted = ["target_qps" if scenario in _RATE else "target_latency", "performance_sample_count_override"]
    if log.values.get("requested_server_coalesce_queries") is True and scenario in _SERVER:
        wanted.append("coalesce_queries")
    lines = [f"*.{scenario}.{name} = {_text_from(log, name, scenario)}" for name in wanted]
    if _equal_issue(log, benchmark, round_):
        lines.append(f"*.{scenario}.sample_concatenate_permutation = 1")
    return _file("The submitter's settings of the performance run", lines)


def mlperf_conf(log: DetailLog, benchmark: str, scenario: Scenario, round_: Round) -> str:
    """Write the `mlperf.conf` of a performance run: the round's settings, as they took effect in this run.

    The seeds of TEST05 and the least number of loaded samples come from the round's table; everything else is
    read from the log. Arguments and errors as in `user_conf`.
    """
    model = config_model(benchmark)
    rules = round_.model(benchmark)
    lines = [f"{model}.*.performance_sample_count_override = {rules.performance_sample_count}"]
    lines += [f"*.*.{seed} = {_text_from(log, seed, scenario)}" for seed in SEEDS]
    if round_.test05_seeds:
        seeds = zip(SEEDS, astuple(round_.test05_seeds), strict=True)
        lines += [f"*.*.test05_{seed} = {value}" for seed, value in seeds]
    if scenario in _LATENCY:
        percentile = _text_from(log, "target_latency_percentile", scenario)
        lines.append(f"*.{scenario}.target_latency_percentile = {percentile}")
    if scenario in _SERVER:
        lines.append(f"{model}.{scenario}.target_latency = {_text_from(log, 'target_latency', scenario)}")
    if scenario in _MULTI:
        lines.append(f"*.{scenario}.samples_per_query = {_text_from(log, 'samples_per_query', scenario)}")
    lines.append(f"*.{scenario}.min_duration = {_text_from(log, 'min_duration', scenario)}")
    lines.append(f"{model}.{scenario}.min_query_count = {_text_from(log, 'min_query_count', scenario)}")
    if _equal_issue(log, benchmark, round_):
        lines.append(f"{model}.*.sample_concatenate_permutation = 1")
    return _file(
        f"The settings of round {round_.name} for {model}, as they were in the performance run", lines
    )


def check(user_conf_text: str, mlperf_conf_text: str, log: DetailLog, benchmark: str) -> list[str]:
    """Compare the two files with the log of the run they stand beside.

    `user.conf` overrides `mlperf.conf`. Keys that the log does not state are passed over. Never raises.

    Returns:
        One line per problem: a line that LoadGen refuses, `target_qps` that is missing, and each key whose
        value is not the one that was in effect; empty if the files fit the run.
    """
    user, mlperf = parse_conf(user_conf_text), parse_conf(mlperf_conf_text)
    found = [f"user.conf, {problem}" for problem in user.problems]
    found += [f"mlperf.conf, {problem}" for problem in mlperf.problems]
    scenario = logged_scenario(log.values)
    if scenario is None:
        return [*found, "the log names no known scenario, so the files cannot be compared with it"]
    model = config_model(benchmark)
    for key in _keys_of(scenario):
        text, file = user.lookup(model, scenario, key.name), "user.conf"
        if text is None:
            if key.name == "target_qps":
                found.append(f"user.conf has no target_qps for {scenario}")
            text, file = mlperf.lookup(model, scenario, key.name), "mlperf.conf"
        if text is None or key.log_key not in log.values:
            continue
        if not _fits(text, key, log.values):
            found.append(
                f"{file} does not match the run: {key.name} = {text}, but the log says "
                f"{_said(log.values[key.log_key], key)} ({key.log_key})"
            )
    return found


def differences(user_conf_text: str, names: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return where a `user.conf` says otherwise than the log of the run that it stands beside.

    Args:
        user_conf_text: the file; lines that LoadGen refuses are passed over.
        names: the names that its lines may have for the model.
        values: the log's values. What the log does not state is passed over.
    """
    scenario, user = logged_scenario(values), parse_conf(user_conf_text)
    found, said = [], {entry.rpartition(".")[2] for entry in user.entries}
    for key in _keys_of(scenario) if scenario else ():
        if key.name not in said:
            continue
        given = (user.lookup(name, str(scenario), key.name) for name in names)
        text = next((one for one in given if one is not None), None)
        if text is not None and key.log_key in values and not _fits(text, key, values):
            found.append(
                f"{key.name} is {text[:40]} in user.conf and {_said(values[key.log_key], key)} in the log"
            )
    return found


def _keys_of(scenario: Scenario) -> list[_Key]:
    return [key for key in _KEYS if key.scenarios is None or scenario in key.scenarios]


def _fits(text: str, key: _Key, values: Mapping[str, Any]) -> bool:
    logged = values[key.log_key]
    if not isinstance(logged, bool | int | float) or abs(logged) >= _U64:
        return False
    if key.type is _Type.FLAG:
        return (as_integer(text) != 0) == bool(logged)
    if key.type is _Type.INTEGER:
        value = as_integer(text) * int(key.factor)
        if key.name == "performance_sample_count_override" and value == 0:  # 0: what the sample library says
            return bool(logged == values.get("qsl_reported_performance_count", logged))
        return bool(value == logged)
    wanted = _as_real(text) * key.factor
    return math.isfinite(wanted) and math.isclose(wanted, logged, rel_tol=_TOLERANCE)


def _said(logged: Any, key: _Key) -> str:
    try:
        return _in_units_of_file(logged, key)
    except (ArithmeticError, ValueError):
        return repr(logged)[:80]


def _text_from(log: DetailLog, name: str, scenario: Scenario) -> str:
    """Return the text of a key's value, in the file's unit, from the log."""
    key = next(key for key in _keys_of(scenario) if key.name == name)
    logged = log.require(key.log_key)
    try:
        text = _in_units_of_file(logged, key)
    except (ArithmeticError, ValueError) as error:
        raise LogError(
            f"{key.log_key} is no number: {logged!r}",
            where=log.path,
            remedy="take LoadGen's own log, or run again",
        ) from error
    if not _fits(text, key, log.values):
        raise LogError(
            f"{key.log_key} = {logged} cannot be said in a conf file ({name} is a whole number there)",
            where=log.path,
            remedy="ask for a value that is a whole number in the file's unit (milliseconds), and run again",
        )
    return text


def _in_units_of_file(logged: Any, key: _Key) -> str:
    if isinstance(logged, bool):
        return str(int(logged))
    if not isinstance(logged, int | float):
        raise ValueError(f"{logged!r} is no number")
    if isinstance(logged, int) and key.factor == 1:
        return str(logged)
    value = Decimal(str(logged)) / Decimal(str(key.factor))
    if not value.is_finite():
        raise ValueError(f"{logged!r} is not finite")
    return format(value.normalize(), "f")


def _equal_issue(log: DetailLog, benchmark: str, round_: Round) -> bool:
    in_effect = log.values.get("effective_sample_concatenate_permutation") is True
    return in_effect or round_.model(benchmark).equal_issue


def _file(title: str, lines: list[str]) -> str:
    comments = [f"# {title}.", "# Written from the log of that run (mlperf_log_detail.txt)."]
    return "\n".join([*comments, *lines]) + "\n"
