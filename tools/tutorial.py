"""`python -m tools.tutorial`: runs the commands of docs/tutorial.md in a new folder and puts their output in.

It measures, so it takes minutes and wants the machine for itself. Blocks are fenced as `console`; each begins
with `$` and one command. What follows the command, up to the end of the block, is replaced.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"
WIDTH = 110
_BLOCK = re.compile(r"```console\n\$ (.+)\n[^`]*```")


def commands(text: str) -> list[str]:
    """Return the commands that the page runs, in their order."""
    return _BLOCK.findall(text)


def refreshed(text: str, folder: Path) -> str:
    """Return the page with the output of its commands, run one after the other in a folder.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": str(WIDTH),
    }

    def run(match: re.Match[str]) -> str:
        print(f"$ {match.group(1)}", file=sys.stderr)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", match.group(1)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            done.check_returncode()
        lines = [line.rstrip() for line in done.stdout.replace(str(folder), "/home/me").splitlines()]
        output = "\n".join(lines).strip("\n")
        return f"```console\n$ {match.group(1)}\n{output}\n```"

    return _BLOCK.sub(run, text)


def main() -> None:
    """Refresh the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
