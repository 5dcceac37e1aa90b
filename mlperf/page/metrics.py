"""Which log key is a scenario's result, in which unit, and how accuracy.txt spells each metric.

Source: submission checker v4.1 (rules P-10 and A-04) and the published results pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlperf.rounds import Scenario


@dataclass(frozen=True)
class ValueKey:
    """The key of a scenario's result in the detail log, its unit, and the divisor from log to page."""

    key: str
    units: str
    divisor: float = 1.0


_SAMPLES: Mapping[Scenario, ValueKey] = {
    Scenario.OFFLINE: ValueKey("result_samples_per_second", "Samples/s"),
    Scenario.SERVER: ValueKey("result_completed_samples_per_sec", "Queries/s"),
    Scenario.INTERACTIVE: ValueKey("result_completed_samples_per_sec", "Queries/s"),
    Scenario.SINGLE_STREAM: ValueKey("early_stopping_latency_ss", "Latency (ms)", 1e6),
    Scenario.MULTI_STREAM: ValueKey("early_stopping_latency_ms", "Latency (ms)", 1e6),
}
_TOKENS: Mapping[Scenario, ValueKey] = {
    Scenario.OFFLINE: ValueKey("result_inferred_tokens_per_second", "Tokens/s"),
    Scenario.SERVER: ValueKey("result_inferred_completed_tokens_per_second", "Tokens/s"),
}

METRICS: Mapping[str, re.Pattern[str]] = {
    "acc": re.compile(r"^accuracy=\s*([\d.]+)"),
    "mAP": re.compile(r"^mAP=\s*([\d.]+)"),
    "AUC": re.compile(r"^AUC=\s*([\d.]+)"),
    "F1": re.compile(r"^\{[\"\']exact_match[\"\']:\s*[\d.]+,\s*[\"\']f1[\"\']:\s*([\d.]+)\}"),
    "DICE": re.compile(r"^Accuracy:\s*mean = ([\d.]+)"),
    "ROUGE1": re.compile(r"'rouge1': ([\d.]+)"),
    "ROUGE2": re.compile(r"'rouge2': ([\d.]+)"),
    "ROUGEL": re.compile(r"'rougeL': ([\d.]+)"),
    "GEN_LEN": re.compile(r"'gen_len': ([\d.]+)"),
    "TOKENS_PER_SAMPLE": re.compile(r"'tokens_per_sample': ([\d.]+)"),
    "CLIP_SCORE": re.compile(r"'CLIP_SCORE': '?([\d.]+)"),
    "FID_SCORE": re.compile(r"'FID_SCORE': '?([\d.]+)"),
    "gsm8k_accuracy": re.compile(r"'gsm8k': ([\d.]+)"),
    "mbxp_accuracy": re.compile(r"'mbxp': ([\d.]+)"),
}
_BY_UPPER = {name.upper(): name for name in METRICS}


def value_key(scenario: Scenario, *, tokens: bool) -> ValueKey:
    """Return where a scenario's result stands in the detail log."""
    return _TOKENS.get(scenario, _SAMPLES[scenario]) if tokens else _SAMPLES[scenario]


def metric_name(name: str) -> str:
    """Return a metric's name in the spelling of the published pages."""
    return _BY_UPPER.get(name.upper(), name)


def measured(lines: Iterable[str]) -> dict[str, tuple[float, int]]:
    """Return each metric that accuracy.txt names, with the number of its line (from 1)."""
    found: dict[str, tuple[float, int]] = {}
    for number, line in enumerate(lines, start=1):
        for metric, pattern in METRICS.items():
            if metric not in found and (match := pattern.search(line)):
                try:
                    found[metric] = float(match[1]), number
                except ValueError:
                    continue
    return found
