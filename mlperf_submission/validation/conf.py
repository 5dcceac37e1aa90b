"""Conf files as the official checker reads them."""

from __future__ import annotations

from dataclasses import dataclass

from mlperf_submission.rounds import ModelRules
from mlperf_submission.submission.conf import config_model
from mlperf_submission.submission.files import Text, lines


@dataclass(frozen=True)
class EqualIssue:
    """What the checker makes of a conf file for equal issue mode.

    Attributes:
        switch: on, off, or None where the file does not say.
        problem: the line that it stumbles over; empty if none.
    """

    switch: bool | None
    problem: str


def equal_issue(text: Text, model_directory: str, scenario_folder: str) -> EqualIssue:
    """Read `sample_concatenate_permutation` by the checker's rules (E-10, E-12): the first line counts."""
    name = config_model(model_directory)
    if text.problem:
        return EqualIssue(None, text.problem)
    for raw in lines(text.content):
        line = raw.replace(" ", "")
        if not line or line.startswith("#"):
            continue
        parts = line.split("=")
        key = parts[0].split(".")
        if len(parts) != 2 or len(key) != 3:
            return EqualIssue(None, f"line {raw[:80]!r}")
        fits = key[0] in (name, "*") and key[1] in (scenario_folder, "*")
        if fits and key[2] == "sample_concatenate_permutation" and parts[1].isnumeric():
            if not parts[1].isdecimal():
                return EqualIssue(None, f"line {raw[:80]!r}")
            is_one = int(parts[1][-1]) == 1 == sum(map(int, parts[1]))  # int() refuses thousands of digits
            return EqualIssue(is_one, "")
    return EqualIssue(None, "")


def conf_names(model: ModelRules, directory: str) -> frozenset[str]:
    """Return the names that stand for a model in conf files: e.g. `resnet50` for `resnet`."""
    short = config_model(model.name)
    more = {"resnet": "resnet50", "mixtral-8x7b": "mixtral-8x7B"}.get(short, short)
    return frozenset({model.name, short, more, directory})
