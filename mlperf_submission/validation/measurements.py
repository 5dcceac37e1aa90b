"""Sections 6 and 7: measurements (E) and the code folder (C)."""

from __future__ import annotations

from mlperf_submission.validation.frames import Fields, Files, Readings, Results, Settings
from mlperf_submission.validation.rules import Rule, catalogue

_SKIPS = "The official checker skips the scenario."

RULES = catalogue(
    {
        "E-01": Rule(
            Results,
            "The result has its measurements folder, in the same spelling.",
            passes=lambda d: d.has_measurements,
            message="there is no {measurements}",
            why=_SKIPS,
            remedy="Add the folder with its conf files, README.md and JSON.",
        ),
        "E-02": Rule(
            Files.where(folder="measurements"),
            "The conf files and README.md lie in the measurements folder.",
            passes=lambda d: d.exists,
            message="{place} lacks {each}",
            why=_SKIPS,
            remedy="Add the files; names are compared with upper and lower case.",
        ),
        "E-03": Rule(
            Files.where(folder="measurements"),
            "These files are not empty.",
            passes=lambda d: ~d.exists | (d["size"] != 0),
            message="empty in {place}: {each}",
            why=_SKIPS,
            remedy="Write what belongs into them.",
        ),
        "E-05": Rule(
            Results.where(lambda d: d.has_measurements),
            "A JSON whose name begins with the system's lies in the measurements folder.",
            passes=lambda d: d.json_name != "",
            message="{measurements} holds no measurements JSON of this system",
            why="The official checker crashes without one.",
            remedy="Add `<system>_<scenario>.json`.",
        ),
        "E-06": Rule(
            Fields.where(lambda d: d.measured),
            "The measurements JSON has its five fields.",
            passes=lambda d: d.exists,
            message="{file} lacks {each}",
            why=_SKIPS,
            remedy="Add the fields.",
        ),
        "E-07": Rule(
            Fields.where(lambda d: d.measured & d.exists),
            "The five fields have a value.",
            passes=lambda d: d.has_value,
            message="{file} has no value for {each}",
            why=_SKIPS,
            remedy="Fill them in; N/A is accepted.",
        ),
        "E-08": Rule(
            Readings.where(role="measurements"),
            "The measurements JSON is a JSON object.",
            passes=lambda d: d.readable,
            message="{name}: {problem}",
            why="The official checker crashes on it.",
            remedy="Mend the file; `python -m json.tool FILE` names the line.",
        ),
        "E-09": Rule(
            Files.where(folder="power conf"),
            "A power result has analyzer_table.* and power_settings.* in its folder or one above.",
            passes=lambda d: d.exists & (d["size"] != 0),
            each=lambda row: f"{row['name']} (empty)" if row["exists"] else row["name"],
            message="missing for a power result: {each}",
            why=_SKIPS,
            remedy="Add the two files to the measurements folder of the system.",
        ),
        "E-10": Rule(
            Results.where(lambda d: d.needs_equal_issue & d.conf_readable),
            "Equal issue mode is on for the models that the checker enforces it for: in the conf files or "
            "the log (v4.1), in the log (v5.0 and v5.1).",
            passes=lambda d: d.seen_equal_issue,
            message="equal issue mode is not on for {directory} {scenario_folder}",
            why="The official checker refuses the performance run.",
            remedy="Set `*.*.sample_concatenate_permutation = 1` for the run and in its user.conf.",
        ),
        "E-12": Rule(
            Readings.where(role="conf"),
            "Where equal issue is enforced, every line of the conf files is `model.scenario.key = value`.",
            passes=lambda d: d.readable,
            message="{name}: {problem}",
            why="The official checker crashes on any other line.",
            remedy="Rewrite the line; a comment stands in a line of its own.",
        ),
        "C-01": Rule(
            Results,
            "`code/<model folder>` exists, with the implementation's folder or without.",
            passes=lambda d: d.has_code,
            message="there is no {code}",
            why="The official checker skips every scenario of the model.",
            remedy="Add the code under the same name as the folder in results; 99 and 99.9 each need one.",
        ),
        "C-02": Rule(
            Readings.where(role="code"),
            "Where `code/<model>` is a file, it is a text that names another folder under code.",
            passes=lambda d: d.readable,
            message="{name}: {problem}",
            why="The official checker crashes on it.",
            remedy="Write the other folder's name into it.",
        ),
        "+equal-issue": Rule(
            Results.where(lambda d: d.should_equal_issue & ~d.needs_equal_issue),
            "Equal issue mode is on for all models that the rules name.",
            passes=lambda d: d.conf_equal_issue | d.log_equal_issue,
            message="neither conf files nor log switch equal issue mode on for {model}",
            why="Two commas are missing in the checker's list, so it overlooks some of them (E-11), and it "
            "does not compare the conf files with the log (E-13).",
            remedy="Set `*.*.sample_concatenate_permutation = 1` and run again.",
            covers="nothing",
        ),
        "+user-conf": Rule(
            Settings,
            "user.conf says what the run beside it was really run with.",
            passes=lambda d: d.difference == "",
            each="{difference}",
            joint="; ",
            message="{each}",
            why="The rules ask for it; the checker never compares them (X-05).",
            remedy="Write user.conf from the log of the run, or run again with it.",
            covers="nothing",
        ),
        "+retraining": Rule(
            Results.where(lambda d: d.closed),
            "A closed result is not retrained.",
            passes=lambda d: ~d.retraining.isin(["yes", "true", "y"]),
            message="retraining is {retraining!r}",
            why="The rules forbid it; the checker accepts any text (X-09).",
            remedy="Submit it to open, or correct the field.",
            covers="nothing",
        ),
        "+several-json": Rule(
            Results,
            "One measurements JSON belongs to the result.",
            passes=lambda d: d.json_count <= 1,
            message="{json_count} files fit, {json_name} was taken",
            why="The checker takes the first in the order of the file system, so the choice is arbitrary "
            "(E-05).",
            remedy="Keep the one of this scenario.",
            covers="nothing",
        ),
    }
)
