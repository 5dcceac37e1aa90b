"""From one scenario's folder to its rows: result, runs, accuracy, compliance tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlperf_submission.rounds import ModelRules, Round, RunKind, Scenario
from mlperf_submission.submission.conf import differences
from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, SUMMARY, Json, Text, Tree, lines, shown
from mlperf_submission.submission.results import scenario_of
from mlperf_submission.validation import conf
from mlperf_submission.validation.rows_accuracy import AccuracyRow, AuditRow, accuracy_row, audit_row
from mlperf_submission.validation.rows_power import PowerRow, power_row
from mlperf_submission.validation.rows_result import (
    ACCURACY_FILES,
    LOGS,
    MEASUREMENT_FIELDS,
    POWER_FILES,
    ResultRow,
    file_difference,
)
from mlperf_submission.validation.rows_run import Place, RunRow, run_row

_OPTIONAL = frozenset({ACCURACY_LOG})
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
    def path(self) -> str:
        """The result's folder."""
        return f"{self.submission}/results/{self.system}/{self.directory}/{self.folder}"

    @property
    def scope(self) -> str:
        """The result's scope."""
        return f"{self.submission}/{self.system}/{self.directory}/{self.folder}"

    def beside(self, room: str) -> str:
        """The same scenario in `measurements` or `compliance`."""
        return f"{self.submission}/{room}/{self.system}/{self.directory}/{self.folder}"


@dataclass(frozen=True)
class ResultRows:
    """All rows of one result."""

    result: ResultRow
    performance: RunRow | None
    accuracy_run: RunRow | None
    accuracy: AccuracyRow | None
    audits: tuple[AuditRow, ...]
    audit_runs: tuple[RunRow, ...]
    power: PowerRow | None


def read_result(
    round_: Round,
    tree: Tree,
    at: Located,
    model: ModelRules,
    allowed: frozenset[Scenario],
    *,
    network: bool,
    edge: bool,
) -> ResultRows:
    """Read everything that one result consists of."""
    scenario = scenario_of(at.folder)
    spelled = str(scenario or "")
    closed = at.division != "open"
    has_power = tree.exists(f"{at.path}/performance/power")
    place = Place(
        scope=at.scope,
        folder=f"{at.path}/performance/run_1",
        kind=RunKind.PERFORMANCE,
        division=at.division,
        model=model,
        scenario=scenario,
        directory_scenario=spelled or shown(at.folder),
        network=network,
        has_power=has_power,
        edge=edge,
    )
    performance, log = run_row(round_, tree, place)
    accuracy_run, _ = run_row(
        round_, tree, replace(place, folder=f"{at.path}/accuracy", kind=RunKind.ACCURACY)
    )
    ranging = None
    if has_power:
        ranging, _ = run_row(round_, tree, replace(place, folder=f"{at.path}/performance/ranging"))
    audits, audit_runs = _audits(round_, tree, at, model, place) if closed else ((), ())
    accuracy = None
    if tree.exists(f"{at.path}/accuracy/accuracy.txt"):
        path = f"{at.path}/accuracy/accuracy.txt"
        newer = round_.is_newer
        targets = model.targets(scenario)
        accuracy = accuracy_row(at.scope, path, closed, targets, tree.text(path), newer, model.dataset_size)
    values: Mapping[str, Any] = log.values if log else {}
    result = _result_row(round_, tree, at, model, place, values, spelled, scenario in allowed)
    power = None
    if has_power and ranging:
        power = power_row(tree, round_.power, at.scope, at.path, scenario, log, ranging, performance.result)
    return ResultRows(result, performance, accuracy_run, accuracy, audits, audit_runs, power)


def _audits(
    round_: Round, tree: Tree, at: Located, model: ModelRules, place: Place
) -> tuple[tuple[AuditRow, ...], tuple[RunRow, ...]]:
    base = at.path if round_.runs_beside_results else at.beside("compliance")
    rows: list[AuditRow] = []
    runs: list[RunRow] = []
    a_log_was_read = False
    for test in model.audits:
        folder = f"{base}/{test}"
        row = audit_row(round_, tree, at.scope, folder, test, model, place.directory_scenario)
        rows.append(row)
        if not row.exists or not row.has_performance or RunKind.TEST06 in model.audits:
            continue
        run, _ = run_row(
            round_,
            tree,
            replace(place, folder=f"{folder}/performance/run_1", kind=test, has_power=False),
        )
        unreadable = bool(run.damage or run.missing or run.no_token_metric or not run.exists)
        overlooked = unreadable and a_log_was_read and not round_.is_newer
        a_log_was_read = a_log_was_read or not unreadable
        runs.append(replace(run, judged="warning" if overlooked else "error"))
    return tuple(rows), tuple(runs)


