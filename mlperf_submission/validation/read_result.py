"""From one scenario's folder to its rows: result, files, runs, accuracy, compliance tests, power."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlperf_submission.rounds import Round, RunKind
from mlperf_submission.submission.conf import differences
from mlperf_submission.submission.description import MEASURED
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, SUMMARY, Json, Text, Tree, lines
from mlperf_submission.validation import conf
from mlperf_submission.validation.frames import Fields, Files, Results, Settings
from mlperf_submission.validation.power.read import POWER_FILES, power_conf, read_power
from mlperf_submission.validation.read_accuracy import LOGS, add_files, read_accuracy, read_audits
from mlperf_submission.validation.read_run import read_run
from mlperf_submission.validation.reader import Located, Place, Reader

_SUMMARY = re.compile(r"Result is\s*:\s*(\w+)")


@dataclass
class Found:
    """A scenario's folder, and what the verdict says of its result if it can be judged.

    Attributes:
        at: where it lies.
        model: what the model's folder stands for.
        scenario: what the folder stands for, or its name.
        system: the system description.
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
    value: float = math.nan
    inferred: bool = False
    accuracy: str = ""
    accuracies: str = ""
    weight_data_types: str = ""
    power: float | None = None


def read_result(reader: Reader, found: Found, place: Place) -> None:
    """Read everything that one result consists of."""
    round_, tree, one = reader.round, reader.tree, place.at
    performance = f"{one.path}/performance"
    run = read_run(reader, place, RunKind.PERFORMANCE, f"{performance}/run_1")
    read_run(reader, place, RunKind.ACCURACY, f"{one.path}/accuracy")
    found.value, found.inferred = run.result.value, run.result.inferred
    base = one.beside(round_.room("compliance"))
    if one.closed:
        read_audits(reader, base, place)
    has_power = tree.exists(f"{performance}/power")
    _files(reader, place, has_power)
    has_accuracy = tree.exists(f"{one.path}/accuracy/accuracy.txt")
    if has_accuracy:
        found.accuracy, found.accuracies = read_accuracy(reader, place)
    if has_power:
        found.power = read_power(reader, place, run)
    summary = tree.text(f"{performance}/run_1/{SUMMARY}")
    says = (match[1] for line in lines(summary.content) if (match := _SUMMARY.match(line.strip())))
    json, measured = _measurements(reader, place, run.values, has_power)
    found.weight_data_types = str(json.get("weight_data_types")).replace('"', "'")
    reader.add(
        Results,
        place.row,
        **measured,
        closed=one.closed,
        model=place.model.name,
        directory=one.directory,
        scenario_folder=one.folder,
        has_accuracy_txt=has_accuracy,
        needs_truncation=one.closed or round_.is_newer,
        accuracy_log_size=tree.size(f"{one.path}/accuracy/{ACCURACY_LOG}"),
        has_compliance=tree.exists(base),
        needs_compliance=bool(place.model.audits) and one.closed,
        summary_validity=next(says, ""),
        result_validity=run.values.get("result_validity", ""),
    )


def _files(reader: Reader, place: Place, has_power: bool) -> None:
    """Add the files of the folders of a result."""
    tree, at, path = reader.tree, place.row, place.at.path
    performance, accuracy = f"{path}/performance", f"{path}/accuracy"
    log, with_power = frozenset({ACCURACY_LOG}), LOGS | {"spl.txt"}
    run = with_power if has_power else LOGS
    run_1 = f"{performance}/run_1"
    add_files(reader, at, "performance", run_1, run, log, folder_too=True, with_power=has_power)
    if tree.exists(f"{accuracy}/accuracy.txt"):
        add_files(reader, at, "accuracy", accuracy, LOGS | {"accuracy.txt", ACCURACY_LOG})
    if has_power:
        add_files(reader, at, "ranging", f"{performance}/ranging", with_power, log)
        add_files(reader, at, "power", f"{performance}/power", POWER_FILES)
    for name in (f"performance/run_1/{DETAIL}", f"accuracy/{DETAIL}"):
        exists = tree.exists(f"{path}/{name}")
        reader.add(Files, at, folder="logs", name=name, exists=exists, required=True)
    for name in sorted(tree.listing(performance).folders):
        allowed = name in ("run_1", "power", "ranging")
        reader.add(Files, at, folder="runs", name=name, exists=True, allowed=allowed)
    if place.model.proof_files and (place.at.closed or reader.round.by_module):
        folder, stems = place.model.proof_files
        present = {name.split(".")[0] for name in tree.listing(f"{accuracy}/{folder}").files}
        for stem in stems:
            exists = stem in present
            reader.add(Files, at, folder="proof", name=f"{folder}/{stem}", exists=exists, required=True)


