"""The rows of power results: what the files of the measurement say, and whether they belong together."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlperf_submission.rounds import Scenario
from mlperf_submission.rounds.power import PowerRules
from mlperf_submission.submission.files import Json, Tree, lines, shown
from mlperf_submission.submission.logs import DetailLog
from mlperf_submission.validation.ptd import channels, log_problem, messages_problem, moment
from mlperf_submission.validation.rows_run import RunRow
from mlperf_submission.validation.rules import Row

SESSION_FIELDS = (
    "version",
    "timezone",
    "modules",
    "sources",
    "messages",
    "uuid",
    "session_name",
    "results",
    "phases",
)
CHECKED_FILES = (
    "power/client.log",
    "power/ptd_logs.txt",
    "power/server.log",
    *(
        f"{run}/{name}"
        for run in ("ranging", "run_1")
        for name in ("mlperf_log_detail.txt", "mlperf_log_summary.txt", "spl.txt")
    ),
)
CLOCK_TOLERANCE = 0.8
"""Seconds that the clocks of client and server may differ (W-09)."""
DEVICES = frozenset({8, 35, 48, 49, 52, 77, 508, 549, 586})
MULTICHANNEL = 77


@dataclass(frozen=True)
class PowerRow(Row):
    """The power measurement of one result; every text but `duration` is what is wrong, empty if nothing is.

    Attributes:
        ranging: why the ranging run gives no result.
        fields: what client.json and server.json lack.
        sources: checksums of the client or server program that are not official.
        session: ids, messages and versions that do not agree.
        hashes: result files that are not those that were recorded.
        phases: clocks, times and powers that do not fit.
        ptd: version, meter, replies of the power daemon.
        config: device, debug mode.
        log: what ptd_logs.txt says.
        no_samples: no power was measured while the run was timed.
        duration: the testing run is less than half as long as ranging.
        metric: mean power in watts, or energy per query in mJ in the stream scenarios.
    """

    ranging: str
    fields: str
    sources: str
    session: str
    hashes: str
    phases: str
    ptd: str
    config: str
    log: str
    no_samples: str
    duration: str
    metric: float


def power_row(
    tree: Tree,
    rules: PowerRules,
    scope: str,
    result: str,
    scenario: Scenario | None,
    log: DetailLog | None,
    ranging: RunRow,
    value: float,
) -> PowerRow:
    """Read the power measurement of a result."""
    base = f"{result}/performance"
    client, server = (tree.json(f"{base}/power/{name}.json") for name in ("client", "server"))
    values = log.values if log else {}
    span = _span(values)
    testing = _powers(tree, f"{base}/run_1", span)
    metric = _metric(scenario, values, span, testing)
    whole = _fields_problem(client, server) == ""
    ranging_problem = ranging.damage or ranging.missing or ranging.no_token_metric
    pair = _Pair(client.content, server.content, rules)
    return PowerRow(
        scope=scope,
        path=shown(f"{base}/power"),
        ranging=ranging_problem or ("" if ranging.exists else "there is no log"),
        fields=shown(_fields_problem(client, server)),
        sources=_told(pair.sources) if whole else "",
        session=_told(pair.session) if whole else "",
        hashes=_told(lambda: pair.hashes(tree, base)) if whole else "",
        phases=_told(lambda: pair.phases(tree, base, values, testing)) if whole else "",
        ptd=_told(lambda: messages_problem(server.content["ptd_messages"], rules)) if whole else "",
        config=_told(pair.config) if whole else "",
        log=_told(lambda: log_problem(tree, base, server.content["session_name"], span)) if whole else "",
        no_samples=""
        if math.isfinite(metric) and metric > 0 and value
        else "no power was measured in the timed part",
        duration=_told(lambda: _duration_problem(tree, base, span)) if whole else "",
        metric=metric if math.isfinite(metric) else 0.0,
    )


def _told(check: Callable[[], str]) -> str:
    """Run a check over content that may be of any shape; what it stumbles over is its finding."""
    try:
        return shown(check())
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        return shown(f"unexpected content ({type(error).__name__}: {str(error)[:100]})")


def _fields_problem(client: Json, server: Json) -> str:
    found = []
    for name, json in (("client.json", client), ("server.json", server)):
        missing = [key for key in SESSION_FIELDS if key not in json.content]
        if json.problem:
            found.append(f"{name}: {json.problem}")
        elif missing:
            found.append(f"{name} lacks {', '.join(missing)}")
    return "; ".join(found)


@dataclass(frozen=True)
class _Pair:
    """The descriptions of one session by the client and by the server."""

    client: Mapping[str, Any]
    server: Mapping[str, Any]
    rules: PowerRules

    def sources(self) -> str:
        for name, side in (("client", self.client), ("server", self.server)):
            if dict(side["sources"]) != self.rules.sources:
                return f"the checksums of the {name}'s program are not official"
        return ""

    def session(self) -> str:
        for key in ("client", "server"):
            if uuid.UUID(self.client["uuid"][key]) != uuid.UUID(self.server["uuid"][key]):
                return f"the {key}'s uuid differs"
        if self.client["session_name"] != self.server["session_name"]:
            return "the session's name differs"
        ours, theirs = self.client["messages"], self.server["messages"]
        if len(ours) != len(theirs):
            return f"the client has {len(ours)} messages, the server {len(theirs)}"
        for one, other in zip(ours, theirs, strict=True):
            if one["cmd"] != other["cmd"] or (one["cmd"] != "time" and one["reply"] != other["reply"]):
                return f"the message {one['cmd']!r} differs"
        versions = (
            re.search(r"mlcommons\/power client v(\d+)$", theirs[0]["cmd"]),
            re.search(r"mlcommons\/power server v(\d+)$", theirs[0]["reply"]),
        )
        if not all(versions) or versions[0][1] != versions[1][1]:  # type: ignore[index]
            return "the versions of client and server differ"
        return ""

    def hashes(self, tree: Tree, base: str) -> str:
        ours = {key: value for key, value in self.client["results"].items() if key in CHECKED_FILES}
        theirs = {key: value for key, value in self.server["results"].items() if key in CHECKED_FILES}
        differ = [name for name in ours if name in theirs and ours[name] != theirs[name]]
        recorded = {**ours, **theirs}
        for name in CHECKED_FILES:
            found = _sha1(tree, f"{base}/{name}")
            if name not in recorded or found != recorded[name]:
                differ.append(name if found else f"{name} (missing)")
        return f"not the files that were recorded: {', '.join(dict.fromkeys(differ))}" if differ else ""

    def phases(self, tree: Tree, base: str, values: Mapping[str, Any], testing: list[float]) -> str:
        for mode in ("ranging", "testing"):
            ours, theirs = self.client["phases"][mode], self.server["phases"][mode]
            if len(ours) != len(theirs):
                return f"the number of phases of {mode} differs"
            for one, other in zip(ours, theirs, strict=True):
                if abs(one[0] - other[0]) > CLOCK_TOLERANCE:
                    return f"the clocks differ by {abs(one[0] - other[0]):.1f} s in {mode}"
            folder = "run_1" if mode == "testing" else "ranging"
            for edge in _log_span(tree, f"{base}/{folder}"):
                if not any(ours[1][0] < edge - shift < ours[2][0] for shift in (0, 3600)):
                    return f"the timed part lies outside the phase of {mode}"
        if _duration_problem(tree, base, _span(values)):
            return ""  # the power checker stops here
        ranging = _powers(tree, f"{base}/ranging", _log_span(tree, f"{base}/ranging"))
        means = [round(sum(one) / len(one), 5) if one else -1.0 for one in (testing, ranging)]
        change = round((means[0] / means[1] - 1) * 100, 2)
        return f"the power of testing is {-change:g}% below that of ranging" if change <= -5 else ""

    def config(self) -> str:
        if self.server.get("debug", False) is not False:
            return "the server ran in debug mode"
        config = self.server["ptd_config"]
        for analyzer in config if self.rules.analyzers_listed and not isinstance(config, dict) else [config]:
            device = analyzer["device_type"]
            if device not in DEVICES:
                return f"the device {device!r} is not supported"
            if device == MULTICHANNEL:
                command = analyzer["command"]
                if len(channels(command)) != 2 or len(analyzer["channel"] or ()) != 2:
                    return "a multichannel device needs two channels"
        return ""


def _sha1(tree: Tree, path: str) -> str:
    try:
        with Path(tree.full(path)).open("rb") as stream:
            return hashlib.file_digest(stream, "sha1").hexdigest()
    except OSError:
        return ""


def _span(values: Mapping[str, Any]) -> tuple[float, float]:
    """Return when the timed part began and ended, in seconds since 1970, or NaN."""
    try:
        return moment(str(values.get("power_begin"))), moment(str(values.get("power_end")))
    except ValueError:
        return math.nan, math.nan


_MOMENT = re.compile(rb'"key"\s*:\s*"power_(begin|end)".{0,40}?(\d+-\d+-\d+ \d+:\d+:\d+\.\d+)')


def _log_span(tree: Tree, folder: str) -> tuple[float, float]:
    """Return the timed part of a run from its log."""
    found: dict[bytes, float] = {}
    with Path(tree.full(f"{folder}/mlperf_log_detail.txt")).open("rb") as stream:
        while line := stream.readline(1 << 16):
            if b"power_" in line and (match := _MOMENT.search(line)):
                found[match[1]] = moment(match[2].decode())
            if len(found) == 2:
                break
    return found[b"begin"], found[b"end"]


def _powers(tree: Tree, folder: str, span: tuple[float, float]) -> list[float]:
    """Return the positive watts of spl.txt strictly between begin and end (W-13)."""
    powers = []
    text = tree.text(f"{folder}/spl.txt", limit=1 << 26)
    for line in lines(text.content):
        parts = line.split(",", 4)
        if not line.startswith("Time") or len(parts) < 5:
            continue
        try:
            if span[0] < moment(parts[1]) < span[1] and float(parts[3]) > 0:
                powers.append(float(parts[3]))
        except ValueError:
            return []
    return powers


def _metric(
    scenario: Scenario | None, values: Mapping[str, Any], span: tuple[float, float], powers: list[float]
) -> float:
    if not powers:
        return math.nan
    mean = sum(powers) / len(powers)
    if scenario not in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM):
        return mean
    try:
        seconds = round(span[1] - span[0], 6)  # the moments are of milliseconds, their floats are not
        energy = mean * seconds * 1000 / int(values["result_query_count"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return math.nan
    inferred = scenario is Scenario.MULTI_STREAM and values.get("effective_scenario") == "SingleStream"
    return energy * 8 if inferred else energy


def _duration_problem(tree: Tree, base: str, span: tuple[float, float]) -> str:
    begin, end = _log_span(tree, f"{base}/ranging")
    share = (span[1] - span[0]) / (end - begin)
    return f"testing took {share:.0%} of the time of ranging" if share < 0.5 else ""
