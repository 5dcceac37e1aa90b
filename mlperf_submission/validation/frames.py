"""The data frames that the rules look at: one row per place, system, field, file, run, metric and so on.

The reader gives rows as it finds them; a column that a row does not state is NaN, false, 0 or empty.
Numbers of a log that are none are NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pandera.pandas as pa

from mlperf_submission.submission.files import shown
from mlperf_submission.submission.results import number


def about(text: str) -> Any:
    """Return a column with what it holds."""
    return pa.Field(description=text)


Mask = Callable[[pd.DataFrame], "pd.Series[bool]"]


class Frame(pa.DataFrameModel):
    """What all frames have."""

    scope: str = about("division/submitter/system/model/scenario, as far down as the row lies")
    path: str = about("the file or folder that the row is about, relative to the tree")

    @classmethod
    def where(cls, mask: Mask | None = None, **columns: str) -> Rows:
        """Return the rows of the frame for which a mask is true, or whose columns have these values."""
        return Rows(cls, mask or (lambda d: (d[list(columns)] == list(columns.values())).all(axis=1)))


@dataclass(frozen=True)
class Rows:
    """Some rows of a frame."""

    frame: type[Frame]
    mask: Mask


class Places(Frame):
    """The root, a division or a submitter: what lies directly in it."""

    level: str = about("root, division or submitter")
    has_results: bool = about("a submitter has an entry `results`")
    results_is_folder: bool = about("it can be listed")
    result_count: int = about("results that were found below")
    folders: str = about("folders of the root that are no divisions")
    has_calibration: bool = about("a file of the submitter has `calibration` in its name")
    has_calibration_md: bool = about("it is calibration.md, in the submitter's folder or documentation/")
    round: str = about("the round that the tree is judged by")
    logged_round: str = about("the round whose seeds more than half of the performance logs have")


class Names(Frame):
    """A file or folder of the root or a division, or a system that a submitter describes."""

    level: str = about("root, division or submitter")
    kind: str = about("file, folder or system")
    name: str
    has_results: bool


class Entries(Frame):
    """A file, folder or link of a submitter that has results."""

    name: str
    kind: str
    size: int
    is_empty_folder: bool
    is_link: bool
    text_resolves_from_root: bool
    resolves: bool


class Readings(Frame):
    """A file or folder that the checker reads."""

    role: str = about("what it is read as: folder, mapping, system, measurements, conf, code, log, …")
    name: str = about("how the message calls it")
    readable: bool
    problem: str = about("why it cannot be read")


class Systems(Frame):
    """A folder in `results/` with its system description."""

    exists: bool = about("systems/<system>.json is there")
    readable: bool
    status: str = about("as written; with its JSON type in front if it is no text. So are the next three")
    system_type: str
    submitter: str
    division: str
    directory_submitter: str
    directory_division: str
    network: str = about("`is_network` as true, false or, with another type, its text")


class Fields(Frame):
    """A field of a system description or of a measurements JSON."""

    file: str
    name: str
    exists: bool
    has_value: bool = about("it is not empty, null or 0")
    measured: bool = about("it is one of the five of the measurements")
    required: bool = about("it is one that every system description needs")
    may_be_empty: bool
    of_network: bool = about("the system needs it as one of a network")
    not_text: bool = about("the v4.1 checker joins it with other texts, and it is none")
    not_count: bool = about("it should be a whole number, and is none")
    not_for_csv: bool = about("the later checkers cannot make a cell of it")
    breaks_csv: bool = about("a double quote in it, or a comma where the CSV has no quotes, breaks the CSV")
    unknown: bool = about("no round has the field")


class Models(Frame):
    """A model's folder below a system."""

    division: str
    directory: str
    model: str = about("what it stands for (M-01)")
    guessed: bool = about("its name was only guessed")
    known: bool = about("the round has the model")
    allowed: bool = about("the round has scenarios of it for the system's type")
    system_type: str


class Scenarios(Frame):
    """A scenario's folder below a model, or a scenario that is asked for."""

    name: str = about("as it is spelled")
    model: str
    closed: bool = about("the division is closed or network")
    exists: bool
    known: bool = about("it is spelled as a scenario of the round")
    allowed: bool = about("the round has it for the model and the system's type")
    required: bool
    choice: bool = about("it is one of which at least one is needed")
    choice_made: bool = about("one of those is there")


