"""Section 13: power results (W). E-09 asks for the analyzer's files."""

from __future__ import annotations

from mlperf_submission.validation.frames import Files, Power
from mlperf_submission.validation.rules import ADD_OR_DELETE, Rule, fits, in_folder, odd, of_folder

_AGAIN = "Measure performance and power again in one session."


def _sound(id_: str, column: str, what: str, remedy: str = _AGAIN, **more: str) -> Rule:
    """Return the rule that a column of the measurement names no problem."""
    return Rule(
        id_,
        Power,
        what,
        passes=lambda d: d[column] == "",
        message=f"{{{column}}}",
        remedy=remedy,
        **more,  # type: ignore[arg-type]
    )


RULES = (
    Rule(
        "W-02",
        Files,
        "From v6.0, where P-01 is a warning: `performance/run_1` of a power result holds both logs and "
        "spl.txt.",
        of=lambda d: (d.folder == "performance") & d.with_power,
        passes=fits,
        each=odd,
        message=of_folder("performance/run_1"),
        remedy=ADD_OR_DELETE,
        later=True,
    ),
    Rule(
        "W-03",
        Files,
        "`performance/ranging` holds both logs and spl.txt.",
        of=in_folder("ranging"),
        passes=fits,
        each=odd,
        message=of_folder("performance/ranging"),
        remedy=ADD_OR_DELETE,
    ),
    Rule(
        "W-04",
        Files,
        "`performance/power` holds client.json, client.log, ptd_logs.txt, server.json and server.log.",
        of=in_folder("power"),
        passes=fits,
        each=odd,
        message=of_folder("performance/power"),
        remedy=ADD_OR_DELETE,
    ),
    _sound(
        "W-05", "fields", "client.json and server.json are JSON objects with the nine fields of a session."
    ),
    _sound(
        "W-06",
        "sources",
        "Client and server are the official programs.",
        "Measure again with the unchanged programs.",
    ),
    _sound("W-07", "session", "Ids, session names, messages and versions of client and server agree."),
    _sound(
        "W-08",
        "hashes",
        "The result files are those whose SHA-1 was recorded.",
        "Put the files back as they were; nothing in them may be edited.",
    ),
    _sound(
        "W-09",
        "phases",
        "Clocks agree within 0.8 s, the timed part lies in its phase, and testing needs about the "
        "power of ranging.",
    ),
    _sound(
        "W-10",
        "ptd",
        "The power daemon's version, meter and replies are the expected ones, and ranges were restored.",
    ),
    _sound(
        "W-11",
        "config",
        "The device is known (multichannel: with two channels), and the server ran without debug.",
    ),
    _sound(
        "W-12",
        "log",
        "ptd_logs.txt shows ranging, the uncertainty check before it, and no error that counts.",
    ),
    _sound(
        "W-13", "samples", "Power was measured while the run was timed, and the ranging run has a result."
    ),
    _sound(
        "+short-testing",
        "duration",
        "The testing run is at least half as long as ranging.",
        why="The power checker only warns of it (W-09).",
        covers="nothing",
    ),
)
