"""What the power daemon (PTDaemon) said during a power measurement: its replies and its log."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlperf_submission.rounds.power import PowerRules
from mlperf_submission.submission.files import Tree, lines
from mlperf_submission.submission.times import moment

METERS = frozenset(
    f"Yokogawa{name}"
    for name in (
        *("WT210", "WT500", "WT310", "WT310E", "WT330", "WT330E"),
        *("WT500_multichannel", "WT330_multichannel", "WT210_DC", "WT310_DC", "WT330_DC"),
    )
)
_REPLIES = {
    "SR,A": "Range A changed",
    "SR,V": "Range V changed",
    "Go,1000,": "Starting untimed measurement, maximum 500000 samples at 1000ms with 0 rampup samples",
}
_STOP = "Stopping untimed measurement"
_THIRD_STOP = "Error: no measurement to stop"
_COMMON_IN_RANGING = (
    "Can't evaluate uncertainty of this sample!",
    "Bad watts reading nan from ",
    "Bad amps reading nan from ",
    "Bad pf reading nan from ",
    "Bad volts reading nan from ",
    "Current appears to be too high for set range",
)
_USB = "USB."
_UNCERTAIN = re.compile(r"Uncertainty \d+.\d+%, which is above 1.00% limit for the last sample!")
_ACTIVATED = re.compile(r"Uncertainty checking for Yokogawa\S+ is activated")
_DATE = re.compile(r"^\d\d-\d\d-\d\d\d\d \d\d:\d\d:\d\d.\d\d\d")
_MARGIN = 800.0


def messages_problem(messages: Sequence[Mapping[str, str]], power: PowerRules) -> str:
    """Return what is wrong with version, meter, replies or restored ranges; empty if nothing is (W-10)."""
    identity = next((one["reply"] for one in messages if one["cmd"] == "Identify"), "")
    version = re.search(r"(?<=version=)(.+?)-", identity)
    if not version or version[1] != power.daemon_version:
        found = version[1] if version else "missing"
        return f"the daemon's version is {found}, not {power.daemon_version}"
    if identity.split(",")[0] not in METERS:
        return f"the meter {identity.split(',')[0]!r} is not supported"
    stops = 0
    for message in messages:
        command, reply = message["cmd"], message["reply"]
        expected = next((text for start, text in _REPLIES.items() if command.startswith(start)), None)
        if command.startswith("Stop"):
            expected = _THIRD_STOP if command == "Stop" and stops >= 2 else _STOP
            stops += command == "Stop"
        if expected is not None and reply != expected:
            return f"the reply to {command!r} is {reply!r}"
    initial = messages[2]["reply"].split(",")
    for name, position in (("A", 1), ("V", 3)):
        fixed = initial[position] == "0" and float(initial[position + 1]) > 0
        wanted = f"SR,{name},{initial[position + 1] if fixed else 'Auto'}"
        set_ranges = [one["cmd"] for one in messages if one["cmd"].startswith(f"SR,{name}")]
        restoring = power.amps_restored_by if name == "A" else (3,)
        if len(set_ranges) < max(restoring) or wanted not in (set_ranges[at - 1] for at in restoring):
            return f"the range {name} was not restored to {wanted!r} at the end"
    return ""


def log_problem(tree: Tree, base: str, session: str, span: tuple[float, float]) -> str:
    """Return what is wrong with ptd_logs.txt; empty if nothing is (W-12).

    Args:
        tree: the tree.
        base: the result's folder `performance`.
        session: the session's name.
        span: when the timed part began and ended, in seconds since 1970.
    """
    text = tree.text(f"{base}/power/ptd_logs.txt", limit=1 << 26)
    if text.problem:
        return f"ptd_logs.txt: {text.problem}"
    if math.isnan(sum(span)):
        return "the log has no power_begin and power_end"
    content = lines(text.content)
    begin = end = math.nan
    for line in content:
        if ": Go with mark" not in line and ": Completed test" not in line:
            continue
        said = _DATE.sub("", line).strip()
        if math.isnan(begin):
            begin = _time(line) if said == f": Go with mark '{session}_ranging'" else begin
        elif said == ": Completed test":
            end = _time(line)
            break
    if math.isnan(begin + end):
        return "ptd_logs.txt does not show when ranging began and ended"
    checks = (line for line in content if "is activated" in line)
    activated = next((_time(line) for line in checks if _ACTIVATED.search(line)), math.nan)
    if not activated < begin:
        return "the uncertainty check was not activated before ranging"
    return _errors(content, (begin, end), span)


def _errors(content: Sequence[str], ranging: tuple[float, float], span: tuple[float, float]) -> str:
    """Return the first error that counts. The checker stops at the first line that it only warns of."""
    first, last = map(_sortable_moment, ranging)
    begin, end = _sortable_moment(span[0] + _MARGIN), _sortable_moment(span[1] - _MARGIN)
    for line in content:
        if "WARNING:" in line and _is_between(line, begin, end) and (said := line.partition("WARNING:")[2]):
            return f"ptd_logs.txt: {line.strip()[:160]}" if _UNCERTAIN.search(said) else ""
        if "ERROR:" in line and (said := line.partition("ERROR:")[2]):
            said = said.strip()
            if said == _USB:
                return ""
            if not _is_between(line, first, last):
                return f"ptd_logs.txt: {line.strip()[:160]}"
            if not said.startswith(_COMMON_IN_RANGING):
                return ""
    return ""


def _is_between(line: str, begin: str, end: str) -> bool:
    """Whether a line says a moment between two sortable ones. Logs have 100,000 lines."""
    return begin < _sortable(line) < end and _DATE.match(line) is not None


def _sortable(line: str) -> str:
    return f"{line[6:10]}{line[:5]}{line[10:23]}"


def _sortable_moment(since_1970: float) -> str:
    return _sortable(datetime.fromtimestamp(since_1970, UTC).strftime("%m-%d-%Y %H:%M:%S.%f"))


def _time(line: str) -> float:
    match = _DATE.match(line)
    return seconds(match[0]) if match else math.nan


def seconds(text: object) -> float:
    """Return a moment of a log, which is UTC, in seconds since 1970; NaN if the text is none."""
    found = moment(text)
    return found.timestamp() if found else math.nan


def channels(command: Sequence[Any]) -> list[str]:
    """Return the channels that the daemon was started with."""
    return str(command[list(command).index("-c") + 1]).split(",") if "-c" in command else []
