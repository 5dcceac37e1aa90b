"""Section 5: models and scenarios (M), and open's scenarios (D-04)."""

from __future__ import annotations

import pandas as pd

from mlperf_submission.validation.frames import Models, Scenarios
from mlperf_submission.validation.rules import Rule, catalogue

_SPELLING = "Delete the folder or correct its spelling."


def _closed(d: pd.DataFrame) -> pd.Series[bool]:
    return d.division != "open"


RULES = catalogue(
    {
        "M-02": Rule(
            Models.where(_closed),
            "In closed and network the folder stands for a model of the round.",
            passes=lambda d: d.known,
            message="{directory} is no model of this round",
            why="The official checker skips the model.",
            remedy="Name the folder as the round names the model, or submit to open.",
            covers="model",
        ),
        "M-08": Rule(
            Models.where(lambda d: d.known | ~_closed(d)),
            "The round has scenarios of the model for the system's type; open maps own names to a model.",
            passes=lambda d: d.known & d.allowed,
            message="{model} is no model for a system of type {system_type}",
            why="The official checker skips the model.",
            remedy="Correct system_type, or map the name in model_mapping.json (open).",
            covers="model",
        ),
        "M-05": Rule(
            Scenarios.where(lambda d: d.closed & d.required),
            "In closed and network every required scenario of a model is there.",
            passes=lambda d: d.exists,
            message="missing scenarios: {each}",
            why="The official checker refuses the tree.",
            remedy="Run the missing scenarios, or withdraw the model.",
            covers="nothing",
            in_rehearsal="benchmarks without {each}",
        ),
        "V-32": Rule(
            Scenarios.where(lambda d: d.closed & d.choice),
            "From v5.1, some models need at least one of Server and Interactive.",
            passes=lambda d: d.choice_made,
            message="at least one is needed of: {each}",
            why="The checker of these rounds refuses the model.",
            remedy="Run one of the scenarios.",
            covers="nothing",
            later=True,
        ),
        "M-04": Rule(
            Scenarios.where(lambda d: d.closed & d.exists),
            "In closed and network a model's folder holds only its required scenarios, spelled as LoadGen "
            "or in lower case.",
            passes=lambda d: d.allowed,
            message="{name} is no scenario of {model} for this type of system",
            why="The official checker refuses the folder, whatever it holds.",
            remedy=_SPELLING,
        ),
        "D-04": Rule(
            Scenarios.where(lambda d: ~d.closed & d.exists),
            "In open, too, a model's folder holds only scenarios.",
            passes=lambda d: d.known,
            message="{name} is no scenario",
            why="The official checker crashes when it writes the row.",
            remedy=_SPELLING,
        ),
        "+guessed-model": Rule(
            Models.where(_closed),
            "In closed and network the folder has a model's official name.",
            passes=lambda d: ~d.guessed,
            message="{directory} is only guessed to be {model}",
            why="The checker guesses from parts of the name: efficientnet passes as resnet, in closed too "
            "(M-01)",
            remedy="Name the folder as the round names the model.",
            covers="nothing",
        ),
    }
)
