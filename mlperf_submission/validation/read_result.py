"""From one scenario's folder to its rows: result, files, runs, accuracy, compliance tests, power."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission.conf import differences
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, SUMMARY, Json, Text, Tree, lines
from mlperf_submission.validation import conf
from mlperf_submission.validation.frames import Fields, Files, Readings, Results, Settings
from mlperf_submission.validation.power.read import POWER_FILES, power_conf, read_power
from mlperf_submission.validation.read_accuracy import LOGS, add_files, read_accuracy, read_audits
from mlperf_submission.validation.read_run import Place, Rows, read_run

MEASUREMENT_FIELDS = (
    *("input_data_types", "retraining", "starting_weights_filename"),
    *("weight_data_types", "weight_transformations"),
)
_SUMMARY = re.compile(r"Result is\s*:\s*(\w+)")


@dataclass(frozen=True)
class Located:
    """Where a result lies, in names of the tree."""

    division: str
    submitter: str
    system: str
    directory: str
    folder: str

    @property
    def submission(self) -> str:
        """The submitter's folder."""
        return f"{self.division}/{self.submitter}"

    @property
    def scope(self) -> str:
        """The result's scope."""
        return f"{self.submission}/{self.system}/{self.directory}/{self.folder}"

    @property
    def path(self) -> str:
        """The result's folder."""
        return self.beside("results")

    def beside(self, room: str) -> str:
        """The same scenario in `results`, `measurements` or `compliance`."""
        return f"{self.submission}/{room}/{self.system}/{self.directory}/{self.folder}"


@dataclass
class Found:
    """A scenario's folder, and what the verdict says of its result if it can be judged.

    Attributes:
        at: where it lies.
        model: what the model's folder stands for.
        scenario: what the folder stands for, or its name.
        system: the system description.
        judged: the round has this model and scenario.
        value: the result in the unit of the CSV; NaN if there is none.
        inferred: it is inferred from another scenario.
        accuracy: the last value of the first metric.
        accuracies: all metrics with their last values, as the later CSVs write them.
        weight_data_types: the field of the measurements, as the CSV shows it.
        power: the power in watts, or energy per query in mJ in the stream scenarios; None: not measured.
    """

    at: Located
    model: str
    scenario: str
    system: dict[str, Any]
    judged: bool = False
    value: float = math.nan
    inferred: bool = False
    accuracy: str = ""
    accuracies: str = ""
    weight_data_types: str = ""
    power: float | None = None


def read_result(
    rows: Rows,
    round_: Round,
    tree: Tree,
    found: Found,
    model: ModelRules,
    scenario: Scenario,
    *,
    network: bool,
    edge: bool,
) -> None:
    """Read everything that one result consists of; `network`, `edge`: what its system is."""
    one = found.at
    at = {"scope": one.scope, "path": one.path}
    performance = f"{one.path}/performance"
    place = Place(one.scope, one.path, one.division, model, scenario, network, edge)
    run = read_run(rows, round_, tree, place, RunKind.PERFORMANCE, f"{performance}/run_1")
    read_run(rows, round_, tree, place, RunKind.ACCURACY, f"{one.path}/accuracy")
    found.judged, found.value, found.inferred = True, run.result.value, run.result.inferred
    base = one.beside(round_.room("compliance"))
    closed = one.division != "open"
    if closed:
        read_audits(rows, round_, tree, base, place)
    has_power = tree.exists(f"{performance}/power")
    _files(rows, round_, tree, at, place, has_power)
    text = f"{one.path}/accuracy/accuracy.txt"
    has_accuracy = tree.exists(text)
    if has_accuracy:
        found.accuracy, found.accuracies = read_accuracy(rows, tree, at, text, place, round_.is_newer)
    if has_power:
        found.power = read_power(rows, round_, tree, place, run)
    summary = tree.text(f"{performance}/run_1/{SUMMARY}")
    says = (match[1] for line in lines(summary.content) if (match := _SUMMARY.match(line.strip())))
    rows[Results].append(
        {
            **at,
            **_measurements(rows, round_, tree, found, place, run.values, has_power),
            "closed": closed,
            "model": model.name,
            "directory": one.directory,
            "scenario_folder": one.folder,
            "has_accuracy_txt": has_accuracy,
            "needs_truncation": closed or round_.is_newer,
            "accuracy_log_size": tree.size(f"{one.path}/accuracy/{ACCURACY_LOG}"),
            "has_compliance": tree.exists(base),
            "needs_compliance": bool(model.audits) and closed,
            "summary_validity": next(says, ""),
            "result_validity": run.values.get("result_validity", ""),
        }
    )


def _files(rows: Rows, round_: Round, tree: Tree, at: dict[str, str], place: Place, has_power: bool) -> None:
    """Add the files of the folders of a result."""
    performance, accuracy = f"{at['path']}/performance", f"{at['path']}/accuracy"
    log, with_power = frozenset({ACCURACY_LOG}), LOGS | {"spl.txt"}
    run = with_power if has_power else LOGS
    run_1 = f"{performance}/run_1"
    add_files(rows, tree, at, "performance", run_1, run, log, folder_too=True, with_power=has_power)
    if tree.exists(f"{accuracy}/accuracy.txt"):
        add_files(rows, tree, at, "accuracy", accuracy, LOGS | {"accuracy.txt", ACCURACY_LOG})
    if has_power:
        add_files(rows, tree, at, "ranging", f"{performance}/ranging", with_power, log)
        add_files(rows, tree, at, "power", f"{performance}/power", POWER_FILES)
    about = {**at, "required": True}
    for name in (f"performance/run_1/{DETAIL}", f"accuracy/{DETAIL}"):
        exists = tree.exists(f"{at['path']}/{name}")
        rows[Files].append({**about, "folder": "logs", "name": name, "exists": exists})
    for name in sorted(tree.listing(performance).folders):
        allowed = name in ("run_1", "power", "ranging")
        rows[Files].append({**at, "folder": "runs", "name": name, "exists": True, "allowed": allowed})
    if place.model.proof_files and (place.division != "open" or round_.by_module):
        folder, stems = place.model.proof_files
        present = {name.split(".")[0] for name in tree.listing(f"{accuracy}/{folder}").files}
        proofs = ({"name": f"{folder}/{stem}", "exists": stem in present} for stem in stems)
        rows[Files].extend({**about, "folder": "proof", **proof} for proof in proofs)