class Results(Frame):
    """A scenario's folder with its measurements and its code."""

    closed: bool = about("the division is closed or network")
    model: str
    directory: str
    scenario_folder: str
    measurements: str = about("the folder of the measurements")
    has_measurements: bool
    json_name: str = about("the measurements JSON that was chosen; empty if none fits")
    json_count: int = about("how many fit")
    retraining: str = about("the field, in lower case")
    code: str = about("the code folder that was looked for")
    has_code: bool = about("it is there, or a file stands for it")
    conf_readable: bool = about("of the conf files; true where the checker does not look")
    conf_equal_issue: bool = about("the conf files switch equal issue mode on")
    log_equal_issue: bool = about("the log of the performance run says so")
    seen_equal_issue: bool = about("the checker sees it: in conf files or log (v4.1), in the log (later)")
    needs_equal_issue: bool = about("the checker enforces it for this model")
    should_equal_issue: bool = about("the rules ask for it")
    has_accuracy_txt: bool
    needs_truncation: bool = about("the accuracy log must be truncated (open need not in v4.1)")
    accuracy_log_size: int = about("bytes of mlperf_log_accuracy.json; -1 if it is missing")
    has_compliance: bool = about("the folder of the compliance tests is there")
    needs_compliance: bool = about("the model has tests")
    summary_validity: str = about("what the summary of the performance run says")
    result_validity: str = about("what its log says")


class Files(Frame):
    """A file that a folder of a result must hold, or holds."""

    folder: str = about("performance, accuracy, ranging, power, measurements, …")
    name: str = about("empty: the folder itself")
    exists: bool
    required: bool
    allowed: bool
    size: int
    place: str = about("where the folder lies")
    with_power: bool = about("the result has a power measurement")


class Settings(Frame):
    """A line of user.conf beside the log of the run that it stands beside."""

    difference: str = about("empty if there is none")


class Needs(Frame):
    """A key of a log that the rules compare."""

    kind: str
    place: str
    key: str
    exists: bool = about("the log has it, as a number or name")
    is_token_metric: bool = about("it is the result of a token model")


class Runs(Frame):
    """One LoadGen run: the log's own keys (with _ for a dot), beside what the round asks of it."""

    folder: str = about("the folder of its result")
    kind: str = about("performance, accuracy or the compliance test")
    place: str = about("the compliance test in brackets, for messages")
    model: str
    folder_scenario: str = about("the scenario that the folder stands for")
    readable: bool = about("the log is there and can be read")
    timed: bool = about("a readable run that is no accuracy run, and that the checker does not overlook")
    overlooked: str = about("why the log of a test cannot be read that the checker overlooks (T-08)")
    complete: bool = about("the log has every key that the rules compare")
    errors_refuse: bool = about("errors in the log refuse the result; not of compliance runs from v6.0 on")
    errors_count: bool = about("the same of accuracy runs; open is forgiven in v4.1")
    error_count: int
    first_error: str
    first_line_is_message: bool
    later_validity: str = about("another value that a later line gives to result_validity")
    seeds: str = about("the three effective seeds")
    expected_seeds: str = about("those of the round")
    result: float = about("in the unit of the CSV")
    inferred: bool = about("the result is inferred from another scenario")
    network: bool = about("the system is one of the network division")
    edge: bool = about("the system is one for the edge")
    counts_samples: bool = about("the round asks for samples per query in this division")
    must_count_samples: bool = about("an accuracy log has to say how many samples it covers")
    early_stopping_met: bool
    effective_accuracy_log_probability: float
    effective_accuracy_log_sampling_target: float
    effective_min_duration_ms: float
    effective_min_query_count: float
    effective_performance_issue_same: bool
    effective_performance_issue_unique: bool
    effective_performance_sample_count: float
    effective_samples_per_query: float
    effective_scenario: str
    effective_target_latency_ns: float
    effective_target_latency_percentile: float
    effective_target_qps: float
    effective_test_mode: str
    loadgen_git_status_message: str
    qsl_reported_total_count: float
    requested_use_token_latencies: bool
    result_99_00_percentile_latency_ns: float
    result_first_token_99_00_percentile_latency_ns: float
    result_time_per_output_token_99_00_percentile_ns: float
    result_validity: str
    sut_name: str
    accuracy_samples: float = about("samples that an accuracy run covers")
    begin: float = about("when the timed part began, in seconds since 1970 (UTC)")
    end: float = about("when it ended")
    min_accuracy_samples: float = about("what the round asks; so are all that follow")
    min_duration_ms: float
    min_loaded_samples: float
    min_samples_per_query: float
    max_target_latency_ns: float = about("of Server")
    max_measured_latency_ns: float = about("of the 99th percentile in Server and Interactive")
    max_first_token_ns: float
    max_per_token_ns: float
    token_model: bool = about("use_token_latencies must be on (L-01)")
    tokens_decide: bool = about("the checker takes the token latencies for LoadGen's verdict (L-05)")


