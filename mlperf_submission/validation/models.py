"""Section 5: models and scenarios (M), and open's scenarios (D-04)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.validation.frames import Models, Scenarios
from mlperf_submission.validation.rules import Rule

_SPELLING = "Delete the folder or correct its spelling."


def _closed(d: pd.DataFrame) -> pd.Series[bool]:
    return d.division != "open"


RULES = (
    Rule(
        "M-02",
        Models,
        "In closed and network the folder stands for a model of the round.",
        of=_closed,
        passes=lambda d: d.known,
        message="{directory} is no model of this round",
        why="The official checker skips the model.",
        remedy="Name the folder as the round names the model, or submit to open.",
        covers="model",
    ),
    Rule(
        "M-08",
        Models,
        "The round has scenarios of the model for the system's type; open maps own names to a model.",
        of=lambda d: d.known | ~_closed(d),
        passes=lambda d: d.known & d.allowed,
        message="{model} is no model for a system of type {system_type}",
        why="The official checker skips the model.",
        remedy="Correct system_type, or map the name in model_mapping.json (open).",
        covers="model",
    ),
    Rule(
        "M-05",
        Scenarios,
        "In closed and network every required scenario of a model is there.",
        of=lambda d: d.closed & d.required,
        passes=lambda d: d.exists,
        each="{name}",
        message="missing scenarios: {each}",
        why="The official checker refuses the tree.",
        remedy="Run the missing scenarios, or withdraw the model.",
        covers="nothing",
        in_rehearsal="benchmarks without {each}",
    ),
    Rule(
        "V-32",
        Scenarios,
        "From v5.1, some models need at least one of Server and Interactive.",
        of=lambda d: d.closed & d.choice,
        passes=lambda d: d.choice_made,
        each="{name}",
        message="at least one is needed of: {each}",
        why="The checker of these rounds refuses the model.",
        remedy="Run one of the scenarios.",
        covers="nothing",
        later=True,
    ),
    Rule(
        "M-04",
        Scenarios,
        "In closed and network a model's folder holds only its required scenarios, spelled as LoadGen "
        "or in lower case.",
        of=lambda d: d.closed & d.exists,
        passes=lambda d: d.allowed,
        message="{name} is no scenario of {model} for this type of system",
        why="The official checker refuses the folder, whatever it holds.",
        remedy=_SPELLING,
    ),
    Rule(
        "D-04",
        Scenarios,
        "In open, too, a model's folder holds only scenarios.",
        of=lambda d: ~d.closed & d.exists,
        passes=lambda d: d.known,
        message="{name} is no scenario",
        why="The official checker crashes when it writes the row.",
        remedy=_SPELLING,
    ),
    Rule(
        "+guessed-model",
        Models,
        "In closed and network the folder has a model's official name.",
        of=_closed,
        passes=lambda d: ~d.guessed,
        message="{directory} is only guessed to be {model}",
        why="The checker guesses from parts of the name: efficientnet passes as resnet, in closed too (M-01)",
        remedy="Name the folder as the round names the model.",
        covers="nothing",
    ),
)
