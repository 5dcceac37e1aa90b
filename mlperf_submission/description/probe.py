"""Looking at a machine: files and tools, each reading kept with where and when it was taken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

_TOOL_SECONDS = 15.0
_RAW_LIMIT = 4000
_PLACEHOLDERS = re.compile(
    r"n/a|na|none|null|nil|unknown|undefined|unspecified|invalid|empty|other|tbd|oem|o\.e\.m|no value|no dimm"
    r"|not (specified|provided|available|applicable|present|installed|set|settable)|no module installed"
    r"|to be filled by (oem|o\.e\.m)|default string|system (manufacturer|product name|version|name)"
    r"|<out of spec>|<bad index>|[-_?*.]*"
)
"""What firmware and tools write where they have nothing to say, in lower case and without a full stop."""
_SYSTEM_FOLDERS = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"))


@dataclass(frozen=True)
class Reading:
    """What a file held or a command printed, and when."""

    source: str
    raw: str
    time: datetime

    @property
    def lines(self) -> list[str]:
        """The lines without blanks around them."""
        return [line.strip() for line in self.raw.splitlines()]


@dataclass(frozen=True)
class ToolOutput:
    """What a tool printed, or why there is nothing (`problem`)."""

    text: str = ""
    problem: str = ""


RunTool = Callable[[Sequence[str]], ToolOutput]


def run_tool(argv: Sequence[str]) -> ToolOutput:
    """Run a tool of the system; never raises for a tool that is missing, refuses or hangs."""
    executable = shutil.which(argv[0], path=os.pathsep.join((os.environ.get("PATH", ""), _SYSTEM_FOLDERS)))
    if executable is None:
        return ToolOutput(problem="not installed")
    try:
        done = subprocess.run(
            [executable, *argv[1:]],
            capture_output=True,
            timeout=_TOOL_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ToolOutput(problem=f"gave no answer within {_TOOL_SECONDS:.0f} s")
    except OSError as error:
        return ToolOutput(problem=f"cannot be run: {error.strerror}")
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        rights = "" if os.geteuid() == 0 else " (it may need root)"
        return ToolOutput(
            problem=f"exit status {done.returncode}{rights}: {said[0][:200] if said else 'no message'}"
        )
    return ToolOutput(done.stdout.decode("utf-8", "replace"))


@dataclass
class Probe:
    """Reads one machine.

    Attributes:
        root: the machine's root folder; another one for a copy of its files.
        run: runs a tool.
        missing: tools that gave nothing, with the reason; filled as the machine is read.
    """

    root: Path = Path("/")
    run: RunTool = run_tool
    missing: dict[str, str] = field(default_factory=dict)

    def file(self, path: str) -> Reading | None:
        """Return the content of a file such as `/proc/cpuinfo`; None if it is not there or says nothing."""
        try:
            raw = (self.root / path.lstrip("/")).read_bytes()
        except OSError:
            return None
        text = told(raw.decode("utf-8", "replace").replace("\0", ""))
        return self._reading(path, text) if text else None

    def tool(self, *argv: str) -> Reading | None:
        """Return what a tool prints; None if it gives nothing, and `missing` says why."""
        output = self.run(argv)
        name = " ".join(argv)
        if output.problem:
            self.missing[name] = output.problem
            return None
        return self._reading(name, output.text)

    def folders(self, path: str) -> list[Path]:
        """Return what a folder such as `/sys/class/net` holds, sorted; nothing if it is not there."""
        try:
            return sorted((self.root / path.lstrip("/")).iterdir())
        except OSError:
            return []

    def said(self, source: str, text: str) -> Reading:
        """Return a reading of a library."""
        return self._reading(source, text)

    @staticmethod
    def _reading(source: str, text: str) -> Reading:
        return Reading(source, text, datetime.now(UTC).replace(microsecond=0))


def told(text: str) -> str:
    """Return what a file or tool says, without blanks around it; empty if it is a placeholder for nothing.

    Args:
        text: one value, e.g. of a DMI field: `Not Specified`, `To be filled by O.E.M.` and `-` say nothing.
    """
    text = text.strip()
    plain = " ".join(text.lower().rstrip(".").split())
    return "" if _PLACEHOLDERS.fullmatch(plain) else text


def whole_number(text: str) -> int | None:
    """Return the number that a text is, if it is one that a tool could mean: 18 digits at most."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def facts_in(text: str) -> dict[str, str]:
    """Return what the lines `name: value` of a text say; placeholders are left out."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): said for name, _, value in pairs if (said := told(value))}


def blocks_in(text: str) -> list[dict[str, str]]:
    """Return the facts of every part of a text, which blank lines divide; none of parts without facts."""
    return [facts for block in re.split(r"\n\s*\n", text) if (facts := facts_in(block))]


def shortened(raw: str) -> str:
    """Return raw text as it is kept beside a field: whole if it is short."""
    raw = raw.strip()
    return raw if len(raw) <= _RAW_LIMIT else f"{raw[:_RAW_LIMIT]} … ({len(raw)} characters)"