class Pairs(Frame):
    """A compliance run (its kind) beside the performance run of its result (`_result`)."""

    kind: str
    effective_scenario: str
    effective_scenario_result: str
    effective_target_qps: float
    effective_target_qps_result: float
    sut_name: str
    sut_name_result: str
    qsl_reported_total_count: float
    qsl_reported_total_count_result: float
    begin: float
    begin_result: float
    end: float
    end_result: float
    result: float
    result_result: float


class Neighbours(Frame):
    """A run whose time is known, beside the run of its system before it and the first one with its log."""

    log: str = about("the run's log")
    begin: float
    end: float
    earlier_log: str = about("the run, of those that began before, that ended last")
    earlier_begin: float
    earlier_end: float
    first_path: str = about("the first result whose performance log is the same")
    is_twin: bool = about("that is of the same system, and of the same model but for its accuracy")


class Accuracy(Frame):
    """What an accuracy.txt says."""

    closed: bool
    readable: bool
    digest: str = about("the value of the hash line; empty if there is none")
    value: str = about("the last value of the first metric")


class Metrics(Frame):
    """A metric that a line of accuracy.txt states, or that the file lacks."""

    closed: bool
    readable: bool = about("the file can be read")
    metric: str
    text: str = about("as it is written, at most 40 characters")
    rest: str = about("what stands right behind it and makes another number of it")
    number: float = about("NaN: the file lacks the metric")
    floor: float
    ceiling: float = about("NaN: it has none")
    few_floor: float = about("the floor of a total over as many samples as the line says")
    is_read: bool = about("the official checker reads the line")


class Audits(Frame):
    """One compliance test of a result (closed and network)."""

    test: str
    exists: bool
    first_token_skipped: bool = about("TEST06 skipped the first token check")
    scenario: str


class Checks(Frame):
    """What one file of a compliance test verifies."""

    test: str
    file: str
    kind: str = about("performance, accuracy, or a check of TEST06")
    found: bool
    passes: bool
    problem: str = about("why not")


class Fallback(Frame):
    """A metric of a TEST01 that is not bit-exact, with what its files lack."""

    test: str
    problem: str = about("files that are missing or too many")
    metric: str
    baseline: float
    compliance: float
    allowed_percent: float


class Power(Frame):
    """The power measurement of one result; every text is what is wrong, empty if nothing is."""

    fields: str = about("what client.json and server.json lack")
    sources: str = about("checksums of the client or server program that are not official")
    session: str = about("ids, messages and versions that do not agree")
    hashes: str = about("result files that are not those that were recorded")
    phases: str = about("clocks, times and powers that do not fit")
    ptd: str = about("version, meter, replies of the power daemon")
    config: str = about("device, debug mode")
    log: str = about("what ptd_logs.txt says")
    samples: str = about("no power was measured while the run was timed, or ranging gives no result")
    duration: str = about("the testing run is less than half as long as ranging")


_CELLS: Mapping[str, Any] = {
    "bool": bool,
    "int64": lambda value: int(value or 0),
    "float64": number,
}


@functools.cache
def columns_of(frame: type[Frame]) -> Mapping[str, str]:
    """Return the columns of a frame with their dtypes."""
    return {name: str(column.dtype) for name, column in frame.to_schema().columns.items()}


def frame_of(frame: type[Frame], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a frame with its typed columns. Text that no encoding knows is escaped."""
    columns: dict[str, pd.Series[Any]] = {}
    for name, dtype in columns_of(frame).items():
        values = [row.get(name) for row in rows]
        if convert := _CELLS.get(dtype):
            columns[name] = pd.Series([convert(value) for value in values], dtype=dtype)
            continue
        texts = ["" if value is None else str(value) for value in values]
        columns[name] = pd.Series(
            texts if "".join(texts).isprintable() else [shown(text) for text in texts], dtype=str
        )
    return pd.DataFrame(columns)
