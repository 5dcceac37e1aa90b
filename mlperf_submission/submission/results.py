"""The result of a run: which key of the log it stands in, in which unit, and what it is inferred from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from mlperf_submission.rounds import ModelRules, Round, Scenario

STREAMS = frozenset({Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM})
_SPELLINGS = {spelling: one for one in Scenario for spelling in (str(one), str(one).lower())}


@dataclass(frozen=True)
class Value:
    """What the log of a performance run says of a result.

    Attributes:
        value: in `units`; NaN if the log does not state it.
        units: what the value is in (`Round.units`).
        key: the key of the log that it was read from.
        inferred: it is inferred from the run of another scenario (section 10 of the catalogue).
        missing: keys that are absent or no numbers.
        missing_tokens: the token metric that is missing; empty if none is.
    """

    value: float
    units: str
    key: str
    inferred: bool = False
    missing: tuple[str, ...] = ()
    missing_tokens: str = ""


def scenario_of(folder: str) -> Scenario | None:
    """Return the scenario that a folder stands for, in the official spelling or in lower case (M-03)."""
    return _SPELLINGS.get(folder)


def logged_scenario(values: Mapping[str, Any]) -> Scenario | None:
    """Return the scenario that a log says; None if it says none that LoadGen has."""
    said = values.get("effective_scenario")
    found = _SPELLINGS.get(said) if isinstance(said, str) else None
    return found if found == said else None


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a log is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> float:
    """Return a number of a log; NaN if it is none, infinity if no float can hold it."""
    if not is_number(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def read_value(round_: Round, model: ModelRules | None, asked: Scenario, values: Mapping[str, Any]) -> Value:
    """Return the result of a run, as the round asks for it (P-17 to P-20, section 10).

    Args:
        round_: the round.
        model: the model; None if the round does not have it.
        asked: the scenario of the folder. If the log is of another, the result is inferred from it where that
            can be done; where not, the log's own value is the result, as the official checker takes it.
        values: the values of the log.
    """
    units = round_.units(model, asked)
    logged = logged_scenario(values)
    if logged is None or logged not in round_.result_fields:
        return Value(math.nan, units, "effective_scenario", missing=("effective_scenario",))
    missing: list[str] = []
    usual, key = round_.result_fields[logged], round_.result_field(model, logged)
    for one in dict.fromkeys((usual, key)):
        if math.isnan(_converted(values.get(one))) and not _says_nan(values.get(one)):
            missing.append(one)
    tokens = key if key != usual and key in missing and "tokens" in key else ""
    if tokens:
        missing.remove(tokens)
    value = _converted(values.get(key))
    if logged in STREAMS:
        value /= 1e9 if model is not None and model.latency_in_seconds else 1e6
    if asked is not logged:
        inferred = _inferred(asked, logged, values)
        if inferred is not None:
            found, key, needed = inferred
            missing += [one for one in needed if not is_number(values.get(one))]
            return Value(found, units, key, True, tuple(missing), tokens)
    return Value(value, units, key, False, tuple(missing), tokens)


def _inferred(
    asked: Scenario, logged: Scenario, values: Mapping[str, Any]
) -> tuple[float, str, tuple[str, ...]] | None:
    """Return an inferred result, its key, and the keys that it needs; None if it cannot be inferred."""
    if (asked, logged) == (Scenario.OFFLINE, Scenario.SINGLE_STREAM):
        key = "result_qps_without_loadgen_overhead"
        return number(values.get(key)), key, (key,)
    if (asked, logged) == (Scenario.OFFLINE, Scenario.MULTI_STREAM):
        key, per_query = "result_mean_query_latency_ns", "effective_samples_per_query"
        mean = number(values.get(key)) / 1e6
        return number(values.get(per_query)) * 1000 / mean if mean else math.nan, key, (per_query, key)
    if (asked, logged) == (Scenario.MULTI_STREAM, Scenario.SINGLE_STREAM):
        key = "early_stopping_latency_ms"
        return number(values.get(key)) * 8 / 1e6, key, (key,)
    return None


def _converted(value: object) -> float:
    """Return a number that may be written as text, as float() reads it; NaN if there is none."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def _says_nan(value: object) -> bool:
    """Whether a value is NaN itself, which is a number of no use (P-16) and not one that is missing."""
    if isinstance(value, str):
        return value.strip().lower().lstrip("+-") == "nan"
    return isinstance(value, float) and math.isnan(value)
