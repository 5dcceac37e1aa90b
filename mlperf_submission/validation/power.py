"""Section 13: power results (W). E-09 asks for the analyzer's files."""

from __future__ import annotations

from mlperf_submission.validation.rows_power import PowerRow
from mlperf_submission.validation.rows_result import ResultRow
from mlperf_submission.validation.rules import Rule

_AGAIN = "Measure performance and power again in one session."

RULES = (
    Rule(
        id="W-02",
        row=ResultRow,
        what="From v6.0, where P-01 is a warning: `performance/run_1` of a power result holds both logs and "
        "spl.txt.",
        why="The official checker refuses the result.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: ~d.has_power | (d.has_run & (d.performance_files == "")),
        message=lambda row: (
            f"performance/run_1: {row.performance_files}" if row.has_run else "performance/run_1 is missing"
        ),
        later=True,
    ),
    Rule(
        id="W-03",
        row=ResultRow,
        what="`performance/ranging` holds both logs and spl.txt.",
        why="The official checker refuses the result.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: ~d.has_power | (d.ranging_files == ""),
        message=lambda row: f"performance/ranging: {row.ranging_files}",
    ),
    Rule(
        id="W-04",
        row=ResultRow,
        what="`performance/power` holds client.json, client.log, ptd_logs.txt, server.json and server.log.",
        why="The official checker refuses the result.",
        remedy="Add what is missing and delete what is too many (marked with a plus).",
        passes=lambda d: ~d.has_power | (d.power_files == ""),
        message=lambda row: f"performance/power: {row.power_files}",
    ),
    Rule(
        id="W-05",
        row=PowerRow,
        what="client.json and server.json are JSON objects with the nine fields of a session.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: d.fields == "",
        message=lambda row: row.fields,
    ),
    Rule(
        id="W-06",
        row=PowerRow,
        what="Client and server are the official programs.",
        why="The official checker refuses the result.",
        remedy="Measure again with the unchanged programs.",
        passes=lambda d: d.sources == "",
        message=lambda row: row.sources,
    ),
    Rule(
        id="W-07",
        row=PowerRow,
        what="Ids, session names, messages and versions of client and server agree.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: d.session == "",
        message=lambda row: row.session,
    ),
    Rule(
        id="W-08",
        row=PowerRow,
        what="The result files are those whose SHA-1 was recorded.",
        why="The official checker refuses the result.",
        remedy="Put the files back as they were; nothing in them may be edited.",
        passes=lambda d: d.hashes == "",
        message=lambda row: row.hashes,
    ),
    Rule(
        id="W-09",
        row=PowerRow,
        what="Clocks agree within 0.8 s, the timed part lies in its phase, and testing needs about the "
        "power of ranging.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: d.phases == "",
        message=lambda row: row.phases,
    ),
    Rule(
        id="W-10",
        row=PowerRow,
        what="The power daemon's version, meter and replies are the expected ones, and ranges were restored.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: d.ptd == "",
        message=lambda row: row.ptd,
    ),
    Rule(
        id="W-11",
        row=PowerRow,
        what="The device is known (multichannel: with two channels), and the server ran without debug.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: d.config == "",
        message=lambda row: row.config,
    ),
    Rule(
        id="W-12",
        row=PowerRow,
        what="ptd_logs.txt shows ranging, the uncertainty check before it, and no error that counts.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: d.log == "",
        message=lambda row: row.log,
    ),
    Rule(
        id="W-13",
        row=PowerRow,
        what="Power was measured while the run was timed, and the ranging run has a result.",
        why="The official checker refuses the result.",
        remedy=_AGAIN,
        passes=lambda d: (d.no_samples == "") & (d.ranging == ""),
        message=lambda row: "; ".join(text for text in (row.no_samples, row.ranging) if text),
    ),
    Rule(
        id="+short-testing",
        row=PowerRow,
        what="The testing run is at least half as long as ranging.",
        why="The power checker only warns of it (W-09).",
        remedy=_AGAIN,
        passes=lambda d: d.duration == "",
        message=lambda row: row.duration,
        severity="warning",
        covers="nothing",
    ),
)