def _measurements(
    rows: Rows,
    round_: Round,
    tree: Tree,
    found: Found,
    place: Place,
    log: Mapping[str, Any],
    has_power: bool,
) -> dict[str, Any]:
    """Add what lies in the measurements folder; return what the result's row says of it."""
    one, model = found.at, place.model
    at = {"scope": one.scope, "path": one.path}
    folder = one.beside(round_.room("measurements"))
    files = tree.listing(folder).files
    has_folder = tree.exists(folder)
    for name in round_.conf_files if has_folder else ():
        about = {"folder": "measurements", "place": folder, "name": name, "exists": name in files}
        rows[Files].append({**at, **about, "size": tree.size(f"{folder}/{name}")})
    if has_power:
        rows[Files].extend({**at, "folder": "power conf", **file} for file in power_conf(tree, folder))
    candidates = _candidates(round_, one, files)
    chosen = candidates[0] if candidates else ""
    json = tree.json(f"{folder}/{chosen}") if chosen else Json({})
    _reading(rows, at, "measurements", chosen, json.problem)
    if chosen and not json.problem:
        rows[Fields].extend(
            {
                **at,
                "file": chosen,
                "measured": True,
                "name": name,
                "exists": name in json.content,
                "has_value": bool(json.content.get(name)),
            }
            for name in MEASUREMENT_FIELDS
        )
    found.weight_data_types = str(json.content.get("weight_data_types")).replace('"', "'")
    code, problem = _code(round_, tree, one, chosen)
    _reading(rows, at, "code", code, problem)
    parent = code if round_.runs_beside_results else code.rsplit("/", 1)[0]
    user_conf = tree.text(f"{folder}/user.conf") if "user.conf" in files else Text("")
    for text in differences(user_conf.content, conf.conf_names(model, one.directory), log):
        rows[Settings].append({**at, "difference": text})
    return {
        "measurements": folder,
        "has_measurements": has_folder,
        "json_name": chosen,
        "json_count": len(candidates),
        "retraining": str(json.content.get("retraining", "")).strip().lower(),
        "code": code,
        "has_code": bool(problem) or tree.exists(code) or tree.exists(parent),
        **_equal_issue(rows, round_, tree, found, place, log, folder, files),
    }


def _reading(rows: Rows, at: Mapping[str, str], role: str, name: str, problem: str) -> None:
    rows[Readings].append({**at, "role": role, "name": name, "readable": not problem, "problem": problem})


def _equal_issue(
    rows: Rows,
    round_: Round,
    tree: Tree,
    found: Found,
    place: Place,
    log: Mapping[str, Any],
    folder: str,
    files: tuple[str, ...],
) -> dict[str, bool]:
    """Return what conf files and log say of equal issue mode, and who asks for it."""
    one, model = found.at, place.model
    closed = one.division != "open"
    enforces = closed or round_.equal_issue_in_open
    switches = [
        conf.equal_issue(tree.text(f"{folder}/{name}"), one.directory, one.folder)
        for name in ("mlperf.conf", "user.conf")
        if name in files and model.equal_issue
    ]
    stated = [switch.switch for switch in switches if switch.switch is not None]
    by_conf, logged = bool(stated and stated[-1]), log.get("effective_sample_concatenate_permutation")
    problem = ""
    if enforces and not round_.is_newer and one.directory in round_.equal_issue_enforced:
        problem = next((switch.problem for switch in switches if switch.problem), "")
    _reading(rows, {"scope": one.scope, "path": one.path}, "conf", folder, problem)
    return {
        "conf_equal_issue": by_conf,
        "log_equal_issue": logged in ("true", True),
        "seen_equal_issue": logged == 1 if round_.is_newer else by_conf or logged == "true",
        "needs_equal_issue": enforces and model.name in round_.equal_issue_enforced,
        "should_equal_issue": closed and model.equal_issue,
        "conf_readable": not problem,
    }


def _candidates(round_: Round, at: Located, files: tuple[str, ...]) -> list[str]:
    """Return the measurements JSON files that fit, in the order of the file system (E-05)."""
    if round_.runs_beside_results:
        return [name for name in files if name == "measurements.json"]
    return [name for name in files if name.startswith(at.system) and name.endswith(".json")]


def _code(round_: Round, tree: Tree, at: Located, json_name: str) -> tuple[str, str]:
    """Return the code folder that the checker looks for, and why it cannot be told (C-01, C-02)."""
    base = f"{at.submission}/{round_.source_folder}"
    if round_.runs_beside_results:
        return base, ""
    ending = f"_{at.folder}.json" if json_name.endswith(f"_{at.folder}.json") else ".json"
    implementation = json_name[len(at.system) + 1 : -len(ending)] if json_name else ""
    code = f"{base}/{at.directory}"
    if tree.is_file(code):
        text = tree.text(code)
        if text.problem:
            return code, text.problem
        code = f"{base}/{text.content.strip()}"
    return f"{code}/{implementation}", ""
