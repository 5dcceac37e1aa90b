"""Section 13: power results (W). E-09 asks for the analyzer's files."""

from __future__ import annotations

from mlperf_submission.validation.frames import Files, Power
from mlperf_submission.validation.rules import Rule, catalogue, holds_exactly, of_folder

_AGAIN = "Measure performance and power again in one session."


def _sound(column: str, what: str, remedy: str = _AGAIN, **more: str) -> Rule:
    """Return the rule that a column of the measurement names no problem."""
    return Rule(
        Power,
        what,
        passes=lambda d: d[column] == "",
        message=f"{{{column}}}",
        remedy=remedy,
        **more,  # type: ignore[arg-type]
    )


RULES = catalogue(
    {
        "W-02": holds_exactly(
            Files.where(lambda d: (d.folder == "performance") & d.with_power),
            "From v6.0, where P-01 is a warning: `performance/run_1` of a power result holds both logs and "
            "spl.txt.",
            message=of_folder("performance/run_1"),
            later=True,
        ),
        "W-03": holds_exactly(
            Files.where(folder="ranging"),
            "`performance/ranging` holds both logs and spl.txt.",
            message=of_folder("performance/ranging"),
        ),
        "W-04": holds_exactly(
            Files.where(folder="power"),
            "`performance/power` holds client.json, client.log, ptd_logs.txt, server.json and server.log.",
            message=of_folder("performance/power"),
        ),
        "W-05": _sound(
            "fields", "client.json and server.json are JSON objects with the nine fields of a session."
        ),
        "W-06": _sound(
            "sources",
            "Client and server are the official programs.",
            "Measure again with the unchanged programs.",
        ),
        "W-07": _sound("session", "Ids, session names, messages and versions of client and server agree."),
        "W-08": _sound(
            "hashes",
            "The result files are those whose SHA-1 was recorded.",
            "Put the files back as they were; nothing in them may be edited.",
        ),
        "W-09": _sound(
            "phases",
            "Clocks agree within 0.8 s, the timed part lies in its phase, and testing needs about the "
            "power of ranging.",
        ),
        "W-10": _sound(
            "ptd",
            "The power daemon's version, meter and replies are the expected ones, and ranges were restored.",
        ),
        "W-11": _sound(
            "config",
            "The device is known (multichannel: with two channels), and the server ran without debug.",
        ),
        "W-12": _sound(
            "log", "ptd_logs.txt shows ranging, the uncertainty check before it, and no error that counts."
        ),
        "W-13": _sound(
            "samples", "Power was measured while the run was timed, and the ranging run has a result."
        ),
        "+short-testing": _sound(
            "duration",
            "The testing run is at least half as long as ranging.",
            why="The power checker only warns of it (W-09).",
            covers="nothing",
        ),
    }
)
