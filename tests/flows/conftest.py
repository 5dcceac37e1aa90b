"""One rehearsal for all tests that look at a finished run, made by the README's own command."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".venv" / "bin" / "mlperf-submission"


@dataclass(frozen=True)
class Rehearsal:
    """A finished rehearsal: its work folder, what it printed, and where the run lies."""

    work: Path
    output: str

    @property
    def run(self) -> str:
        """The name of the newest run."""
        folders = (self.work / "submissions" / "rehearsal").iterdir()
        return max(folders, key=lambda folder: folder.stat().st_mtime).name

    @property
    def place(self) -> Path:
        """The folder with the links to tree, page and verdict."""
        return self.work / "submissions" / "rehearsal" / self.run

    def manifest(self) -> dict[str, object]:
        """The stored run's manifest, as the S3 server keeps it."""
        path = self.work / "s3" / "mlperf" / "rehearsals" / "rehearsal" / self.run / "manifest.json"
        content: dict[str, object] = json.loads(path.read_text())
        return content


def shell(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder as a person would, outside of any Prefect of ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        env={**clean, "COLUMNS": "200", **environment},
        check=False,
    )


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """`make rehearsal`, once."""
    work = tmp_path_factory.mktemp("rehearsal") / "work"
    done = shell("make", "rehearsal", f"WORK={work}")
    assert done.returncode == 0, done.stdout + done.stderr
    return Rehearsal(work, done.stdout)
