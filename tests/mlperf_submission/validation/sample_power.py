"""A power measurement for a result of the sample submission, made from nothing, and its mutations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from mlperf_submission.rounds import V4_1, Round
from mlperf_submission.validation.power.read import CHECKED_FILES
from tests.mlperf_submission.validation.sample_submission import BOX, Submission

PERFORMANCE = f"{BOX}/performance"
POWER = f"{PERFORMANCE}/power"
_FORM = "%m-%d-%Y %H:%M:%S.%f"
SESSION = "2024-07-01_session"
WATTS = 250.0


def add_power(s: Submission, round_: Round = V4_1) -> None:
    """Add ranging, power/, spl.txt and the analyzer's files to Offline of resnet50 on box."""
    for name in ("analyzer_table.md", "power_settings.md"):
        s.write(f"closed/Acme/measurements/{name}", "x")
    s.copy(f"{PERFORMANCE}/run_1", f"{PERFORMANCE}/ranging")
    begin = _begin(s)
    before = begin - timedelta(hours=1)
    s.log(
        f"{PERFORMANCE}/ranging", power_begin=_text(before), power_end=_text(before + timedelta(seconds=601))
    )
    for run, start in (("ranging", before), ("run_1", begin)):
        lines = [_sample(start + timedelta(seconds=second)) for second in range(-5, 606, 10)]
        s.write(f"{PERFORMANCE}/{run}/spl.txt", "\n".join(lines) + "\n")
    log = [
        (before - timedelta(seconds=60), ": Uncertainty checking for YokogawaWT310 is activated"),
        (before - timedelta(seconds=20), f": Go with mark '{SESSION}_ranging'"),
        (before + timedelta(seconds=300), ": ERROR: Bad watts reading nan from WT310"),
        (before + timedelta(seconds=610), ": Completed test"),
        (begin - timedelta(seconds=20), f": Go with mark '{SESSION}_testing'"),
    ]
    s.write(f"{POWER}/ptd_logs.txt", "\n".join(_text(time) + said for time, said in log) + "\n")
    for name in ("client.log", "server.log"):
        s.write(f"{POWER}/{name}", "x")
    for name in ("client", "server"):
        s.write(f"{POWER}/{name}.json", json.dumps(_session(before, begin, round_)))
    record(s)


def record(s: Submission) -> None:
    """Write the checksums of the files as they are."""
    hashes = {
        name: hashlib.sha1((s.root / PERFORMANCE / name).read_bytes()).hexdigest()  # noqa: S324
        for name in CHECKED_FILES
        if (s.root / PERFORMANCE / name).exists()
    }
    for name in ("client", "server"):
        s.json(f"{POWER}/{name}.json", results=hashes)