def _result_row(
    round_: Round,
    tree: Tree,
    at: Located,
    model: ModelRules,
    place: Place,
    log: Mapping[str, Any],
    spelled: str,
    allowed: bool,
) -> ResultRow:
    measurements = at.path if round_.runs_beside_results else at.beside("measurements")
    files = tree.listing(measurements).files
    candidates = _candidates(round_, at, files)
    chosen = candidates[0] if candidates else ""
    json = tree.json(f"{measurements}/{chosen}") if chosen else Json({})
    code, code_problem = _code(round_, tree, at, chosen)
    user_conf = tree.text(f"{measurements}/user.conf") if "user.conf" in files else Text("")
    enforces = at.division != "open" or round_.equal_issue_in_open
    by_conf = enforces and not round_.is_newer and at.directory in round_.equal_issue_enforced
    switches = [
        conf.equal_issue(tree.text(f"{measurements}/{name}"), at.directory, at.folder)
        for name in ("mlperf.conf", "user.conf")
        if name in files and model.equal_issue
    ]
    stated = [one.switch for one in switches if one.switch is not None]
    conf_equal_issue = bool(stated and stated[-1])
    logged = log.get("effective_sample_concatenate_permutation")
    run = f"{at.path}/performance/run_1"
    accuracy_listing = tree.listing(f"{at.path}/accuracy")
    required_run = LOGS | {"spl.txt"} if place.has_power else LOGS
    return ResultRow(
        scope=at.scope,
        path=shown(at.path),
        division=at.division,
        closed=place.division != "open",
        model=model.name,
        directory=shown(at.directory),
        scenario_folder=shown(at.folder),
        known_scenario=bool(spelled) and (spelled != Scenario.INTERACTIVE or round_.is_newer),
        allowed=allowed,
        measurements=shown(measurements),
        has_measurements=tree.exists(measurements),
        missing_files=", ".join(name for name in round_.conf_files if name not in files),
        empty_files=", ".join(
            name for name in round_.conf_files if name in files and tree.size(f"{measurements}/{name}") == 0
        ),
        json_name=shown(chosen),
        json_count=len(candidates),
        json_problem=shown(json.problem),
        missing_fields=", ".join(name for name in MEASUREMENT_FIELDS if name not in json.content)
        if chosen and not json.problem
        else "",
        empty_fields=", ".join(
            name for name in MEASUREMENT_FIELDS if name in json.content and not json.content[name]
        ),
        retraining=shown(str(json.content.get("retraining", "")).strip().lower()),
        weight_data_types=shown(str(json.content.get("weight_data_types")).replace('"', "'")),
        code=shown(code),
        has_code=code_problem == "" and _has_code(round_, tree, code),
        code_problem=shown(code_problem),
        conf_problem=shown(next((one.problem for one in switches if one.problem), "")) if by_conf else "",
        conf_equal_issue=conf_equal_issue,
        log_equal_issue=logged in ("true", True),
        seen_equal_issue=logged == 1 if round_.is_newer else conf_equal_issue or logged == "true",
        needs_equal_issue=enforces and model.name in round_.equal_issue_enforced,
        should_equal_issue=at.division != "open" and model.equal_issue,
        accuracy_txt=tree.exists(f"{at.path}/accuracy/accuracy.txt"),
        accuracy_files=file_difference(accuracy_listing.files, ACCURACY_FILES),
        has_run=tree.exists(run),
        missing_logs=", ".join(
            f"{folder}/{DETAIL}"
            for folder in ("performance/run_1", "accuracy")
            if not tree.exists(f"{at.path}/{folder}/{DETAIL}")
        ),
        performance_files=file_difference(tree.listing(run).files, required_run, _OPTIONAL),
        other_runs=shown(_other_runs(tree, at)),
        has_power=place.has_power,
        ranging_files=file_difference(
            tree.listing(f"{at.path}/performance/ranging").files, LOGS | {"spl.txt"}, _OPTIONAL
        ),
        power_files=file_difference(tree.listing(f"{at.path}/performance/power").files, POWER_FILES),
        power_conf_missing=_power_conf(tree, measurements) if place.has_power else "",
        user_conf=shown("; ".join(differences(user_conf.content, conf.conf_names(model, at.directory), log))),
        summary_differs=_summary(tree, run, log),
        proof_missing=_proof(tree, at, model) if at.division != "open" or round_.by_module else "",
        needs_truncation=at.division != "open" or round_.is_newer,
        accuracy_log_size=tree.size(f"{at.path}/accuracy/{ACCURACY_LOG}"),
        has_compliance=tree.exists(at.path if round_.runs_beside_results else at.beside("compliance")),
        needs_compliance=bool(model.audits) and at.division != "open",
    )


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


def _has_code(round_: Round, tree: Tree, code: str) -> bool:
    parent = code.rsplit("/", 1)[0]
    return tree.exists(code) or (not round_.runs_beside_results and tree.exists(parent))


def _other_runs(tree: Tree, at: Located) -> str:
    names = tree.listing(f"{at.path}/performance").folders
    return ", ".join(sorted(set(names) - {"run_1", "power", "ranging"}))


def _power_conf(tree: Tree, measurements: str) -> str:
    """Return the files of E-09 that are in none of the four levels, or are empty."""
    parts = measurements.split("/")
    levels = ["/".join(parts[: len(parts) - up]) for up in range(4)]
    missing = []
    for start in ("analyzer_table.", "power_settings."):
        found = [
            f"{level}/{name}"
            for level in levels
            for name in tree.listing(level).files
            if name.startswith(start)
        ]
        if not found:
            missing.append(f"{start}*")
        elif tree.size(found[-1]) == 0:
            missing.append(f"{start}* (empty)")
    return ", ".join(missing)


def _proof(tree: Tree, at: Located, model: ModelRules) -> str:
    if not model.proof_files:
        return ""
    folder, stems = model.proof_files
    present = {name.split(".")[0] for name in tree.listing(f"{at.path}/accuracy/{folder}").files}
    return ", ".join(f"{folder}/{stem}" for stem in stems if stem not in present)


def _summary(tree: Tree, run: str, log: Mapping[str, Any]) -> str:
    """Return what a summary says otherwise than its detail log."""
    text = tree.text(f"{run}/{SUMMARY}")
    found = next((match[1] for line in lines(text.content) if (match := _SUMMARY.match(line.strip()))), "")
    validity = str(log.get("result_validity", ""))
    return f"the summary says {found}, the log {validity}" if found and validity and found != validity else ""
