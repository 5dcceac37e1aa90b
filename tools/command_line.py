"""The reference of the command line, which typer writes: `make docs` puts it into docs/reference."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "command_line.md"
_APP = "cli.main"


def page() -> str:
    """Return the page as Markdown."""
    done = subprocess.run(
        [sys.executable, "-m", "typer", _APP, "utils", "docs", "--name", "mlperf-submission"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    title, _, rest = html.unescape(done.stdout).partition("\n")
    made = "Made from the code by `make docs`; `mlperf-submission COMMAND --help` shows the same."
    return f"# The command line: {title.strip('# `')}\n\n{made}\n{_linked(rest).rstrip()}\n"


def _linked(text: str) -> str:
    """Turn the lists of commands, whose summaries typer cuts off, into links to their sections."""
    lines, command = [], "mlperf-submission"
    for line in text.splitlines():
        heading = re.fullmatch(r"#+ `(.+)`", line)
        command = heading.group(1) if heading else command
        listed = re.fullmatch(r"\* `(\w+)`: .*", line)
        anchor = f"{command} {listed.group(1)}".replace(" ", "-") if listed else ""
        lines.append(f"* [`{listed.group(1)}`](#{anchor})" if listed else line)
    return "\n".join(lines)
