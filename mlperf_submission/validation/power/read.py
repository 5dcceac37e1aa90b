"""From the files of a power measurement to its row: what they say, and whether they belong together."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlperf_submission.rounds import RunKind, Scenario
from mlperf_submission.rounds.power import PowerRules
from mlperf_submission.submission.files import Json, Tree, lines
from mlperf_submission.submission.times import moment
from mlperf_submission.validation.frames import Power
from mlperf_submission.validation.power.daemon import channels, log_problem, messages_problem, seconds
from mlperf_submission.validation.read_run import NO_LOG, Run, read_run
from mlperf_submission.validation.reader import At, Place, Reader

POWER_FILES = frozenset({"client.json", "client.log", "ptd_logs.txt", "server.json", "server.log"})
SESSION_FIELDS = (
    *("version", "timezone", "modules", "sources", "messages"),
    *("uuid", "session_name", "results", "phases"),
)
CHECKED_FILES = (
    *("power/client.log", "power/ptd_logs.txt", "power/server.log"),
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


def read_power(reader: Reader, place: Place, run: Run) -> float:
    """Read the power measurement of a result, whose performance run is given.

    Returns:
        Watts, or mJ per query in the stream scenarios; 0 if nothing was measured.
    """
    tree, rules, base = reader.tree, reader.round.power, f"{place.at.path}/performance"
    client, server = (tree.json(f"{base}/power/{name}.json") for name in ("client", "server"))
    span = _span(run.values)
    testing = _powers(tree, f"{base}/run_1", span)
    metric = _metric(place.scenario, run.values, span, testing)
    measured = math.isfinite(metric) and metric > 0 and bool(run.result.value)
    ranging = read_run(Reader(reader.round, tree), place, RunKind.PERFORMANCE, f"{base}/ranging")
    ranging_problem = ranging.problem if ranging.problem != NO_LOG else "there is no log"
    pair = _Pair(client.content, server.content, rules)
    row = {
        "fields": _fields_problem(client, server),
        "samples": "; ".join(
            filter(None, ("" if measured else "no power was measured in the timed part", ranging_problem))
        ),
    }
    checks: dict[str, Callable[[], str]] = {
        "sources": pair.sources,
        "session": pair.session,
        "hashes": lambda: pair.hashes(tree, base),
        "phases": lambda: pair.phases(tree, base, run.values, testing),
        "ptd": lambda: messages_problem(server.content["ptd_messages"], rules),
        "config": pair.config,
        "log": lambda: log_problem(tree, base, server.content["session_name"], span),
        "duration": lambda: _duration_problem(tree, base, span),
    }
    if not row["fields"]:
        row |= {name: _told(check) for name, check in checks.items()}
    reader.add(Power, At(place.at.scope, f"{base}/power"), **row)
    return metric if math.isfinite(metric) else 0.0


def power_conf(tree: Tree, measurements: str) -> Iterator[dict[str, Any]]:
    """Yield the two files that must lie in the measurements folder or in one of three above it (E-09)."""
    parts = measurements.split("/")
    levels = ["/".join(parts[: len(parts) - up]) for up in range(4)]
    for start in ("analyzer_table.", "power_settings."):
        found = [
            f"{level}/{name}"
            for level in levels
            for name in tree.listing(level).files
            if name.startswith(start)
        ]
        size = tree.size(found[-1]) if found else 0
        yield {"name": f"{start}*", "exists": bool(found), "size": size}


def _told(check: Callable[[], str]) -> str:
    """Run a check over content that may be of any shape; what it stumbles over is its finding."""
    try:
        return check()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        return f"unexpected content ({type(error).__name__}: {str(error)[:100]})"


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
    return seconds(values.get("power_begin")), seconds(values.get("power_end"))


_MOMENT = re.compile(rb'"key"\s*:\s*"power_(begin|end)".{0,40}?(\d+-\d+-\d+ \d+:\d+:\d+\.\d+)')


def _log_span(tree: Tree, folder: str) -> tuple[float, float]:
    """Return the timed part of a run from its log."""
    found: dict[bytes, float] = {}
    with Path(tree.full(f"{folder}/mlperf_log_detail.txt")).open("rb") as stream:
        while line := stream.readline(1 << 16):
            if b"power_" in line and (match := _MOMENT.search(line)):
                found[match[1]] = seconds(match[2].decode())
            if len(found) == 2:
                break
    if math.isnan(sum(found.values())):
        raise ValueError(f"a time of {folder} is none")
    return found[b"begin"], found[b"end"]


def _powers(tree: Tree, folder: str, span: tuple[float, float]) -> list[float]:
    """Return the positive watts of spl.txt strictly between begin and end (W-13)."""
    powers: list[float] = []
    if math.isnan(sum(span)):
        return powers
    begin, end = (datetime.fromtimestamp(one, UTC) for one in span)
    text = tree.text(f"{folder}/spl.txt", limit=1 << 26)
    for line in lines(text.content):
        parts = line.split(",", 4)
        if not line.startswith("Time") or len(parts) < 5:
            continue
        time = moment(parts[1])
        try:
            if time is None:
                return []
            if begin < time < end and (watts := float(parts[3])) > 0:
                powers.append(watts)
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
        lasted = round(span[1] - span[0], 6)  # the moments are of milliseconds, their floats are not
        energy = mean * lasted * 1000 / int(values["result_query_count"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return math.nan
    inferred = scenario is Scenario.MULTI_STREAM and values.get("effective_scenario") == "SingleStream"
    return energy * 8 if inferred else energy


def _duration_problem(tree: Tree, base: str, span: tuple[float, float]) -> str:
    begin, end = _log_span(tree, f"{base}/ranging")
    share = (span[1] - span[0]) / (end - begin)
    return f"testing took {share:.0%} of the time of ranging" if share < 0.5 else ""
