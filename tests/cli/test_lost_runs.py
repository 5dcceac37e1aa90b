"""Who may tidy up after a killed command: only one that is alone with the database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cli.lost_runs import in_use
from tests.conftest import ROOT

OTHER = """
import sys, time
from pathlib import Path
from cli.lost_runs import in_use
with in_use(Path(sys.argv[1]), lambda: print("alone")):
    print("at work", flush=True)
    time.sleep(600)
"""


def test_a_command_tidies_up_only_if_no_other_uses_the_database(tmp_path: Path) -> None:
    called: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert [other.stdout.readline().strip() for _ in range(2)] == ["alone", "at work"]
        with in_use(tmp_path, lambda: called.append("beside another")):
            assert called == []
        other.kill()
    with in_use(tmp_path, lambda: called.append("after it was killed")):
        assert called == ["after it was killed"]