def _measurements(
    reader: Reader, place: Place, log: Mapping[str, Any], has_power: bool
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Add what lies in the measurements folder; return its JSON, and what the result's row says of it."""
    round_, tree, one, at = reader.round, reader.tree, place.at, place.row
    folder = one.beside(round_.room("measurements"))
    files = tree.listing(folder).files
    has_folder = tree.exists(folder)
    for name in round_.conf_files if has_folder else ():
        size = tree.size(f"{folder}/{name}")
        reader.add(Files, at, folder="measurements", place=folder, name=name, exists=name in files, size=size)
    for file in power_conf(tree, folder) if has_power else ():
        reader.add(Files, at, folder="power conf", **file)
    candidates = _candidates(round_, one, files)
    chosen = candidates[0] if candidates else ""
    json = tree.json(f"{folder}/{chosen}") if chosen else Json({})
    reader.reading(at, json.problem, role="measurements", name=chosen)
    for name in MEASURED if chosen and not json.problem else ():
        exists, has_value = name in json.content, bool(json.content.get(name))
        reader.add(Fields, at, file=chosen, measured=True, name=name, exists=exists, has_value=has_value)
    code, problem = _code(round_, tree, one, chosen)
    reader.reading(at, problem, role="code", name=code)
    parent = code if round_.runs_beside_results else code.rsplit("/", 1)[0]
    user_conf = tree.text(f"{folder}/user.conf") if "user.conf" in files else Text("")
    for text in differences(user_conf.content, conf.conf_names(place.model, one.directory), log):
        reader.add(Settings, at, difference=text)
    return json.content, {
        "measurements": folder,
        "has_measurements": has_folder,
        "json_name": chosen,
        "json_count": len(candidates),
        "retraining": str(json.content.get("retraining", "")).strip().lower(),
        "code": code,
        "has_code": bool(problem) or tree.exists(code) or tree.exists(parent),
        **_equal_issue(reader, place, log, folder, files),
    }


def _equal_issue(
    reader: Reader, place: Place, log: Mapping[str, Any], folder: str, files: tuple[str, ...]
) -> dict[str, bool]:
    """Return what conf files and log say of equal issue mode, and who asks for it."""
    round_, one, model = reader.round, place.at, place.model
    enforces = one.closed or round_.equal_issue_in_open
    switches = [
        conf.equal_issue(reader.tree.text(f"{folder}/{name}"), one.directory, one.folder)
        for name in ("mlperf.conf", "user.conf")
        if name in files and model.equal_issue
    ]
    stated = [switch.switch for switch in switches if switch.switch is not None]
    by_conf, logged = bool(stated and stated[-1]), log.get("effective_sample_concatenate_permutation")
    problem = ""
    if enforces and not round_.is_newer and one.directory in round_.equal_issue_enforced:
        problem = next((switch.problem for switch in switches if switch.problem), "")
    reader.reading(place.row, problem, role="conf", name=folder)
    return {
        "conf_equal_issue": by_conf,
        "log_equal_issue": logged in ("true", True),
        "seen_equal_issue": logged == 1 if round_.is_newer else by_conf or logged == "true",
        "needs_equal_issue": enforces and model.name in round_.equal_issue_enforced,
        "should_equal_issue": one.closed and model.equal_issue,
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
