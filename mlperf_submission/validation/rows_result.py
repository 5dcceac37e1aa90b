"""The rows of results, their measurements, accuracy files and compliance tests."""

from __future__ import annotations

from dataclasses import dataclass

from mlperf_submission.submission.files import ACCURACY_LOG, DETAIL, SUMMARY, shown
from mlperf_submission.validation.rules import Row

ALWAYS_OPTIONAL = frozenset({"mlperf_log_trace.json", "results.json", ".gitkeep"})
LOGS = frozenset({SUMMARY, DETAIL})
ACCURACY_FILES = LOGS | {"accuracy.txt", ACCURACY_LOG}
POWER_FILES = frozenset({"client.json", "client.log", "ptd_logs.txt", "server.json", "server.log"})
MEASUREMENT_FIELDS = (
    "input_data_types",
    "retraining",
    "starting_weights_filename",
    "weight_data_types",
    "weight_transformations",
)


@dataclass(frozen=True)
class ResultRow(Row):
    """A scenario's folder with its measurements and its code.

    Attributes:
        division, closed, model, directory, scenario_folder: where it lies and what it stands for.
        known_scenario: the folder is spelled as a scenario.
        allowed: the round has this scenario for the model and the system's type.
        measurements: the folder that holds the measurements.
        has_measurements: it is there.
        missing_files, empty_files: of the files that must be there.
        json_name: the measurements JSON that was chosen; empty if none fits.
        json_count: how many fit.
        json_problem: why it cannot be read.
        missing_fields, empty_fields: of its required fields.
        retraining: the field, lower-cased.
        weight_data_types: the field, as the CSV shows it.
        code: the code folder that was looked for.
        has_code, code_problem: whether it is there, or why that cannot be told.
        conf_problem: the line of a conf file that the official checker stumbles over (E-12).
        conf_equal_issue: the conf files switch equal issue mode on.
        log_equal_issue: the log of the performance run says so.
        seen_equal_issue: the round's checker sees it: in conf files or the log (v4.1), in the log (later).
        needs_equal_issue: the checker enforces it for this model.
        should_equal_issue: the rules ask for it.
        accuracy_txt: accuracy/accuracy.txt is there.
        accuracy_files, performance_files: names that are missing or too many.
        has_run: performance/run_1 is there.
        missing_logs: detail logs of the performance and the accuracy run that are missing.
        other_runs: further folders beside run_1 that nobody reads.
        has_power: performance/power is there.
        ranging_files, power_files: as performance_files.
        power_conf_missing: E-09.
        user_conf: differences between user.conf and the run's log.
        summary_differs: what the summary says otherwise than the detail log.
        proof_missing: files of A-11 that are missing.
        needs_truncation: that log must be truncated (open need not in v4.1).
        accuracy_log_size: bytes of mlperf_log_accuracy.json; -1 if it is missing.
        has_compliance: the folder of the compliance tests is there.
        needs_compliance: the model has tests.
    """

    division: str
    closed: bool
    model: str
    directory: str
    scenario_folder: str
    known_scenario: bool
    allowed: bool
    measurements: str
    has_measurements: bool
    missing_files: str
    empty_files: str
    json_name: str
    json_count: int
    json_problem: str
    missing_fields: str
    empty_fields: str
    retraining: str
    weight_data_types: str
    code: str
    has_code: bool
    code_problem: str
    conf_problem: str
    conf_equal_issue: bool
    log_equal_issue: bool
    seen_equal_issue: bool
    needs_equal_issue: bool
    should_equal_issue: bool
    accuracy_txt: bool
    accuracy_files: str
    has_run: bool
    missing_logs: str
    performance_files: str
    other_runs: str
    has_power: bool
    ranging_files: str
    power_files: str
    power_conf_missing: str
    user_conf: str
    summary_differs: str
    proof_missing: str
    needs_truncation: bool
    accuracy_log_size: int
    has_compliance: bool
    needs_compliance: bool


def file_difference(
    present: tuple[str, ...], required: frozenset[str], optional: frozenset[str] = frozenset()
) -> str:
    """Return the names that are missing or too many, the latter with a plus; empty if all is well."""
    names = set(present)
    missing = sorted(required - names - optional - ALWAYS_OPTIONAL)
    extra = sorted(names - required - optional - ALWAYS_OPTIONAL)
    return shown(", ".join([*missing, *(f"+{name}" for name in extra)]))
