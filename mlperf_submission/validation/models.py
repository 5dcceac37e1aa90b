"""Section 5: models and scenarios (M), and open's scenarios (D-04)."""

from __future__ import annotations

from mlperf_submission.validation.rows_system import ModelRow, ScenarioRow
from mlperf_submission.validation.rules import Rule

RULES = (
    Rule(
        id="M-02",
        row=ModelRow,
        what="In closed and network the folder stands for a model of the round.",
        why="The official checker skips the model.",
        remedy="Name the folder as the round names the model, or submit to open.",
        passes=lambda d: (d.division == "open") | d.known,
        message=lambda row: f"{row.directory} is no model of this round",
        covers="model",
    ),
    Rule(
        id="M-08",
        row=ModelRow,
        what="The round has scenarios of the model for the system's type; open maps own names to a model.",
        why="The official checker skips the model.",
        remedy="Correct system_type, or map the name in model_mapping.json (open).",
        passes=lambda d: ((d.division != "open") & ~d.known) | (d.known & d.allowed),
        message=lambda row: f"{row.model} is no model for a system of type {row.system_type}",
        covers="model",
    ),
    Rule(
        id="M-05",
        row=ModelRow,
        what="In closed and network every required scenario of a model is there.",
        why="The official checker refuses the tree.",
        remedy="Run the missing scenarios, or withdraw the model.",
        passes=lambda d: (d.division == "open") | (d.missing == ""),
        message=lambda row: f"missing scenarios: {row.missing}",
        covers="nothing",
        in_rehearsal=lambda row: f"benchmarks without {row.missing}",
    ),
    Rule(
        id="V-32",
        row=ModelRow,
        what="From v5.1, some models need at least one of Server and Interactive.",
        why="The checker of these rounds refuses the model.",
        remedy="Run one of the scenarios.",
        passes=lambda d: (d.division == "open") | (d.missing_choice == ""),
        message=lambda row: f"at least one is needed of: {row.missing_choice}",
        covers="nothing",
        later=True,
    ),
    Rule(
        id="M-04",
        row=ScenarioRow,
        what="In closed and network a model's folder holds only its required scenarios, spelled as LoadGen "
        "or in lower case.",
        why="The official checker refuses the folder, whatever it holds.",
        remedy="Delete the folder or correct its spelling.",
        passes=lambda d: ~d.closed | d.allowed,
        message=lambda row: f"{row.name} is no scenario of {row.model} for this type of system",
    ),
    Rule(
        id="D-04",
        row=ScenarioRow,
        what="In open, too, a model's folder holds only scenarios.",
        why="The official checker crashes when it writes the row.",
        remedy="Delete the folder or correct its spelling.",
        passes=lambda d: d.closed | d.known,
        message=lambda row: f"{row.name} is no scenario",
    ),
    Rule(
        id="+guessed-model",
        row=ModelRow,
        what="In closed and network the folder has a model's official name.",
        why="The checker guesses from parts of the name: efficientnet passes as resnet, in closed too (M-01)",
        remedy="Name the folder as the round names the model.",
        passes=lambda d: (d.division == "open") | ~d.guessed,
        message=lambda row: f"{row.directory} is only guessed to be {row.model}",
        severity="warning",
        covers="nothing",
    ),
)