def edit(s: Submission, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change client.json or server.json."""
    content = json.loads(s.read(f"{POWER}/{name}.json"))
    change(content)
    s.write(f"{POWER}/{name}.json", json.dumps(content))


def replace_text(s: Submission, path: str, old: str, new: str) -> None:
    """Change a text file and record its new checksum."""
    s.write(f"{PERFORMANCE}/{path}", s.read(f"{PERFORMANCE}/{path}").replace(old, new))
    record(s)


def _shift(content: dict[str, Any]) -> None:
    content["phases"]["testing"][1][0] += 0.9


def _message(content: dict[str, Any], command: str, reply: str) -> None:
    next(one for one in content["ptd_messages"] if one["cmd"] == command)["reply"] = reply


MUTATIONS: dict[str, tuple[str, Callable[[Submission], object]]] = {
    "ranging_log_missing": ("W-03", lambda s: s.delete(f"{PERFORMANCE}/ranging/spl.txt")),
    "power_log_missing": ("W-04", lambda s: s.delete(f"{POWER}/server.log")),
    "analyzer_table_missing": ("E-09", lambda s: s.delete("closed/Acme/measurements/analyzer_table.md")),
    "spl_missing": ("P-01", lambda s: s.delete(f"{PERFORMANCE}/run_1/spl.txt")),
    "field_missing": ("W-05", lambda s: edit(s, "client", lambda c: c.pop("phases"))),
    "json_broken": ("W-05", lambda s: s.write(f"{POWER}/server.json", "{")),
    "other_program": ("W-06", lambda s: edit(s, "client", lambda c: c["sources"].popitem())),
    "session_differs": ("W-07", lambda s: edit(s, "client", lambda c: c.update(session_name="x"))),
    "edited_log": ("W-08", lambda s: s.append(f"{PERFORMANCE}/run_1/mlperf_log_summary.txt", "x")),
    "clocks_differ": ("W-09", lambda s: edit(s, "client", _shift)),
    "half_the_power": ("W-09", lambda s: replace_text(s, "run_1/spl.txt", f",{WATTS},", ",100.0,")),
    "other_daemon": (
        "W-10",
        lambda s: edit(s, "server", lambda c: _message(c, "Identify", "YokogawaWT310,v=1")),
    ),
    "debug": ("W-11", lambda s: edit(s, "server", lambda c: c.update(debug=True))),
    "unknown_device": ("W-11", lambda s: edit(s, "server", lambda c: c["ptd_config"].update(device_type=1))),
    "no_uncertainty_check": (
        "W-12",
        lambda s: replace_text(s, "power/ptd_logs.txt", "is activated", "is off"),
    ),
    "error_outside_ranging": (
        "W-12",
        lambda s: replace_text(s, "power/ptd_logs.txt", ": Completed test", _LATE),
    ),
    "no_samples": ("W-13", lambda s: replace_text(s, "run_1/spl.txt", "Time,07-0", "Time,08-0")),
}
_LATE = ": Completed test\n12-31-2024 00:00:00.000: ERROR: something else"


def _begin(s: Submission) -> datetime:
    for line in s.read(f"{PERFORMANCE}/run_1/mlperf_log_detail.txt").splitlines():
        message = json.loads(line[8:])
        if message["key"] == "power_begin":
            return datetime.strptime(message["value"], _FORM).replace(tzinfo=UTC)
    raise AssertionError("no power_begin")


def _text(time: datetime) -> str:
    return time.strftime(_FORM)[:-3]


def _sample(time: datetime) -> str:
    return f"Time,{_text(time)},Watts,{WATTS},Volts,230.0,Amps,1.1,PF,0.98,Mark,x"


def _session(ranging: datetime, testing: datetime, round_: Round) -> dict[str, Any]:
    phases = {
        name: [[(start + timedelta(seconds=offset)).timestamp(), 0] for offset in (-30, -10, 620, 640)]
        for name, start in (("ranging", ranging), ("testing", testing))
    }
    hello = {"cmd": "mlcommons/power client v3", "reply": "mlcommons/power server v3"}
    ids = dict.fromkeys(("client", "server"), "12345678-1234-5678-1234-567812345678")
    ranges = [{"cmd": f"SR,{name},Auto", "reply": f"Range {name} changed"} for name in "AV"]
    ptd = [
        {"cmd": "Hello", "reply": "Hello, PTDaemon here!"},
        {"cmd": "Identify", "reply": f"YokogawaWT310,1,version={round_.power.daemon_version}-abc"},
        {"cmd": "RR,A", "reply": "Ranges,1,2.0,1,300.0"},
        *(max(round_.power.amps_restored_by) * ranges),
        {"cmd": "Stop", "reply": "Stopping untimed measurement"},
    ]
    return {
        "version": 3,
        "timezone": 0,
        "modules": {},
        "sources": dict(round_.power.sources),
        "messages": [hello, {"cmd": "time", "reply": "1"}],
        "uuid": ids,
        "session_name": SESSION,
        "results": {},
        "phases": phases,
        "ptd_messages": ptd,
        "ptd_config": [{"device_type": 49}] if round_.power.analyzers_listed else {"device_type": 49},
        "debug": False,
    }
